"""Thresholds that are chosen on events in the first parts of the series, for the study of injected bars.

Youden's J weighs the rate of events found and the rate of false alarms alike, whatever the number of either:
where events are rare it picks thresholds that flag many times what there is. F1 sets false alarms against
right ones, at the share of events that the stream has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.bar_events import KINDS
from models.event_scores import Found, Stream, f_beta, found_at, labelled
from models.validation import curve, youden

#: Shares of the bars that thresholds flag.
_SHARES = np.geomspace(1e-5, 0.1, 33)


def by_youden(streams: Sequence[Stream]) -> float:
    """Return the threshold at which bars of events found exceed others falsely told the most, by their rates.

    Infinite without events, or without other bars.
    """
    scores, label = labelled(streams, None)
    if not (label == 1).any() or not (label == 0).any():
        return np.inf
    return youden(curve(scores, label))[0]


def by_f1(streams: Sequence[Stream]) -> float:
    """Return the threshold at which F1, the mean over the kinds of events, is best; the highest of several.

    Infinite where nothing is found at any.
    """
    scores = np.concatenate([stream.scores[stream.first :] for stream in streams])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return np.inf
    best, chosen = 0.0, np.inf
    for level in np.unique(np.quantile(scores, 1 - _SHARES, method="higher"))[::-1].tolist():
        told = mean_f1(streams, found_at(streams, level))
        if told > best:
            best, chosen = told, level
    return chosen


def mean_f1(streams: Sequence[Stream], told: Sequence[Found]) -> float:
    """Return F1, the mean over the kinds there are; each kind's precision counts all false episodes."""
    false = sum(some.false for some in told)
    kinds = np.array([event.kind for stream in streams for event in stream.events])
    if not len(kinds):
        return 0.0
    hits = np.concatenate([some.delays for some in told]) >= 0
    by_kind = []
    for kind in KINDS:
        mine = kinds == kind
        if mine.any():
            found = int(hits[mine].sum())
            by_kind.append(f_beta(found / max(found + false, 1), found / int(mine.sum()), 1.0))
    return float(np.mean(by_kind))
