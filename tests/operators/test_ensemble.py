"""The ensemble adds what its members find rare, and says who they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operators.detector import Detector, Scores, segments_of_bars
from operators.detectors import detectors
from operators.ensemble import Ensemble
from operators.tail_combination import TailCombination
from tapewatch.documents import BAR
from tapewatch.errors import UserError
from tapewatch.records import MINUTE


def scored(weights: Any = None, odds: list[float] | None = None, **severities: list[float]) -> Scores:
    count = len(next(iter(severities.values())))
    bars = np.zeros(count, BAR)
    bars["ts_start"] = np.arange(count) * MINUTE
    segments = segments_of_bars(bars, ["SYM1"])
    members = {name: np.array(values) for name, values in severities.items()}
    logic = Ensemble(weights=weights or {}).build(None)
    told = None if odds is None else {"tail_combination": np.array(odds)}
    return logic.score(replace(segments, severities=members, scores=told))


DAY = np.log10(390)


def test_severities_are_turned_back_into_decades_of_rarity() -> None:
    scores = scored(a=[0.0, 25.0, 50.0, 75.0, 87.5, 100.0], b=[np.nan] * 6)
    np.testing.assert_allclose(scores.score, [0, DAY / 2, DAY, DAY + 2, DAY + 4, DAY + 12])


def test_the_three_largest_are_added() -> None:
    scores = scored(a=[50.0], b=[50.0], c=[50.0], d=[49.0])
    np.testing.assert_allclose(scores.score, 3 * DAY)


def test_weights_raise_lower_and_leave_out() -> None:
    scores = scored({"a": 2.0, "b": 0.5, "c": 0.0}, a=[50.0], b=[50.0], c=[99.0])
    np.testing.assert_allclose(scores.score, 2.5 * DAY)


def test_who_says_nothing_counts_for_nothing_and_silence_of_all_is_none() -> None:
    scores = scored(a=[np.nan, 50.0, np.nan], b=[50.0, np.nan, np.nan])
    np.testing.assert_allclose(scores.score[:2], DAY)
    assert np.isnan(scores.score[2])


def test_the_tail_combination_is_taken_at_its_score_and_others_beyond_once_a_day() -> None:
    odds, own = [4.0, 4.0, 0.5, np.nan], [60.0, 60.0, 20.0, np.nan]
    members = {"tail_combination": own, "price_jump": [50.0, 75.0, 30.0, 90.0]}
    np.testing.assert_allclose(scored(None, odds, **members).score, odds)
    scores = scored({"price_jump": 0.3}, odds, **members)
    np.testing.assert_allclose(scores.score, [4, 4 + 0.3 * 2, 0.5, np.nan])


def test_usual_severities_of_others_do_not_blur_what_the_tail_combination_tells_apart() -> None:
    odds, rng = np.linspace(0, 12, 50), np.random.default_rng(1)
    scores = scored(
        {"price_jump": 1.0},
        odds.tolist(),
        tail_combination=[40.0] * 50,
        price_jump=rng.uniform(0, 50, 50).tolist(),
    )
    assert (np.diff(scores.score) > 0).all()


def test_who_is_led_is_calibrated_like_the_one_that_leads() -> None:
    led, equals = detectors({})[-1], detectors({"tail_combination": {"enabled": False}})[-1]
    assert (led.id, equals.id) == ("ensemble", "ensemble")
    assert (led.scale, led.share) == (TailCombination.scale, 1.0)
    assert (equals.scale, equals.share) == (Ensemble.scale, Ensemble.share)
    without = detectors({"ensemble": {"weights": {"tail_combination": 0}}})[-1]
    assert without.share == Ensemble.share


def test_a_reason_of_one_member_names_it() -> None:
    scores = scored(None, [4.0], tail_combination=[60.0], price_jump=[20.0])
    told = Ensemble().build(None).explain(np.zeros(1, BAR)[0], "SPY", scores, 0, 4.0)
    assert told.reason == "SPY is out of the ordinary to tail_combination at severity 60"
    assert told.contributions == {"tail_combination": 1.0}
    scores = scored(None, [4.0], tail_combination=[60.0], price_jump=[80.0], high_volume=[51.0])
    told = Ensemble().build(None).explain(np.zeros(1, BAR)[0], "SPY", scores, 0, 4.0)
    assert told.reason.endswith("at severity 60; so it is to high_volume, price_jump")


def test_the_reason_names_the_members_the_strongest_first() -> None:
    scores = scored(calm=[10.0], price_jump=[75.0], high_volume=[50.0])
    told = Ensemble().build(None).explain(np.zeros(1, BAR)[0], "SPY", scores, 0, 4.0)
    assert told.reason == (
        "SPY is out of the ordinary to several detectors together: "
        "price_jump at severity 75, high_volume at severity 50 and calm at severity 10"
    )
    assert list(told.contributions) == ["price_jump", "high_volume", "calm"]
    assert told.contributions["price_jump"] == pytest.approx((DAY + 2) / (2 * DAY + 2 + DAY / 5))


def names(found: tuple[Detector, ...]) -> list[str]:
    return [detector.id for detector in found]


def test_it_is_at_work_where_it_has_two_members() -> None:
    assert names(detectors({}))[-1] == "ensemble"
    off = ("half_space_trees", "isolation_forest", "autoencoder", "tail_combination")
    others = {name: {"enabled": False} for name in off}
    assert "ensemble" in names(detectors(others))
    assert "ensemble" not in names(detectors({**others, "price_jump": {"enabled": False}}))
    assert "ensemble" not in names(detectors({**others, "high_volume": {"width": "10s"}}))
    assert "ensemble" not in names(detectors({**others, "ensemble": {"weights": {"high_volume": 0}}}))


def test_weights_are_for_detectors_of_bars() -> None:
    with pytest.raises(UserError, match=r"`detectors.ensemble.weights` must name .* has 'block_trade'"):
        detectors({"ensemble": {"weights": {"block_trade": 1}}})


def test_beside_the_tail_combination_the_others_weigh_nothing_unless_told_to() -> None:
    usual, told = Ensemble(), Ensemble(weights={"price_jump": 2.0})
    names_of = {"tail_combination", "price_jump", "autoencoder"}
    assert [usual.weight(name, names_of) for name in sorted(names_of)] == [0.0, 0.0, 1.0]
    assert [told.weight(name, names_of) for name in sorted(names_of)] == [0.0, 2.0, 1.0]
    assert usual.weight("autoencoder", {"autoencoder", "price_jump"}) == 1.0
    assert Ensemble(weights={"tail_combination": 0.0}).weight("autoencoder", names_of) == 1.0
