"""The judging step: the same bits however the stream is cut, resumed, or scattered; reviews act when they may."""

from __future__ import annotations

import copy
import itertools
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.transaction_detectors import KNOWN, Rules, transaction_detectors
from operators.transaction_features import FEATURES
from operators.transaction_feedback import Feedback, FeedbackSettings
from operators.transaction_history import History
from operators.transaction_judge import Part, TransactionJudge
from operators.transaction_scoring import TransactionJudgeSettings
from tapewatch.documents import Anomaly
from tapewatch.errors import UserError
from tapewatch.records import DAY
from tapewatch.risk import risk_level
from tapewatch.transactions import Review, Transactions
from tests.connectors.made_payments import payments, simulated

_IDLE = 180 * DAY
_FEEDBACK = FeedbackSettings(remember=2_000, assume_ns=3 * DAY, learning_rate=0.1)


def made(feedback: bool = False, personal: bool = True, **changes: Any) -> TransactionJudgeSettings:
    wanted = TransactionJudgeSettings(
        transaction_detectors({}), 20.0, personal, False, "", _FEEDBACK if feedback else None
    )
    return replace(wanted, **changes)


def reviews() -> tuple[Review, ...]:
    told = simulated()
    return tuple(
        Review(name, int(bool(kind)), int(ts) + 2 * DAY + 12_345)
        for name, kind, ts in zip(payments().ids, told.kinds, payments().times, strict=True)
        if kind or int(ts) % 7 == 0
    )


def run(
    cuts: list[int],
    wanted: TransactionJudgeSettings,
    *,
    resume_at: int = -1,
    resumed: TransactionJudgeSettings | None = None,
    shuffled: bool = False,
    said: tuple[Review, ...] | None = None,
) -> tuple[list[Anomaly], dict[str, int]]:
    whole, told = payments(), reviews() if wanted.feedback else ()
    told = told if said is None else said
    history, judge = History(_IDLE), TransactionJudge(wanted)
    anomalies: list[Anomaly] = []
    counters: dict[str, int] = {}
    bounds = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    clock = 0
    for seq, (first, last) in enumerate(itertools.pairwise(bounds)):
        batch = whole.part(np.arange(first, last), seq=seq, clock=clock)
        until = max(clock, int(batch.times.max()))
        due = [review for review in told if clock < review.reviewed_at <= until]
        batch, clock = replace(batch, reviews=tuple(due)), until
        measured = history.measure(batch)
        parts = [Part(seq, (i,), (tuple(row),), None) for i, row in enumerate(measured.tolist())]  # type: ignore[arg-type]
        results = []
        if shuffled:
            for part in parts[::-1]:
                results += judge.on_part(part)
            results += judge.on_batch(batch)
        else:
            results += judge.on_batch(batch)
            for part in parts if wanted.personal else ():
                results += judge.on_part(part)
        assert [r.seq for r in results] == [seq]
        for result in results:
            anomalies += result.anomalies
            counters |= result.counters
        if seq == resume_at:
            judge = TransactionJudge(resumed or wanted, pickle.loads(pickle.dumps(judge.snapshot())))
    return sorted(anomalies, key=lambda anomaly: anomaly.id), counters


@pytest.mark.parametrize("feedback", [False, True])
def test_any_cut_and_a_resume_give_the_same_bits(feedback: bool) -> None:
    wanted = made(feedback)
    whole = run([], wanted)
    assert len(whole[0]) > 20

    @settings(max_examples=3, deadline=None)
    @given(st.lists(st.integers(1, 100_000), max_size=6), st.integers(0, 3))
    def any_cut(cuts: list[int], resume_at: int) -> None:
        found = run([*cuts, 700], wanted, resume_at=resume_at)
        # A comparison of the lists themselves would take minutes to explain itself.
        assert [a.id for a in found[0]] == [a.id for a in whole[0]]
        assert all(a == b for a, b in zip(found[0], whole[0], strict=True))
        assert found[1] == whole[1]

    any_cut()


def test_rows_that_are_faster_than_their_batch_change_nothing() -> None:
    one, other = run([300, 900], made(), shuffled=True), run([300, 900], made())
    assert all(a == b for a, b in zip(one[0], other[0], strict=True))


def test_it_finds_most_of_what_is_strange_and_says_why() -> None:
    anomalies, _ = run([], made())
    kinds = dict(zip(payments().ids, simulated().kinds, strict=True))
    told = [a for a in anomalies if a.detector == "ensemble"]
    assert len(told) > 10
    right = sum(1 for a in told if a.payment is not None and kinds[a.payment.transaction_id])
    assert right / len(told) > 0.4
    for anomaly in anomalies:
        assert anomaly.payment is not None
        assert anomaly.payment.risk_level == risk_level(anomaly.severity)
        assert anomaly.key in anomaly.reason
        assert sum(anomaly.contributions.values()) == pytest.approx(1.0)
    assert len({a.id for a in anomalies}) == len(anomalies)


def test_standard_mode_asks_no_profile() -> None:
    anomalies, _ = run([500], made(personal=False))
    assert anomalies
    told = [name for a in anomalies if a.detector == "rules" for name in a.contributions]
    assert told
    assert not [name for name in told if name.startswith("own_")]


def test_reviews_are_learned_and_measured() -> None:
    anomalies, counters = run([1_000], made(feedback=True))
    assert counters["reviews"] > 100
    assert "reviews_unknown" not in counters
    assert counters["confirmed.ensemble"] > counters.get("refuted.ensemble", 0)
    assert any(a.detector == "classifier" for a in anomalies)
    first = min(review.reviewed_at for review in reviews())
    assert all(a.ts_event >= first for a in anomalies if a.detector == "classifier")


def test_other_detectors_go_on_from_a_state(caplog: pytest.LogCaptureFixture) -> None:
    whole = made(feedback=True)
    for section, gone, warned in (
        ({"rules": {"enabled": False}}, {"rules"}, []),
        ({"half_space_trees": {"n_trees": 7, "window_size": 100}}, set(), ["half_space_trees"]),
    ):
        caplog.clear()
        other = replace(whole, detectors=transaction_detectors(section))
        found, counters = run([1_000], whole, resume_at=0, resumed=other)
        assert [record.getMessage().split()[0] for record in caplog.records] == warned
        later = {a.detector for a in found if a.ts_event >= int(payments().times[1_000])}
        assert later.isdisjoint(gone)
        assert "ensemble" in later
        assert counters["confirmed.ensemble"] > counters.get("refuted.ensemble", 0)


def test_who_raised_an_alarm_is_known_under_other_numbers() -> None:
    feedback = Feedback(_FEEDBACK, ["rules", "autoencoder", "ensemble"])
    feedback._alarmed[:3] = 0b111, 0b100, 0b001
    feedback._ids[:3], feedback._seen = (1, 2, 3), 3
    again = Feedback(_FEEDBACK, ["autoencoder", "classifier", "ensemble"], feedback.snapshot())
    assert again._alarmed[:4].tolist() == [0b101, 0b100, 0, 0]


def test_a_review_of_an_anomaly_is_one_of_its_transaction() -> None:
    wanted = run([900], made(feedback=True))
    found = {a.payment.transaction_id: a.id for a in wanted[0] if a.payment}
    said = tuple(
        r._replace(transaction_id="", anomaly_id=found[r.transaction_id]) if r.transaction_id in found else r
        for r in reviews()
    )
    assert sum(review.anomaly_id != "" for review in said) > 20
    assert run([900], made(feedback=True), said=said, resume_at=0) == wanted
    unknown = tuple(review._replace(transaction_id="", anomaly_id="0" * 32) for review in said)
    assert run([900], made(feedback=True), said=unknown)[1] == {"reviews_unknown": wanted[1]["reviews"]}


def test_scoring_does_not_look_ahead() -> None:
    whole = payments()
    half = whole.times[len(whole) // 2]
    early = {a.id: a for a in run([], made(feedback=True))[0] if a.ts_event < half}
    history, judge = History(_IDLE), TransactionJudge(made(feedback=True))
    batch = whole.part(np.flatnonzero(whole.times < half), seq=0)
    batch = replace(batch, reviews=tuple(r for r in reviews() if r.reviewed_at <= int(batch.times.max())))
    measured = history.measure(batch)
    results = judge.on_batch(batch)
    for index, row in enumerate(measured.tolist()):
        results += judge.on_part(Part(0, (index,), (tuple(row),), None))  # type: ignore[arg-type]
    found = {a.id: a for r in results for a in r.anomalies}
    assert found.keys() == early.keys()
    assert all(found[name] == early[name] for name in found)


@pytest.mark.parametrize("detector", [d for d in KNOWN if d.name not in ("classifier", "ensemble")])
def test_a_detector_keeps_the_contract(detector: Any) -> None:
    chance = np.random.default_rng(1)
    values = chance.normal(size=(1_300, 21)).astype(np.float32)
    logic = detector().build(None)
    whole = logic.score(values)
    again = detector().build(None)
    parts = []
    for first, last in ((0, 1), (1, 600), (600, 1_290), (1_290, 1_300)):
        parts.append(again.score(values[first:last]))
        again = detector().build(copy.deepcopy(again.snapshot()))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    before = pickle.dumps(logic.snapshot())
    logic.score(values[:10], learn=False)
    assert pickle.dumps(logic.snapshot()) == before
    strange = np.full((1, 21), 20.0, np.float32)
    assert logic.score(strange, learn=False)[0] > np.nanmedian(whole)
    shares = logic.shares(strange[0], 0)
    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0).all()


def test_settings_of_detectors_are_checked() -> None:
    with pytest.raises(UserError, match=r"unknown key `transactions.detectors.forest`"):
        transaction_detectors({"forest": {}})
    with pytest.raises(UserError, match="must name some of rules"):
        transaction_detectors({"ensemble": {"weights": {"ensemble": 1.0}}})
    with pytest.raises(UserError, match=r"transactions.detectors.isolation_forest.model"):
        transaction_detectors({"isolation_forest": {"model": "isolation_forest.onnx"}})


def test_no_transactions() -> None:
    nothing = Transactions("p", 0, [], [], np.empty(0, np.int64), np.empty(0), {}, {})
    (results,) = TransactionJudge(made()).on_batch(nothing)
    assert not results.anomalies


def test_rules_rank_ordinary_payments_by_their_amounts_too() -> None:
    rules = Rules().build(None)

    def score(**deviations: float) -> float:
        point = [[deviations.get(name, 0.0) for name in FEATURES]]
        return float(rules.score(np.array(point, np.float32))[0])

    assert score() == score(own_linear=-1.0) == 0.0 < score(own_linear=0.2) < score(own_linear=0.4)
    assert score(own_linear=0.4) < score(own_linear=0.4, own_recent=1.0)
    assert score(own_recent=3.0) == score(own_recent=20.0) < score(own_linear=4.0, own_recent=3.0)
