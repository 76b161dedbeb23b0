"""Messages to people as a Bytewax sink: by mail, Slack, PagerDuty and whatever else Apprise knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.couriers import Courier, check
from connectors.notices import Notice, Notices
from tapewatch import stopping
from tapewatch.documents import Results
from tapewatch.errors import UserError
from tapewatch.settings_notify import NotifySettings

_STATE_VERSION = 1
#: How long the end of a run waits for what is on its way.
_PATIENCE_SECONDS = 4.0


class NotifyPartition(StatefulSinkPartition[Results, dict[str, Any]]):
    """Hands over what is to be told, and never waits for it to arrive."""

    def __init__(
        self,
        settings: NotifySettings,
        acknowledge: Callable[[Results], None] | None,
        resume: dict[str, Any] | None,
    ) -> None:
        saved = resume or {"notices": None, "waiting": {}}
        self._notices = Notices(settings.min_severity, settings.every_ns, saved["notices"])
        self._couriers = [Courier(url.get_secret_value(), i) for i, url in enumerate(settings.urls, 1)]
        for courier in self._couriers:
            courier.carry(Notice(*each) for each in saved["waiting"].get(courier.name, ()))
        self._acknowledge = acknowledge

    def write_batch(self, values: list[Results]) -> None:
        """Tell of the anomalies, and acknowledge each batch."""
        now = time.time_ns()
        notices = self._notices.due(now)
        notices += self._notices.of((a for results in values for a in results.anomalies), now)
        if notices:
            for courier in self._couriers:
                courier.carry(notices)
        if self._acknowledge is not None:
            for results in values:
                self._acknowledge(results)

    def snapshot(self) -> dict[str, Any]:
        """Return what was told, and what is still on its way."""
        waiting = {c.name: [astuple(notice) for notice in c.waiting()] for c in self._couriers}
        return {"version": _STATE_VERSION, "notices": self._notices.snapshot(), "waiting": waiting}

    def close(self) -> None:
        """Give what is on its way a few seconds."""
        until = time.monotonic() + _PATIENCE_SECONDS
        for courier in self._couriers:
            courier.close(until)


class NotifySink(FixedPartitionedSink[Results, dict[str, Any]]):
    """Takes ``(key, Results)`` and tells people of the anomalies, from one worker of the cluster.

    Parameters
    ----------
    settings
        The section ``sinks.notify``.
    acknowledge
        Called with each `Results` once it has been looked at.

    Raises
    ------
    UserError
        If there is nobody to tell, or an address is none.
    """

    def __init__(
        self, settings: NotifySettings, acknowledge: Callable[[Results], None] | None = None
    ) -> None:
        if not settings.urls:
            raise UserError("`sinks.kinds` has notify, but `sinks.notify.urls` names nobody to tell")
        check(url.get_secret_value() for url in settings.urls)
        self._settings, self._acknowledge = settings, acknowledge

    def list_parts(self) -> list[str]:
        """Return the one partition: what was told of a key is known in one place."""
        return ["notify"]

    def part_fn(self, item_key: str) -> int:
        """Return 0: everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> NotifyPartition:
        """Start where the run before ended."""
        if resume_state is not None:
            stopping.refuse_other_versions(resume_state.get("version"), _STATE_VERSION)
        return NotifyPartition(self._settings, self._acknowledge, resume_state)
