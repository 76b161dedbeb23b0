"""Results as operations: ids, indices, and which of two versions stands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.elasticsearch_documents import Operation, _order, document_operations, merged, settled
from connectors.sqlite_early import Leftovers
from tapewatch.documents import PAYMENT_FIELDS, PROFILE_FIELDS
from tapewatch.records import DAY, MINUTE

make: Any = import_module("tests.connectors.made_results")
NOW = make.MONDAY + 2 * DAY


def operations(*results: Any, source: str = "") -> tuple[dict[str, Operation], set[str]]:
    changes = merged(results, "tw", source, NOW, Leftovers([]))
    return changes.operations, changes.gone


def one(*results: Any) -> Operation:
    (found,) = operations(*results)[0].values()
    return found


def test_documents_go_to_the_index_of_their_events_day() -> None:
    late = make.anomaly(1, ts_event=make.MONDAY + DAY, ts_start=make.MONDAY + DAY - MINUTE)
    found, gone = operations(
        make.results(
            anomalies=[make.anomaly(2), late],
            bars=[make.bars(5), make.bars(6, day=1)],
            scores=[make.scores(1.5)],
            counters={"records": 3},
        )
    )
    assert sorted(operation.target for operation in found.values()) == [
        "tw-anomalies-2024.06.03", "tw-anomalies-2024.06.04", "tw-bars-2024.06.03", "tw-bars-2024.06.04",
        "tw-counters-all", "tw-scores-2024.06.03",
    ]  # fmt: skip
    assert gone == set()
    anomaly = found[late.id]
    assert orjson.loads(anomaly.body)["@timestamp"] == orjson.loads(anomaly.body)["ts_event"]
    head, body = anomaly.lines.splitlines()
    assert orjson.loads(head) == {"create": {"_index": "tw-anomalies-2024.06.04", "_id": late.id}}
    assert body == anomaly.body


def test_ids_depend_on_what_a_document_is_about_and_on_nothing_else() -> None:
    def ids(**parts: Any) -> set[str]:
        return set(operations(make.results(**parts))[0])

    same = ids(bars=[make.bars(5, 6)])
    assert ids(bars=[make.bars(9, 8, final=False)], partition="other", shard=3) == same
    assert len(same) == 2
    for other in (
        ids(bars=[make.bars(5, 6, key="QQQ")]), ids(bars=[make.bars(5, 6, width="1s")]),
        ids(bars=[make.bars(5, 6, day=1)]), ids(bars=[make.bars(5, 6)], dataset="OTHER"),
    ):  # fmt: skip
        assert other.isdisjoint(same)
    scores = ids(scores=[make.scores(1.0)])
    assert ids(scores=[make.scores(2.0)]) == scores
    assert ids(scores=[make.scores(1.0, detector="block_trade")]).isdisjoint(scores)
    counters = {"records": 1}
    assert set(operations(make.results(counters=counters), source="a")[0]).isdisjoint(ids(counters=counters))


@pytest.mark.parametrize("key", ['a"b', "\\", "ß€😀", "x" * 5000, "a\nb", "a\0b"])
def test_any_key_makes_two_lines_of_json(key: str) -> None:
    results = make.results(
        anomalies=[make.anomaly(key=key)], bars=[make.bars(1, key=key)], scores=[make.scores(1.0, key=key)]
    )
    for operation in operations(results)[0].values():
        head, body = operation.lines.split(b"\n")[:2]
        assert orjson.loads(body)["key"] == key
        assert len(operation.id.encode()) <= 64
        assert orjson.loads(head)[operation.action]["_id"] == operation.id


def test_of_two_bars_the_finished_and_the_fuller_stands() -> None:
    open_, fuller, done = (make.bars(v, final=f) for v, f in ((5, False), (9, False), (7, True)))
    for order in ([open_, fuller, done], [done, fuller, open_], [fuller, done, open_]):
        assert orjson.loads(one(*(make.results(bars=[b]) for b in order)).body)["final"] is True
    for order in ([open_, fuller], [fuller, open_]):
        assert orjson.loads(one(*(make.results(bars=[b]) for b in order)).body)["volume"] == 9
    assert one(make.results(bars=[done])).external > one(make.results(bars=[fuller])).external  # type: ignore[operator]


def test_an_anomaly_taken_back_is_not_written_and_one_told_again_is_not_taken_back() -> None:
    told, other = make.results(anomalies=[make.anomaly(1)]), make.anomaly(1, severity=80.0)
    back = make.results(deleted=[make.anomaly(1).id])
    assert operations(told, back) == ({}, {make.anomaly(1).id})
    found, gone = operations(told, back, make.results(anomalies=[other]))
    assert gone == set()
    assert orjson.loads(found[other.id].body)["severity"] == 80.0
    assert operations(make.results(deleted=[other.id], anomalies=[other]))[1] == set()


def test_when_an_anomaly_was_first_detected_stays() -> None:
    ours = one(make.results(anomalies=[make.anomaly(detected_at=0)]))
    assert orjson.loads(ours.body)["detected_at"] == "2024-06-05T00:00:00.000000000Z"
    early = {"detected_at": "2024-06-04T00:00:00.000000000Z"}
    later = settled(ours, early)
    assert later is not None
    assert (later.action, orjson.loads(later.body)["detected_at"]) == ("index", early["detected_at"])
    assert settled(ours, None) == ours


def test_of_equal_scores_severity_and_threshold_decide() -> None:
    ours = one(make.results(scores=[make.scores(2.0)]))
    stored = orjson.loads(ours.body)
    assert settled(ours, stored) is None
    assert settled(ours, {**stored, "severity": 19.0}) == ours._replace(gte=True)
    assert settled(ours, {**stored, "severity": 21.0}) is None
    assert settled(ours, {**stored, "severity": None}) == ours._replace(gte=True)


@given(st.lists(st.floats(width=64), min_size=2))
def test_versions_of_scores_are_in_their_order(values: list[float]) -> None:
    versions = _order(np.array(values))
    assert all(0 <= version < 2**63 for version in versions)
    known = [-np.inf if np.isnan(value) else value for value in values]
    for a, x in zip(versions, known, strict=True):
        for b, y in zip(versions, known, strict=True):
            assert x > y or a <= b


def test_what_json_has_no_number_for_is_null() -> None:
    anomaly = make.anomaly(score=float("nan"), threshold=float("inf"), contributions={"volume": float("nan")})
    document = orjson.loads(one(make.results(anomalies=[anomaly])).body)
    assert (document["score"], document["threshold"], document["contributions"]) == (
        None,
        None,
        {"volume": None},
    )


def test_payments_tell_what_was_paid_and_of_two_profiles_the_later_stands() -> None:
    told = orjson.loads(one(make.results(anomalies=[make.payment(4)])).body)
    assert {name: told[name] for name in PAYMENT_FIELDS} == {
        "transaction_id": "t4", "user_id": "u1", "amount": 10.25, "merchant_category": "travel",
        "location": "DE", "payment_method": "card", "risk_level": "high",
    }  # fmt: skip
    early, late = make.profile("u1", 3, make.MONDAY), make.profile("u1", 4, make.MONDAY + 1)
    written = one(make.results(profiles=[late]), make.results(profiles=[early]))
    assert (written.external, written.target) == (make.MONDAY + 1, "tw-profiles-all")
    document = orjson.loads(written.body)
    assert (document["transactions"], document["locations"]) == (4, {"DE": 2.0})
    assert document["ts_last"] == document["@timestamp"] == "2024-06-03T00:00:00.000000001Z"
    assert set(document) == {*PROFILE_FIELDS, "@timestamp"}


def test_reviews_profiles_and_dead_letters_have_names_too() -> None:
    review = {
        "anomaly_id": "a",
        "transaction_id": None,
        "label": 1,
        "reviewer": "me",
        "notes": "",
        "reviewed_at": NOW,
    }
    (first,) = document_operations("reviews", [review], "tw", 0)
    assert first.target == "tw-reviews-2024.06.05"
    assert orjson.loads(first.body)["reviewed_at"] == "2024-06-05T00:00:00.000000000Z"
    (second,) = document_operations("reviews", [{**review, "label": 0}], "tw", 0)
    (third,) = document_operations("reviews", [{**review, "reviewer": "you"}], "tw", 0)
    assert first.id == second.id != third.id
    (profile,) = document_operations("profiles", [{"user_id": "u", "ts_first": 0, "ts_last": NOW}], "tw", 0)
    assert profile.target == "tw-profiles-all"
    with pytest.raises(ValueError, match="bars"):
        document_operations("bars", [{}], "tw", 0)
