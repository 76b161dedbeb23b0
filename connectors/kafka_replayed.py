"""How far a replay has come, as its source keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 2


@dataclass(slots=True)
class ReplayState:
    """How far a replay has come: ``published`` is in the topic before ``ends``.

    By dataset and key it counts records, always the first ones. ``clock`` is the event time that all tapes
    have reached.
    """

    replay: str
    encoding: str
    files: list[str]
    done: bool = False
    clock: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """How many records were published."""
        return sum(self.published.values())

    def dump(self) -> dict[str, Any]:
        """Return what is kept, as JSON can have it."""
        saved = asdict(self)
        return {**saved, "ends": {str(n): at for n, at in self.ends.items()}, "version": VERSION}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> ReplayState:
        """Return what was kept."""
        saved = {name: value for name, value in saved.items() if name != "version"}
        saved["ends"] = {int(number): at for number, at in saved["ends"].items()}
        return cls(**saved)
