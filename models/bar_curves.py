"""What the study of injected bars keeps of scores: areas, and curves of a bounded number of points.

A receiver operating characteristic and a precision-recall curve have a point for every score. They are read
off at fixed places, so that those of several seeds can be averaged (T. Fawcett, "An introduction to ROC
analysis", 2006, vertical averaging) and a file of them stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.bar_events import KINDS
from models.event_scores import EPISODE, Found, Stream, labelled
from models.validation import average_precision, curve, roc_auc
from tapewatch.records import Floats

#: All kinds together.
ANY = "any"
#: False positive rates at which the ROC is read off: what happens once a week to what happens to every bar.
FALSE_RATES = np.concatenate([[0.0], np.geomspace(1e-4, 1e-2, 13)[:-1], np.geomspace(1e-2, 1.0, 25)])
#: Recalls at which precision is read off.
RECALLS = np.linspace(0.025, 1.0, 40)


@dataclass(frozen=True, slots=True)
class Shape:
    """Areas and curves of one scorer, seed and kind of event.

    Attributes
    ----------
    roc_auc, average_precision
        Areas under the curves of bars.
    found
        True positive rate at `FALSE_RATES`.
    precision
        Precision at `RECALLS`.
    """

    roc_auc: float
    average_precision: float
    found: Floats
    precision: Floats


def shape(streams: Sequence[Stream], kind: str | None) -> Shape | None:
    """Return areas and curves of the bars of one kind of event (None: of any) against untouched bars.

    Returns
    -------
    Shape or None
        None without such an event.
    """
    scores, label = labelled(streams, kind)
    if not (label == 1).any() or not (label == 0).any():
        return None
    told = curve(scores, label)
    # Between two thresholds lies what drawing lots between them gives.
    found = np.interp(FALSE_RATES, np.append(0.0, told.false), np.append(0.0, told.found))
    reached = np.searchsorted(told.found, RECALLS - 1e-12)
    return Shape(roc_auc(told), average_precision(told), found, told.precision[reached])


def shapes(streams: Sequence[Stream]) -> dict[str, Shape]:
    """Return the `Shape` of each kind of event that there is, and of `ANY`."""
    every = {kind: shape(streams, kind) for kind in KINDS} | {ANY: shape(streams, None)}
    return {kind: some for kind, some in every.items() if some is not None}


def averaged(some: Sequence[Shape]) -> dict[str, list[float]] | None:
    """Return the mean curves of several seeds, None without any.

    Examples
    --------
    >>> flat = Shape(0.5, 0.1, FALSE_RATES, np.full(len(RECALLS), 0.1))
    >>> told = averaged([flat, flat])
    >>> told["precision"][:2], told["true_positive_rate"][-1]
    ([0.1, 0.1], 1.0)
    """
    if not some:
        return None
    return {
        "true_positive_rate": _rounded(np.mean([one.found for one in some], axis=0)),
        "precision": _rounded(np.mean([one.precision for one in some], axis=0)),
    }


def axes() -> dict[str, list[float]]:
    """Return the places of the points of all curves."""
    return {"false_positive_rate": _rounded(FALSE_RATES), "recall": _rounded(RECALLS)}


def confusion(streams: Sequence[Stream], told: Sequence[Found]) -> dict[str, Any]:
    """Return the confusion matrix of alarms: events found and missed, stretches alarmed and quiet.

    What is untouched is cut into stretches of `EPISODE` bars, as long as an episode: the negatives.

    Returns
    -------
    dict
        ``found`` and ``missed`` by kind, ``false`` (episodes), ``quiet`` (stretches without one).
    """
    found, missed = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    false = untouched = 0
    for stream, some in zip(streams, told, strict=True):
        for event, delay in zip(stream.events, some.delays.tolist(), strict=True):
            (found if delay >= 0 else missed)[event.kind] += 1
        false += some.false
        untouched += int((stream.owner()[stream.first :] < 0).sum())
    return {"found": found, "missed": missed, "false": false, "quiet": max(untouched // EPISODE - false, 0)}


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
