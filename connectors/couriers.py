"""Carrying notices to a service, by Apprise, in a thread that nobody waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from connectors.notices import Notice
from tapewatch.errors import UserError
from tapewatch.log import log

#: Notices that wait for one service; beyond, the oldest are given up.
_MOST_WAITING = 1000
#: Seconds before each further attempt.
_PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)


class Courier:
    """Carries notices to one address, one after the other.

    Parameters
    ----------
    url
        The address in Apprise's notation; it may hold a password, and is never told.
    number
        Its place among those of the settings, for messages.
    waiting
        Notices that an earlier run had not delivered.

    Raises
    ------
    UserError
        If it is no address that Apprise knows, or Apprise is not installed.
    """

    def __init__(self, url: str, number: int, waiting: Iterable[Notice] = ()) -> None:
        self._service = _service(url, number)
        #: Names the address in a recovery store without telling it.
        self.name = blake2b(url.encode(), digest_size=16).hexdigest()
        self._told = f"{self._service.service_name} (address {number} of `sinks.notify.urls`)"
        self._waiting = deque(waiting)
        self._changed = threading.Condition()
        self._closing = False
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="tapewatch-notify", daemon=True)
        self._thread.start()

    def carry(self, notices: Iterable[Notice]) -> None:
        """Take notices to be carried; returns at once."""
        with self._changed:
            self._waiting.extend(notices)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._changed.notify()

    def waiting(self) -> list[Notice]:
        """Return what has not been delivered yet."""
        with self._changed:
            return list(self._waiting)

    def close(self, until: float) -> None:
        """Wait until all is delivered, at the latest until a time of `time.monotonic`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(max(until - time.monotonic(), 0.0))
        lost = self._lost + len(self._waiting)
        if lost:
            log.warning("%d notices could not be delivered to %s", lost, self._told)

    def _run(self) -> None:
        failed = 0
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                notice = self._waiting[0]
            if self._deliver(notice):
                failed = 0
                self._drop(notice)
                continue
            failed += 1
            if failed > len(_PAUSES):
                log.warning("a notice was given up: %s did not take it %d times", self._told, failed)
                failed = 0
                with self._changed:
                    self._lost += self._drop(notice)
            else:
                log.warning("%s did not take a notice; trying again", self._told)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, _PAUSES[failed - 1])

    def _drop(self, notice: Notice) -> bool:
        """Take a notice off the line, unless it had to make room meanwhile."""
        with self._changed:
            there = bool(self._waiting) and self._waiting[0] is notice
            if there:
                self._waiting.popleft()
        return there

    def _deliver(self, notice: Notice) -> bool:
        kind = "failure" if notice.level == "critical" else "warning"
        try:
            return bool(self._service.notify(title=notice.title, body=notice.body, notify_type=kind))
        except Exception as error:  # whatever a service's library raises must not end the thread
            log.warning("%s failed with %s", self._told, type(error).__name__)
            return False


def check(urls: Iterable[str]) -> None:
    """Raise `UserError` for the first of some addresses that is none."""
    for number, url in enumerate(urls, 1):
        _service(url, number)


def _service(url: str, number: int) -> Any:  # noqa: ANN401 - the library has a class for each service
    try:
        import apprise
    except ImportError:
        raise UserError(
            "`sinks.kinds` has notify, whose library is not installed; run: pip install 'tapewatch[notify]'"
        ) from None
    # It logs addresses.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.handlers = [logging.NullHandler()]
    service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        scheme, found, _ = url.partition("://")
        seen = f"begins with {scheme[:20]!r}" if found else "has no ://"
        raise UserError(
            f"`sinks.notify.urls` has as number {number} what is no address of a service: it {seen}; "
            "see docs/notifications.md"
        )
    return service
