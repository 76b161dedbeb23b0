"""The transformer sees what the newest bar does, and a window is what it is beside whatever others."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from operators.bar_windows import WINDOW, BarWindows, shown
from operators.detector import segments_of_bars
from operators.onnx_models import FOLDER
from operators.transformer import load_transformer, newest_errors
from tapewatch.records import MINUTE, Array

make: Any = import_module("tests.operators.made_bars")


def bars(count: int = 200) -> Array:
    made: Array = make.made_bars(4, rows=1, count=count)
    made["ts_start"] = made["ts_start"][0] + np.arange(len(made)) * MINUTE
    return made


def windows(made: Array) -> Array:
    whole, scale = BarWindows(MINUTE).update(segments_of_bars(made, [""]))
    return shown(whole[WINDOW:], scale[WINDOW:])


def test_a_fall_of_the_newest_bar_is_seen() -> None:
    model, made = load_transformer("transformer.onnx"), bars()
    usual = newest_errors(model, windows(made)).sum(axis=1)
    spans = int(np.median(made["high"] - made["low"]))
    made["close"][-1] -= 20 * spans
    made["low"][-1] = min(int(made["low"][-1]), int(made["close"][-1]))
    fallen = newest_errors(model, windows(made)[-1:]).sum()
    assert fallen > np.quantile(usual, 0.95)
    assert fallen > 2 * usual[-1]


def test_prices_volumes_and_signs_have_no_scale() -> None:
    made = bars()
    other = made.copy()
    for name in ("open", "high", "low", "close"):
        other[name] = made[name] * 3
    assert np.allclose(windows(made), windows(other), atol=1e-5)


def test_the_newest_bar_is_hidden_from_the_network() -> None:
    model, window = load_transformer("transformer.onnx"), windows(bars())[:1]
    other = window.copy()
    other[0, -1] += 2.0
    first, second = (model.run("errors", one)[0] for one in (window, other))
    assert np.array_equal(first[:-1], second[:-1])
    assert not np.array_equal(first[-1], second[-1])


def test_a_window_is_the_same_whatever_is_beside_it() -> None:
    model, some = load_transformer("transformer.onnx"), windows(bars())
    together = newest_errors(model, some)
    order = np.random.default_rng(1).permutation(len(some))
    assert newest_errors(model, some[order]).tobytes() == together[order].tobytes()
    assert newest_errors(model, some[7:8]).tobytes() == together[7:8].tobytes()


def test_the_model_is_small_and_its_card_says_what_it_is_of() -> None:
    card = load_transformer("transformer.onnx").card
    assert (FOLDER / "transformer.onnx").stat().st_size < 5 << 20
    assert (card["architecture"]["heads"], card["architecture"]["window"]) == (8, 60)
    assert {"jax", "flax", "optax", "jax2onnx"} <= set(card["versions"])
    assert all("/" not in source["name"] for source in card["data"])
