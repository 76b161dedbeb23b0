"""What lasts is one anomaly, what touches in time is one incident, and looking changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operators.incidents import Alarm, Incidents
from tapewatch.documents import Anomaly
from tapewatch.records import HOUR, MINUTE


def alarm(start: int, severity: float = 60.0, detector: str = "a", row: int = 0, minutes: int = 1) -> Alarm:
    begin, end = start * MINUTE, (start + minutes) * MINUTE
    name = f"{detector}{row}@{start}"
    anomaly = Anomaly(
        id=name, incident=name, revision=1, flow="market", detector=detector, dataset="", publisher_id=0,
        instrument_id=row, key=str(row), symbol=str(row), ts_event=end, ts_start=begin, ts_end=end, severity=severity,
        score=severity, threshold=50.0, observed=1.0, expected=1.0, reason=f"reason {start}", contributions={},
    )  # fmt: skip
    return Alarm(row, end, 0, 0, anomaly, 2 * MINUTE, minutes * MINUTE, detector, "windows")


def final(incidents: Incidents, alarms: list[Alarm]) -> dict[str, Anomaly]:
    return {told.id: told for one in alarms for told in incidents.add(one)}


def test_alarms_close_to_each_other_are_one_that_grows() -> None:
    table = final(Incidents(HOUR), [alarm(0, 60), alarm(1, 80), alarm(4, 70), alarm(8)])
    assert list(table) == ["a0@0", "a0@8"]
    grown = table["a0@0"]
    assert (grown.ts_start, grown.ts_end, grown.ts_event) == (0, 5 * MINUTE, MINUTE)
    assert (grown.revision, grown.severity) == (5, 80)
    assert grown.reason == "reason 1 (the worst of 5 windows)"


def test_instruments_and_detectors_grow_apart() -> None:
    table = final(Incidents(HOUR), [alarm(0), alarm(1, row=1), alarm(1, detector="b")])
    assert sorted(table) == ["a0@0", "a1@1", "b0@1"]
    assert {told.revision for told in table.values()} == {1}


def test_what_touches_in_time_shares_an_incident_also_through_a_third() -> None:
    alarms = [alarm(0, detector="a"), alarm(9, detector="b"), alarm(1, detector="c", minutes=8)]
    table = final(Incidents(HOUR), alarms)
    assert {told.incident for told in table.values()} == {"a0@0"}
    apart = final(Incidents(HOUR), alarms[:2])
    assert {told.incident for told in apart.values()} == {"a0@0", "b0@9"}


moments = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from("ab"), st.integers(0, 1), st.floats(50, 100)), max_size=25
)


@given(moments=moments, place=st.integers(0, 25))
def test_looking_copying_and_repeating_change_nothing(moments: list[Any], place: int) -> None:
    alarms = [alarm(start, severity, name, row) for start, name, row, severity in sorted(moments)]
    wanted = final(Incidents(HOUR), alarms)
    incidents, table = Incidents(HOUR), {}
    for number, one in enumerate(alarms):
        if number == place:
            copy = incidents.copy()
            final(incidents, [alarm(500), alarm(501, row=1)])
            incidents = copy
        seen = incidents.look(one, {})
        told = {anomaly.id: anomaly for anomaly in incidents.add(one)}
        assert seen.id in told
        assert (told[seen.id].ts_start, told[seen.id].ts_end) == (seen.ts_start, seen.ts_end)
        assert told[seen.id].revision == seen.revision
        table.update(told)
    assert table == wanted
    for standing in table.values():
        sharing = [other for other in table.values() if other.incident == standing.incident]
        assert {other.key for other in sharing} == {standing.key}
        assert standing.incident in {other.id for other in sharing}


@given(moments=moments, kept=st.integers(0, 25))
def test_looking_ahead_tells_what_adding_would(moments: list[Any], kept: int) -> None:
    """Windows that are not over, one after the other, are the episodes that they will be if nothing changes."""
    alarms = [alarm(start, severity, name, row) for start, name, row, severity in sorted(moments)]
    incidents, ahead = Incidents(HOUR), dict[Any, Any]()
    final(incidents, alarms[:kept])
    copy = incidents.copy()
    for one in alarms[kept:]:
        seen = incidents.look(one, ahead)
        told = {anomaly.id: anomaly for anomaly in copy.add(one)}
        assert replace(seen, incident="") == replace(told[seen.id], incident="")
