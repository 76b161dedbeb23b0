"""The study of the detectors that learn counts what they say."""

from __future__ import annotations

from collections import Counter

from connectors.injections import KINDS
from models.model_quality import NAMES, costs, found, judging, tables


def test_only_the_detectors_that_learn_are_studied() -> None:
    assert {detector.name for detector in judging().detectors} == set(NAMES)


def test_events_and_what_is_found_are_counted() -> None:
    events, hits = found((3,), symbols=12)
    assert sum(events.values()) >= 6
    assert all(hits[name, kind] <= events[kind] for name in NAMES for kind in KINDS)
    assert sum(hits[name, kind] for name in NAMES for kind in ("flash_crash", "price_jump", "bad_tick")) > 0


def test_costs_are_alarms_per_instrument_and_day() -> None:
    cost = costs((3,), symbols=6, days=2)
    assert {name: len(by_day) for name, by_day in cost.items()} == dict.fromkeys(NAMES, 2)
    assert 0 < sum(sum(by_day) for by_day in cost.values()) < 3 * 2 * 5
    assert all(
        (6 * value).is_integer() or abs(6 * value - round(6 * value)) < 1e-9
        for v in cost.values()
        for value in v
    )


def test_tables_have_a_row_for_each() -> None:
    text = tables({name: [0.5, 1.25] for name in NAMES}, Counter({"gap": 4}), Counter({(NAMES[0], "gap"): 1}))
    for name in NAMES:
        assert f"| `{name}` | 0.50 | 1.25 |" in text
    assert "| gap | 0.25 | 0.00 | 0.00 | 4 |" in text
    assert all(f"| {kind} |" in text for kind in KINDS)
