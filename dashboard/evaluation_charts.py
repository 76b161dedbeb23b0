"""The pictures of evaluations in Vega-Lite: who finds how much, curves, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.charts import Spec, number, told
from dashboard.colours import Colours
from dashboard.evaluation import InjectedBars, Matrix

_UNTOUCHED = "untouched bars"
_MEAN = "mean"
_LEAST_RATE = 1e-4
_PERCENT = {"format": ".0%", "tickCount": 5}
_SHARES = {"domain": [0, 1]}


def recalls(study: InjectedBars, colours: Colours) -> Spec:
    """Return what each finds at one false episode a day: a bar the mean, a dot each kind of event."""
    order = sorted(study.scorers, key=lambda name: -(study.scorers[name].mean or 0))
    rows, dots = [], []
    for name in order:
        scorer = study.scorers[name]
        rows.append(
            {
                "scorer": name, "recall": scorer.mean, "baseline": scorer.baseline,
                "spread": scorer.spread_over_seeds, "of visible": scorer.of_visible,
            }
        )  # fmt: skip
        dots += [
            {"scorer": name, "recall": kind.event_recall_at_one_false_episode_per_day, "kind": label}
            for label, kind in scorer.kinds.items()
        ]
    y = _by_name("scorer", order)
    x = number("recall", "event recall", axis=_PERCENT)
    # What is compared with is of the colour that recedes.
    colour = {"condition": {"test": "datum.baseline", "value": colours.volume}, "value": colours.line}
    return {
        "datasets": {"rows": pd.DataFrame(rows), "dots": pd.DataFrame(dots)},
        "height": {"step": 22},
        "layer": [
            {
                "data": {"name": "rows"},
                "mark": {"type": "bar", "cornerRadius": 2, "opacity": 0.75},
                "encoding": {
                    "x": x, "y": y, "color": colour,
                    "tooltip": told("scorer", "recall:.1%", "spread:.1%", "of visible:.1%"),
                },
            },
            {
                "data": {"name": "dots"},
                "mark": {"type": "point", "filled": True, "size": 34, "opacity": 0.95},
                "encoding": {
                    "x": x, "y": y, "color": _series("kind", list(study.events)),
                    "shape": {**_legend("kind"), "scale": {"domain": list(study.events)}},
                    "tooltip": told("scorer", "kind", "recall:.1%"),
                },
            },
        ],
    }  # fmt: skip


def operating(study: InjectedBars, names: Sequence[str]) -> Spec:
    """Return event recall over the false episodes per instrument and day that it costs."""
    rows = [
        {"scorer": name, "a day": float(budget), "recall": recall, **_style(study, name)}
        for name in names
        for budget, recall in study.scorers[name].event_recall_by_false_episodes_per_day.items()
    ]
    x = number(
        "a day", "false episodes per instrument and day", scale={"type": "log"},
        axis={"values": sorted({row["a day"] for row in rows}), "format": "~g", "grid": False},
    )  # fmt: skip
    y = number("recall", "event recall", axis=_PERCENT, scale=_SHARES)
    return _lines(rows, x, y, list(names), ("scorer", "a day:~g", "recall:.1%"), points=True)


def precision_recall(study: InjectedBars, names: Sequence[str], kind: str) -> Spec:
    """Return the precision of bars over their recall; the axis of precision is logarithmic."""
    rows = [
        {"scorer": name, "recall": recall, "precision": max(precision, _LEAST_RATE), **_style(study, name)}
        for name, lines in _curves(study, names, kind)
        for recall, precision in zip(study.curves.recall, lines.precision, strict=False)
    ]
    lowest = min((row["precision"] for row in rows), default=_LEAST_RATE)
    x = number("recall", "recall of bars", axis={**_PERCENT, "grid": False}, scale=_SHARES)
    y = number(
        "precision", "precision of bars", scale={"type": "log", "nice": False, "domain": [lowest, 1]},
        axis={"format": "~%", "tickCount": 4},
    )  # fmt: skip
    return _lines(rows, x, y, list(names), ("scorer", "recall:.1%", "precision:.2%"))


def receiver_operating(study: InjectedBars, names: Sequence[str], kind: str) -> Spec:
    """Return the true positive rate of bars over the false positive rate, which is logarithmic."""
    rows = [
        {"scorer": name, "false": rate, "found": found, **_style(study, name)}
        for name, lines in _curves(study, names, kind)
        for rate, found in zip(study.curves.false_positive_rate, lines.true_positive_rate, strict=False)
        if rate >= _LEAST_RATE
    ]
    x = number(
        "false", "false positive rate of bars", scale={"type": "log", "domain": [_LEAST_RATE, 1]},
        axis={"format": "~%", "values": [1e-4, 1e-3, 1e-2, 1e-1, 1], "grid": False},
    )  # fmt: skip
    y = number("found", "true positive rate of bars", axis=_PERCENT, scale=_SHARES)
    return _lines(rows, x, y, list(names), ("scorer", "false:.2%", "found:.1%"))


def confusion(matrix: Matrix, colours: Colours) -> Spec:
    """Return a confusion matrix: a row a kind of event, the last what nothing was done to."""
    rows = []
    for kind in matrix.found:
        rows += _cells(f"{kind} events", matrix.found[kind], matrix.missed.get(kind, 0), right=0)
    rows += _cells(_UNTOUCHED, matrix.false, matrix.quiet, right=1)
    x = {
        "field": "told", "type": "nominal", "title": None, "sort": None,
        "axis": {"orient": "top", "labelAngle": 0, "ticks": False, "domain": False},
    }  # fmt: skip
    y = _by_name("happened", list(dict.fromkeys(row["happened"] for row in rows)))
    right = {"condition": {"test": "datum.right", "value": colours.up}, "value": colours.down}
    return {
        "datasets": {"cells": pd.DataFrame(rows)},
        "data": {"name": "cells"},
        "height": {"step": 34},
        "encoding": {"x": x, "y": y, "tooltip": told("happened", "told", "count:,", "share:.1%")},
        "layer": [
            {
                "mark": {"type": "rect", "stroke": colours.outline, "strokeWidth": 2},
                "encoding": {
                    "color": right,
                    "opacity": {
                        "field": "share", "type": "quantitative", "legend": None,
                        "scale": {"domain": [0, 1], "range": [0.08, 0.8]},
                    },
                },
            },
            {
                "mark": {"type": "text", "fontSize": 13, "color": colours.text},
                "encoding": {"text": {"field": "label", "type": "nominal"}},
            },
        ],
    }  # fmt: skip


def _cells(happened: str, alarmed: int, quiet: int, right: int) -> list[dict[str, Any]]:
    total = max(alarmed + quiet, 1)
    return [
        {
            "happened": happened, "told": name, "count": count, "share": count / total,
            "label": f"{count:,} ({count / total:.0%})", "right": place == right,
        }
        for place, (name, count) in enumerate((("alarm", alarmed), ("no alarm", quiet)))
    ]  # fmt: skip


def _curves(study: InjectedBars, names: Sequence[str], kind: str) -> list[tuple[str, Any]]:
    found = [(name, study.scorers[name].curves.get(kind)) for name in names]
    return [(name, lines) for name, lines in found if lines is not None]


def _style(study: InjectedBars, name: str) -> dict[str, Any]:
    return {"kind": "baseline" if study.scorers[name].baseline else "detector"}


def _lines(
    rows: list[dict[str, Any]], x: Spec, y: Spec, names: list[str], tips: Sequence[str], points: bool = False
) -> Spec:
    dash = {
        "field": "kind", "type": "nominal", "legend": None,
        "scale": {"domain": ["detector", "baseline"], "range": [[1, 0], [5, 3]]},
    }  # fmt: skip
    return {
        "datasets": {"rows": pd.DataFrame(rows)},
        "data": {"name": "rows"},
        "height": 400,
        "mark": {"type": "line", "strokeWidth": 1.8, "point": points, "clip": True},
        "encoding": {
            "x": x, "y": y, "color": _series("scorer", names), "strokeDash": dash, "tooltip": told(*tips),
        },
    }  # fmt: skip


def _series(field: str, names: list[str]) -> Spec:
    return {**_legend(field), "scale": {"domain": names, "scheme": "tableau10"}}


def _legend(field: str) -> Mapping[str, Any]:
    legend = {"orient": "bottom", "title": None, "columns": 2, "labelLimit": 165, "symbolOpacity": 1}
    return {"field": field, "type": "nominal", "legend": legend}


def _by_name(field: str, order: list[str]) -> Spec:
    axis = {"labelLimit": 165, "ticks": False, "domain": False}
    return {"field": field, "type": "nominal", "title": None, "sort": order, "axis": axis}
