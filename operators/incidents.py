"""Episodes and incidents: one anomaly for what lasts, one incident for what happens together.

Alarms of one detector that follow each other closely are one anomaly that grows; anomalies of one instrument
that touch in time, of whatever detectors, share an incident.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tapewatch.documents import Anomaly

#: By series and row, the newest anomaly and the reason of its worst window.
Ahead: TypeAlias = dict[tuple[str, int], tuple[Anomaly, str]]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm of one detector for one item, told as an anomaly of its own.

    ``known`` is the event time at which it could be told: the instrument's clock at a record, the end of a
    window (and its lateness). ``place`` is a record's place on the tape among those with one ``known``.
    ``series`` names what it may be an episode with: alarms of one detector, or of one part of it; ``unit``
    what an episode is made of.
    """

    row: int
    known: int
    place: int
    order: int
    anomaly: Anomaly
    gap_ns: int
    width_ns: int
    series: str
    unit: str


@dataclass(slots=True)
class _Incident:
    start: int
    end: int
    members: dict[str, Anomaly] = field(default_factory=dict)
    #: Of which series each member is.
    series: dict[str, str] = field(default_factory=dict)


class Incidents:
    """What is going on with the instruments of one shard.

    Parameters
    ----------
    horizon_ns
        How long an incident is remembered after its end: the widest window, so that its bar still finds it.
    """

    def __init__(self, horizon_ns: int) -> None:
        self._horizon = horizon_ns
        self._latest: Ahead = {}
        self._incidents: dict[int, list[_Incident]] = {}

    def copy(self) -> Incidents:
        """Return a copy that does not change with this one."""
        other = Incidents(self._horizon)
        other._latest = dict(self._latest)
        other._incidents = {
            row: [_Incident(i.start, i.end, dict(i.members), dict(i.series)) for i in around]
            for row, around in self._incidents.items()
            if around
        }
        return other

    def add(self, alarm: Alarm) -> list[Anomaly]:
        """Take an alarm in; return the anomalies that are new or changed by it."""
        told, reason = self._grown(alarm)
        self._latest[alarm.series, alarm.row] = (told, reason)
        return self._place(alarm, told)

    def look(self, alarm: Alarm, ahead: Ahead) -> Anomaly:
        """Return what `add` would tell of the alarm; nothing is kept of it but in ``ahead``.

        ``ahead`` is what was looked at just before: alarms of a row in their order, empty at first.
        """
        place = alarm.series, alarm.row
        told, reason = self._grown(alarm, ahead.get(place))
        ahead[place] = told, reason
        for incident in self._incidents.get(alarm.row, ()):
            if incident.start <= told.ts_end and told.ts_start <= incident.end:
                return replace(told, incident=next(iter(incident.members)))
        return told

    def latest(self, series: str, row: int) -> Anomaly | None:
        """Return the newest anomaly of a series for an instrument as it stands."""
        found = self._latest.get((series, row))
        return None if found is None else found[0]

    def _grown(self, alarm: Alarm, ahead: tuple[Anomaly, str] | None = None) -> tuple[Anomaly, str]:
        new = alarm.anomaly
        known = ahead or self._latest.get((alarm.series, alarm.row))
        if known is None or new.ts_start > known[0].ts_end + alarm.gap_ns:
            return replace(new, incident=new.id), new.reason
        old, reason = known
        end = max(old.ts_end, new.ts_end)
        spans = (end - old.ts_start) // alarm.width_ns if alarm.width_ns else old.revision + 1
        worst = new if new.severity > old.severity else old
        reason = new.reason if worst is new else reason
        grown = replace(
            worst,
            id=old.id,
            incident=old.incident,
            revision=spans,
            instrument_id=old.instrument_id,
            ts_event=old.ts_event,
            ts_start=old.ts_start,
            ts_end=end,
            reason=f"{reason} (the worst of {spans} {alarm.unit})" if spans > 1 else reason,
        )
        return grown, reason

    def _place(self, alarm: Alarm, told: Anomaly) -> list[Anomaly]:
        """Put an anomaly into its incident; where it joins several, they become the earliest of them."""
        around = self._incidents.setdefault(alarm.row, [])
        around[:] = [i for i in around if i.end + self._horizon >= min(alarm.known, told.ts_start)]
        touched = [i for i in around if i.start <= told.ts_end and told.ts_start <= i.end]
        if not touched:
            told = replace(told, incident=told.id)
            around.append(_Incident(told.ts_start, told.ts_end, {told.id: told}, {told.id: alarm.series}))
            self._latest[alarm.series, alarm.row] = (told, self._latest[alarm.series, alarm.row][1])
            return [told]
        first, *others = touched
        name = next(iter(first.members.values())).incident
        told = replace(told, incident=name)
        changed = {told.id: told}
        for other in others:
            around.remove(other)
            for member in other.members.values():
                if member.id != told.id:
                    changed[member.id] = replace(member, incident=name)
            first.series.update(other.series)
            first.start, first.end = min(first.start, other.start), max(first.end, other.end)
        first.start, first.end = min(first.start, told.ts_start), max(first.end, told.ts_end)
        first.members.update(changed)
        first.series[told.id] = alarm.series
        for anomaly in changed.values():
            place = first.series[anomaly.id], alarm.row
            latest = self._latest.get(place)
            if latest is not None and latest[0].id == anomaly.id:
                self._latest[place] = (anomaly, latest[1])
        return list(changed.values())
