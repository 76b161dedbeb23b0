"""The study of injected bars as plain values, for ``--json`` and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from models.bar_baselines import BASELINES
from models.bar_curves import ANY, averaged, axes, confusion
from models.bar_events import KINDS
from models.bar_results import EVERYTHING, SIZE_EDGES, Case, Result, mean_of
from models.event_scores import Found

#: What a file of this study says that it is.
STUDY = "injected bars"


def as_json(result: Result) -> dict[str, Any]:
    """Return everything that the tables show, and the curves.

    Every curve has its points at the same places, ``curves``; those of several seeds are averaged.
    """
    return {
        "study": STUDY,
        "sigma": result.reading,
        "seeds": list(result.cases),
        "instruments": sorted({case.name for cases in result.cases.values() for case in cases}),
        "events": {kind: result.share_visible(kind)[1] for kind in KINDS},
        "visible": {kind: result.share_visible(kind)[0] for kind in KINDS},
        "curves": axes(),
        "scorers": {name: _scorer(result, name) for name in result.rows},
    }


def _scorer(result: Result, name: str) -> dict[str, Any]:
    rows = result.rows[name]
    kinds = {kind: _kind(result, name, kind) for kind in KINDS}
    return {
        "baseline": name in BASELINES or name == EVERYTHING,
        "mean": _number(mean_of(result.mean(name))),
        "spread_over_seeds": _number(_spread(result.mean(name))),
        "of_visible": _number(mean_of(result.mean(name, visible=True))),
        "kinds": kinds,
        "sizes": {
            f"{low:g} to {high:g}": _number(result.by_size(name, low, high))
            for low, high in pairwise(SIZE_EDGES)
        },
        "event_recall_by_false_episodes_per_day": {
            f"{budget:g}": _number(mean_of([row.recalls[budget] for row in rows.values()]))
            for budget in next(iter(rows.values())).recalls
        },
        "curves": {
            kind: averaged([row.shapes[kind] for row in rows.values() if kind in row.shapes])
            for kind in (*KINDS, ANY)
        },
        "confusion": {
            "own_threshold": _confusion(result.cases, {s: row.own for s, row in rows.items()}),
            "threshold_by_f1": _confusion(result.cases, {s: row.chosen for s, row in rows.items()}),
            "one_false_episode_per_day": _confusion(
                result.cases, {s: row.at_budget for s, row in rows.items()}
            ),
        },
    }


def _kind(result: Result, name: str, kind: str) -> dict[str, Any]:
    recalls, area = result.recalls(name, kind), result.area(name, kind)
    return {
        "event_recall_at_one_false_episode_per_day": _number(mean_of(recalls)),
        "spread_over_seeds": _number(_spread(recalls)),
        "of_visible": _number(mean_of(result.recalls(name, kind, visible=True))),
        "roc_auc": _number(area[0]),
        "average_precision": _number(area[1]),
        "own_threshold": {key: _number(value) for key, value in result.own(name, kind).items()},
        "threshold_by_f1": {
            key: _number(value) for key, value in result.own(name, kind, chosen=True).items()
        },
    }


def _confusion(cases: Mapping[int, list[Case]], told: Mapping[int, Sequence[Found]]) -> dict[str, Any]:
    every = [case.stream(np.zeros(len(case.bars))) for seed in cases for case in cases[seed]]
    return confusion(every, [some for seed in cases for some in told[seed]])


def _spread(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.std(known)) if known else np.nan


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
