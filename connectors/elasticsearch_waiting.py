"""Patience with a cluster that is away or overloaded: pauses, what is told of them, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from tapewatch.log import log
from tapewatch.settings_elasticsearch import ElasticsearchSettings

#: Seconds between two tries: the first and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: Seconds that a run which is to stop still waits for a cluster that is away.
_STOPPING_SECONDS = 10.0
_TOLD_EVERY = 30.0


class ServerAwayError(Exception):
    """The cluster is away, and the run is to end."""


class Waiting:
    """Longer and longer pauses, and what is told of them."""

    def __init__(
        self, settings: ElasticsearchSettings, stopping: Callable[[], bool], pause: Callable[[float], None]
    ) -> None:
        self._settings, self._stopping, self._pause = settings, stopping, pause
        self._begun = self._asked_to_stop = 0.0
        self._next, self._told = _FIRST_PAUSE, 0.0

    @property
    def seconds(self) -> float:
        """How long it has been so far."""
        return time.monotonic() - self._begun if self._begun else 0.0

    def wait(self, why: str) -> None:
        """Pause, longer each time; `ServerAwayError` if the run has been to end for too long."""
        now = time.monotonic()
        self._begun = self._begun or now
        if now - self._begun > 1 and (not self._told or now - self._told > _TOLD_EVERY):
            self._told = now
            log.warning("%s; trying again for %.0f s so far, the flow waits", why, now - self._begun)
        if self._stopping():
            self._asked_to_stop = self._asked_to_stop or now
            if now - self._asked_to_stop > _STOPPING_SECONDS:
                raise ServerAwayError(f"{why}; the run was to stop, and its last results are not written")
        self._pause(self._next)
        self._next = min(2 * self._next, _LONGEST_PAUSE)

    def over(self) -> None:
        """Tell that it is over, if it was told that it had begun."""
        if self._told:
            log.info("%s takes documents again after %.0f s", self._settings.url, self.seconds)
