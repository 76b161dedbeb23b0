"""The settings section ``sinks.notify``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from tapewatch.durations import duration_ns


def _every(text: str) -> str:
    duration_ns(text)
    return text


class NotifySettings(BaseModel):
    """Whom to tell. The addresses hold passwords and tokens: they come from the environment only."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    urls: list[SecretStr] = Field(
        default_factory=list,
        max_length=20,
        description="a list of at most 20 addresses",
        examples=[["mailto://user:password@example.com"]],
    )
    min_severity: float = Field(75.0, ge=0, le=100)
    every: Annotated[str, AfterValidator(_every)] = Field(
        "5m", description="a duration such as 500ms, 5s, 1m"
    )

    @property
    def every_ns(self) -> int:
        """The least time between two messages of one key, ns."""
        return duration_ns(self.every)
