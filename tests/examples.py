"""How many examples Hypothesis tries: all of them where a change lands, fewer where somebody waits."""

from __future__ import annotations

import os


def tried(most: int) -> int:
    """Return ``most`` where servers are required, a third elsewhere: there every run tries new ones."""
    return most if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1" else -(-most // 3)
