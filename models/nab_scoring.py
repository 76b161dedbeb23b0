"""The Numenta Anomaly Benchmark's scoring, from its published rules.

Lavin and Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms: The Numenta Anomaly Benchmark", 2015.
A detection in a labelled window earns more the earlier it is, only the first counts; a detection outside
costs, the less the closer it follows a window; a missed window costs. Detections in the probation at the
beginning do not count. One threshold for the whole corpus is chosen such that its score is best; 0 is a
detector that says nothing, 100 one that finds everything at once and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapewatch.records import Array, Floats, Int64s

#: Share of a series that is its probation, of at most so many rows.
_PROBATION, _PROBATION_ROWS = 0.15, 5_000


@dataclass(frozen=True, slots=True)
class Profile:
    """What detections are worth: ``tp`` in a window at once, ``fp`` far from any, ``fn`` a missed window."""

    tp: float
    fp: float
    fn: float


#: The profiles that NAB publishes.
PROFILES: Mapping[str, Profile] = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scores of one series, shape ``(n,)``, with the rows ``(first, last)`` of its windows, both within."""

    scores: Floats
    windows: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Scored:
    """The best score of a corpus, normalised, and the threshold that gives it."""

    score: float
    threshold: float


def sigmoid(position: Floats) -> Floats:
    """Return what a detection is worth by its position: 0 at the window's end, -1 at its beginning.

    >>> sigmoid(np.array([-1.0, 0.0, 1.0, 9.0])).round(3).tolist()
    [0.987, 0.0, -0.987, -1.0]
    """
    worth: Floats = 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 100.0))) - 1.0
    return np.where(position > 3.0, -1.0, worth)


def probation(rows: int) -> int:
    """Return how many rows are the probation of a series.

    >>> probation(4032), probation(10_000)
    (604, 750)
    """
    return min(int(_PROBATION * rows), int(_PROBATION * _PROBATION_ROWS))


def score(corpus: Sequence[Labelled], profile: Profile) -> Scored:
    """Return the score of a corpus at the threshold that is best for it.

    Examples
    --------
    >>> quiet = np.zeros(1000); quiet[500] = 1.0
    >>> told = score([Labelled(quiet, [(500, 600)])], PROFILES["standard"])
    >>> round(told.score, 6), told.threshold
    (100.0, 1.0)
    """
    levels, gains = [], []
    windows = 0
    for series in corpus:
        worth, owner = _worth(series, profile)
        counted = np.arange(len(worth)) >= probation(len(worth))
        alone = counted & (owner < 0)
        levels.append(series.scores[alone])
        gains.append(worth[alone])
        windows += len(series.windows)
        for number in range(len(series.windows)):
            inside = np.flatnonzero(counted & (owner == number))
            order = inside[np.argsort(-series.scores[inside], kind="stable")]
            best = np.maximum.accumulate(worth[order])
            # What each row adds to what rows with higher scores have earned; the first also ends the miss.
            levels.append(series.scores[order])
            gains.append(np.diff(best, prepend=-profile.fn))
    level, gain = np.concatenate(levels), np.concatenate(gains)
    order = np.argsort(-level, kind="stable")
    level, total = level[order], np.cumsum(gain[order])
    last = np.flatnonzero(np.append(level[1:] != level[:-1], True))
    null, perfect = -profile.fn * windows, profile.tp * windows
    if not windows or not len(last):
        return Scored(np.nan, np.inf)
    at = int(last[total[last].argmax()])
    if total[at] <= 0:
        return Scored(0.0, np.inf)
    return Scored(100.0 * float(total[at]) / (perfect - null), float(level[at]))


def _worth(series: Labelled, profile: Profile) -> tuple[Floats, Int64s]:
    """Return what a detection at each row is worth, and the window that each row is in, -1 for none."""
    count = len(series.scores)
    row = np.arange(count)
    owner = np.full(count, -1, np.int64)
    worth = np.full(count, -profile.fp)
    for first, last in sorted(series.windows):
        width = last - first + 1
        after = row > last
        worth[after] = profile.fp * sigmoid((row[after] - last) / max(width - 1, 1))
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        owner[inside] = number
        position = -(last - row[inside] + 1) / width
        worth[inside] = profile.tp * sigmoid(position) / float(sigmoid(np.array([-1.0]))[0])
    return worth, owner


def windows_of(times: Array, told: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Return the first and last rows of windows given by their times, ISO 8601.

    >>> times = np.array(["2014-01-01T00:00", "2014-01-01T00:05", "2014-01-01T00:10"], "datetime64[ns]")
    >>> windows_of(times, [["2014-01-01 00:05:00.000000", "2014-01-01 00:10:00.000000"]])
    [(1, 2)]
    """
    found = []
    for begin, end in told:
        first = int(np.searchsorted(times, np.datetime64(begin.replace(" ", "T"), "ns"), "left"))
        last = int(np.searchsorted(times, np.datetime64(end.replace(" ", "T"), "ns"), "right")) - 1
        if last >= first:
            found.append((first, last))
    return found
