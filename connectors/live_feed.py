"""A live subscription that goes on through disconnections: session after session, until it is stopped.

Between two sessions it waits, twice as long each time that nothing new came, up to half a minute, each time
a random part of that less, so that clients that were cut off together do not come back together.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from databento_dbn import ErrorCode, SystemCode

from connectors.live_decoder import Item, LiveDecoder, Loss, Notice, Opened
from connectors.live_session import End, Session, address
from tapewatch import stopping
from tapewatch.log import log
from tapewatch.settings import LiveSettings

#: Seconds to wait before the second attempt, and at most.
FIRST_DELAY, LONGEST_DELAY = 0.25, 30.0
#: What keeps failing for the same reason is told again after as many seconds.
_TOLD_AGAIN = 600.0
#: A session that ends so soon after an error has ended because of it.
_CONSEQUENCE_SECONDS = 30.0
_TO_THE_GATEWAY = int(ErrorCode.CONNECTION_LIMIT_EXCEEDED), int(ErrorCode.INTERNAL_ERROR)
_LOSSES = int(ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING), int(ErrorCode.REPLAY_DATA_AGED_OUT)
_SLOW = int(SystemCode.SLOW_READER_WARNING)


def delay(failures: int) -> float:
    """Return how many seconds to wait after as many sessions in a row that brought nothing new.

    >>> all(0.125 <= delay(0) <= 0.25 and 15 <= delay(20) <= 30 for _ in range(99))
    True
    """
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 30))
    return longest * (1.0 - secrets.randbelow(1001) / 2000.0)


class LiveFeed:
    """What a gateway sends, decoded, over any number of sessions.

    Parameters
    ----------
    settings
        The section ``live``.
    key
        The secret.
    start
        Asked at the beginning of each session for the time to replay from, ns; None for from now on.
    count
        Called with counts by name of what the gateway and the connection suffered.
    fail
        Called with a line that says why there cannot be another session; ends the run by default.
    """

    def __init__(
        self,
        settings: LiveSettings,
        key: str,
        start: Callable[[], int | None],
        count: Callable[[dict[str, int]], None],
        fail: Callable[[str], None] | None = None,
    ) -> None:
        self._settings, self._key, self._start = settings, key, start
        self._count, self._fail = count, fail or stopping.fail
        self._session: Session | None = None
        self._decoder = LiveDecoder(settings.schema)
        self._opened = False
        self._from: int | None = None
        self._everything = False
        self._warnings = 0
        #: The last error of the session, and whether the session and the run have brought anything new.
        self._error: Notice | None = None
        self._error_at = 0.0
        self._new = self._ever_new = self._ever_in = False
        self._failures = 0
        self._again = 0.0
        self._told: tuple[str, float] | None = None

    def new(self) -> None:
        """Take note that what came was new."""
        if not self._new:
            self._new = self._ever_new = True
            self._failures = 0
            self._everything = False
            if self._told is not None:
                log.info("%s comes in again", self._settings.dataset)
                self._told = None

    def read(self, most: int) -> list[Item]:
        """Return what has come since, from about ``most`` bytes; begin a session where there is none."""
        if self._session is None:
            if time.monotonic() >= self._again:
                self._open()
            return []
        # Looked at before the bytes are: none come after the end.
        end = self._session.end
        data = self._session.take(most)
        if self._session.warnings > self._warnings:
            self._count({"slow_reader_warnings": self._session.warnings - self._warnings})
            self._warnings = self._session.warnings
        if data:
            return self._decoded(data)
        if end is not None:
            self._over(end)
        return []

    def restart(self) -> None:
        """Begin another session at once; what has not been read of this one is dropped."""
        self.close()
        self._again = 0.0

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> None:
        self._from = self._start()
        if self._from is not None and self._everything:
            self._from = 0
        self._session = Session(self._settings, self._key, self._from)
        self._decoder = LiveDecoder(self._settings.schema)
        self._opened = self._new = False
        self._error, self._warnings = None, 0

    def _decoded(self, data: bytes) -> list[Item]:
        items: list[Item] = []
        decoded = self._decoder.feed(data)
        if not self._opened and self._decoder.begun:
            items.append(Opened(self._decoder.begun))
            self._opened = self._ever_in = True
        for item in decoded:
            if not isinstance(item, Notice):
                items.append(item)
            elif self._heard(item):
                items.append(Loss())
        if self._decoder.damage is not None:
            self.close()
            self._over(End("lost", str(self._decoder.damage)))
        return items

    def _heard(self, notice: Notice) -> bool:
        """Tell what the gateway said; return whether records are missing here."""
        if notice.error:
            self._error, self._error_at = notice, time.monotonic()
            self._count({"gateway_errors": 1})
            log.error("the gateway says: %s", self._cleaned(notice.text))
        elif notice.code == _SLOW:
            self._count({"slow_reader_warnings": 1})
            log.warning("the gateway says that it is read too slowly: %s", self._cleaned(notice.text))
        return notice.error and notice.code in _LOSSES

    def _cleaned(self, text: str) -> str:
        return text.replace(self._key, "...")

    def _over(self, end: End) -> None:
        """Go on to the next session, or end the run if there cannot be one."""
        self._session = None
        if end.kind == "closed" or self._hopeless(end):
            return
        if self._opened:
            self._count({"disconnections": 1})
        wait = delay(self._failures)
        self._failures += 1
        self._again = time.monotonic() + wait
        why = end.text or (
            self._cleaned(self._error.text) if self._error else "the gateway ended the session"
        )
        now = time.monotonic()
        if self._told is None or self._told[0] != why or now - self._told[1] > _TOLD_AGAIN:
            self._told = why, now
            log.warning("%s: %s; trying again until it comes", self._place, why)

    @property
    def _place(self) -> str:
        return f"{address(self._settings)}:{self._settings.port}"

    def _hopeless(self, end: End) -> bool:
        """End the run over what waiting cannot cure; replay everything where less is not to be had."""
        if end.kind == "refused" and not self._ever_in and "limit" not in end.text.lower():
            self._fail(f"{self._place} refuses the key in DATABENTO_API_KEY: {end.text}")
            return True
        error = self._error
        if error is None or time.monotonic() - self._error_at > _CONSEQUENCE_SECONDS:
            return False
        if self._new or error.code in _TO_THE_GATEWAY:
            return False
        if self._from:
            # What is asked for may be further back than the gateway goes.
            self._everything = True
        elif not self._ever_new:
            self._fail(f"{self._place} refuses the subscription of `live`: {self._cleaned(error.text)}")
            return True
        return False
