"""Training ``tail_combination``: a prior of each statistic, and boosted trees over tail probabilities.

The first part of each instrument's bars is for training, with anomalies of five kinds put into them
(`models.bar_events`); the last part, with other ones, only for the card's figures. The prior is of bars that
nothing was put into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models.bar_events import inject
from models.bar_series import Series, series_of_files, simulated_series
from models.exact import finest_steps, on_grid, require_exact
from models.onnx_graph import model_of
from models.tree_graph import Trees
from operators.bar_statistics import STATISTICS, BarStatistics, Told
from operators.detector import segments_of_bars
from operators.features import BarFeatures
from operators.tail_combination import INPUTS, RISING, inputs_of
from operators.tail_tables import TailTables, bins_of, prior_of
from tapewatch.records import MINUTE, Array, Floats

#: Bars of a long series that are used; how often short and long ones are; bars from which one is long.
_MOST, _SHORT_TIMES, _LONG_TIMES, _LONG = 150_000, 12, 3, 10_000
_EVENTS_PER_BAR = 1 / 120
PRIOR_BARS = 200
#: Bars after an event that count neither way.
_ECHO = 30
#: Weight of the bar after an event.
_AFTER = 0.6
#: Weight of events that are small by definition: the largest ones would drown them.
_WEIGHTS = {"subtle": 2.0}
#: Of untouched bars in which nothing is rarer than this, in decades, one in so many stands for all.
_DULL, _ONE_IN = 1.2, 3
_HISTORY = 200
TREES, _LEAVES, _RATE, _LEAST_LEAF, _RIDGE = 400, 12, 0.05, 60, 5.0
#: Share of the inputs among which each split is chosen.
_SEEN = 0.3


@dataclass(frozen=True, slots=True)
class Points:
    """What the trees are shown of some bars ``(n, len(INPUTS))``, labels and weights ``(n,)``."""

    inputs: Array
    label: Array
    weight: Floats


def gathered(paths: Sequence[Path], simulated: Sequence[int]) -> list[tuple[dict[str, Any], list[Series]]]:
    """Return the series of each source with what a card says of it."""
    found: list[tuple[dict[str, Any], list[Series]]] = []
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(({"name": path.name, "sha256": digest}, list(series_of_files([path], _MOST))))
    # Simulated bars are kinder than real ones: they are for those who have nothing else.
    found += [
        ({"name": "simulated market", "seed": seed}, list(simulated_series(seed)))
        for seed in (simulated if not paths else ())
    ]
    return found


def train(
    paths: Sequence[Path],
    seed: int,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    simulated: Sequence[int] = (),
    effort: Mapping[str, int] = MappingProxyType({}),
) -> tuple[bytes, dict[str, Any], Points]:
    """Return the model, what the card says of it, and points of the last parts of the series to validate on.

    Parameters
    ----------
    paths, simulated
        Files, and seeds of simulated sessions.
    seed
        Of injections and trees.
    progress
        Told how far it is.
    effort
        ``trees``, and how many ``times`` events are put into each series, if not as usual.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    sources = gathered(paths, simulated)
    every = [series for _, some in sources for series in some]
    usual = []
    for done, series in enumerate(every):
        told, ready = _told(series.bars[: series.cut])
        usual.append(bins_of(told.statistics[ready])[:: 1 + len(ready) // _LONG])
        progress("usual bars", done + 1, len(every))
    prior = on_grid(prior_of(np.concatenate(usual)), 2.0**40)
    training = _joined(_training(every, prior, seed, effort.get("times", 0), progress))
    held = _joined(_validation(every, prior, seed))
    trees = effort.get("trees", TREES)
    progress("trees", 0, 1)
    boosted = HistGradientBoostingClassifier(
        max_iter=trees, learning_rate=_RATE, max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST_LEAF,
        l2_regularization=_RIDGE, max_features=_SEEN, early_stopping=False, random_state=seed,
        monotonic_cst=[1] * RISING + [0] * (len(INPUTS) - RISING),
    ).fit(training.inputs, training.label, sample_weight=training.weight)  # fmt: skip
    progress("trees", 1, 1)
    card = {
        "features": list(INPUTS),
        "statistics": list(STATISTICS),
        "prior_bars": PRIOR_BARS,
        "prior": prior.tolist(),
        "architecture": {
            "trees": trees,
            "leaves": _LEAVES,
            "learning_rate": _RATE,
            "inputs_seen_by_a_split": _SEEN,
            "weights_of_events": _WEIGHTS,
            "input": "-log10 of each statistic's tail probability for the instrument, the rarest, their "
            "sums; how lively the bars around are",
            "score": "log(1 + exp(logit + 4.5))",
        },
        "data": [source | {"training_bars": sum(s.cut for s in some)} for source, some in sources],
        "training_bars": len(training.label),
        "training_anomalous_bars": int(training.label.sum()),
    }
    return export(boosted), card, held


def _told(bars: Array) -> tuple[Told, Array]:
    segments = segments_of_bars(bars, [""])
    features = BarFeatures(MINUTE).update(segments)
    told = BarStatistics(MINUTE).update(segments, features.values, learn=True)
    return told, ~np.isnan(features.values[:, 0])


def _training(
    every: Sequence[Series],
    prior: Floats,
    seed: int,
    times: int,
    progress: Callable[[str, int, int], None],
) -> Iterator[Points]:
    for done, series in enumerate(every):
        bars = series.bars[: series.cut]
        for time in range(times or (_LONG_TIMES if len(bars) > _LONG else _SHORT_TIMES)):
            rng = np.random.default_rng([seed, time, series.number])
            yield _thinned(_points(bars, _HISTORY, prior, rng), rng)
        progress("injected bars", done + 1, len(every))


def _validation(every: Sequence[Series], prior: Floats, seed: int) -> Iterator[Points]:
    for series in every:
        first = max(series.cut - _LONG // 4, 0)
        rng = np.random.default_rng([seed, 1_000, series.number])
        yield _points(series.bars[first:], series.cut - first, prior, rng)


def _points(bars: Array, first: int, prior: Floats, rng: np.random.Generator) -> Points:
    changed, events = inject(bars, first, _EVENTS_PER_BAR, rng)
    told, ready = _told(changed)
    rows = np.zeros(1, np.int64)
    starts = np.array([0, int(ready.sum())])
    decades = TailTables(prior, PRIOR_BARS).decades(rows, starts, bins_of(told.statistics[ready]), learn=True)
    label, weight = np.zeros(len(bars), np.int8), np.ones(len(bars))
    for event in events:
        label[event.last : event.last + _ECHO] = -1
    for event in events:
        label[event.first : event.last] = 1
        counts = _WEIGHTS.get(event.kind, 1.0)
        weight[event.first : event.last] = counts * (event.last - event.first) ** -0.5
        # What the bar after lets be known is in time.
        label[event.last], weight[event.last] = 1, counts * _AFTER
    label[:first] = -1
    counted = label[ready] >= 0
    inputs = inputs_of(decades, told.age[ready], told.context[ready])
    return Points(inputs[counted], label[ready][counted], weight[ready][counted])


def _thinned(points: Points, rng: np.random.Generator) -> Points:
    rarest = points.inputs[:, INPUTS.index("rarest_1")]
    dull = (points.label == 0) & (rarest < _DULL)
    kept = ~dull | (rng.random(len(dull)) * _ONE_IN < 1)
    weight = np.where(dull, _ONE_IN * points.weight, points.weight)
    return Points(points.inputs[kept], points.label[kept], weight[kept])


def _joined(parts: Iterator[Points]) -> Points:
    some = list(parts)
    return Points(
        np.concatenate([part.inputs for part in some]),
        np.concatenate([part.label for part in some]),
        np.concatenate([part.weight for part in some]),
    )


def export(boosted: Any) -> bytes:  # noqa: ANN401 - scikit-learn has no types
    """Return scikit-learn's boosted trees as an ONNX model: input ``features`` ``[N, F]``, output ``logit``.

    ``logit`` is what ``decision_function`` returns, within 1e-4, and the same to the last bit whatever the
    size of the batch.

    Raises
    ------
    ArithmeticError
        If the sum of the leaves could round.
    """
    from onnx import TensorProto, helper

    trees = Trees(len(INPUTS))
    leaves: list[Array] = []
    for (predictor,) in boosted._predictors:
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        trees.add(
            leaf,
            nodes["feature_idx"],
            nodes["num_threshold"],
            nodes["left"],
            nodes["right"],
        )
        leaves.append(nodes["value"][leaf])
    start = float(boosted._baseline_prediction.ravel()[0])
    largest = abs(start) + sum(float(np.abs(values).max()) for values in leaves)
    steps = finest_steps(1.01 * largest, np.float32)
    leaves = [on_grid(values, steps) for values in leaves]
    begin = on_grid(np.array([start]), steps)
    require_exact(float(np.abs(begin[0])) + sum(float(np.abs(v).max()) for v in leaves), steps, np.float32)
    nodes = [
        *trees.nodes(np.concatenate(leaves), "features", "beyond"),
        helper.make_node("Add", ["beyond", "start"], ["logit"]),
    ]
    return model_of(
        "tail_combination",
        nodes,
        inputs={"features": (TensorProto.FLOAT, ["N", len(INPUTS)])},
        outputs={"logit": (TensorProto.FLOAT, ["N", 1])},
        constants={"start": begin.astype(np.float32)},
    )
