"""Thresholds that are chosen on events in the first parts of the series, for the study of injected bars.

Youden's J weighs the rate of events found and the rate of false alarms alike, whatever the number of either:
where events are rare it picks thresholds that flag many times what there is. F1 sets false alarms against
right ones, at the share of events that the stream has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    """Return the threshold at which F1 of episodes and events, of whatever kinds, is best.

    The highest of several; infinite where nothing is found at any.
    """
    scores = np.concatenate([stream.scores[stream.first :] for stream in streams])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return np.inf
    best, chosen = 0.0, np.inf
    for level in np.unique(np.quantile(scores, 1 - _SHARES, method="higher"))[::-1].tolist():
        told = f1_of(found_at(streams, level))
        if told > best:
            best, chosen = told, level
    return chosen


def f1_of(told: Sequence[Found]) -> float:
    """Return F1 of all events: precision is of those found and the false episodes."""
    events = sum(len(some.delays) for some in told)
    hits = sum(int((some.delays >= 0).sum()) for some in told)
    false = sum(some.false for some in told)
    return f_beta(hits / max(hits + false, 1), hits / max(events, 1), 1.0)
