"""``half_space_trees``: bars that lie where few of the instrument's last bars lay.

One model per instrument, all with the same random splits; each bar is scored before it is learned. The score
is the rarity of the bar in bits: River's ``HalfSpaceTrees``, whose splits and masses these are, calls
``1 - 2**-score`` the same. When the mean of the scores changes (ADWIN), the instrument's model is forgotten
and warms up anew.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from operators.adwin import Adwin
from operators.adwin import State as AdwinState
from operators.detector import Logic, Scores, Segments, grown
from operators.feature_detector import FeatureDetector, FeatureLogic, shares
from operators.features import FEATURES, Features
from operators.half_space_trees import HalfSpaceTrees as Trees
from operators.scale import Scale
from tapewatch.log import log
from tapewatch.records import Array, Floats

#: Of this many standard deviations a bounded feature is 1/2.
_HALF_WAY = 3.0
_Resume = dict[str, Any] | None


class HalfSpaceTrees(FeatureDetector):
    """Bars whose combination of features is rare among the instrument's last ones."""

    name: ClassVar[str] = "half_space_trees"
    scale: ClassVar[Scale] = Scale(
        lowest=-3,
        octaves=7,
        shape=0.0,
        spread=0.18,
        prior_peaks=30,
        warm_up=45,
        usual_threshold=4.0,
        prior_observations=150,
        restraint=1.0,
    )

    n_trees: int = Field(50, ge=1, le=100)
    height: int = Field(8, ge=1, le=10)
    window_size: int = Field(64, ge=20, le=2000)
    seed: int = Field(1, ge=0, le=2**32 - 1)
    drift_delta: float = Field(0.002, ge=0, lt=1)

    def build(self, resume: _Resume) -> Logic:
        """Return the logic."""
        return _HalfSpaceLogic(self, resume)


@lru_cache(maxsize=16)
def _trees(trees: int, height: int, window: int, seed: int) -> Trees:
    """Return the splits, which all shards share."""
    return Trees(len(FEATURES), trees, height, window, seed)


def bounded(values: Array) -> Floats:
    """Return features as half-space trees want them: how far from usual, in [0, 1).

    >>> bounded(np.array([0.0, -3.0, 9.0]))
    array([0.  , 0.5 , 0.75])
    """
    size = np.abs(values.astype(np.float64))
    return size / (_HALF_WAY + size)


class _HalfSpaceLogic(FeatureLogic):
    """Per instrument: the leaves of this window and of the last full one, and the drift of scores."""

    _title = "the half-space trees"

    def __init__(self, settings: HalfSpaceTrees, resume: _Resume) -> None:
        super().__init__(settings.width, resume)
        self._trees = _trees(settings.n_trees, settings.height, settings.window_size, settings.seed)
        self._delta = settings.drift_delta
        self._rows = 0
        window, dtype = (0, settings.window_size, settings.n_trees), self._trees.leaf_dtype
        self._now, self._before = np.zeros(window, dtype), np.zeros(window, dtype)
        #: Bars of this window so far, and whether there is a full one before it.
        self._state = np.zeros((0, 2), np.int32)
        self._drift: list[Adwin] = []
        #: Mass of each leaf by the full window; made from it when needed.
        self._weights: dict[int, Array] = {}
        #: What the state is of; that of other trees is of no use.
        self._made_by = (settings.n_trees, settings.height, settings.window_size, settings.seed)
        if resume is not None and resume["made_by"] != self._made_by:
            log.warning("%s has other trees than the recovery store; it warms up anew", settings.name)
        elif resume is not None:
            self._now, self._before, self._state = (resume[n].copy() for n in ("now", "before", "state"))
            self._drift = [Adwin(self._delta, saved) for saved in resume["drift"]]
            self._rows = len(self._drift)

    def snapshot(self) -> dict[str, Any]:
        kept = slice(self._rows)
        drift: tuple[AdwinState, ...] = tuple(adwin.snapshot() for adwin in self._drift)
        return super().snapshot() | {
            "made_by": self._made_by, "now": self._now[kept].copy(), "before": self._before[kept].copy(),
            "state": self._state[kept].copy(), "drift": drift,
        }  # fmt: skip

    def _grow(self, count: int) -> None:
        self._rows = max(self._rows, count)
        self._now, self._before = grown(self._now, count), grown(self._before, count)
        self._state = grown(self._state, count)
        self._drift += [Adwin(self._delta) for _ in range(self._rows - len(self._drift))]

    def _score(
        self, segments: Segments, features: Features, details: dict[str, Array], *, learn: bool
    ) -> Floats:
        self._grow(int(segments.rows.max(initial=-1)) + 1)
        ready = np.flatnonzero(~np.isnan(features.values[:, 0]))
        leaves = self._trees.leaves(bounded(features.values[ready]))
        bits = np.full(len(ready), np.nan)
        weights: list[Array] = []
        told = np.zeros(len(segments.items), np.intp)
        bounds = np.searchsorted(ready, segments.starts).tolist()
        for row, first, last in zip(segments.rows.tolist(), bounds[:-1], bounds[1:], strict=True):
            at = first
            while at < last:
                until = min(last, at + self._trees.window - int(self._state[row, 0]))
                drifted = False
                if self._state[row, 1]:
                    weights.append(self._weights_of(row))
                    bits[at:until] = self._bits(weights[-1], leaves[at:until])
                    if learn and self._delta:
                        until, drifted = self._watched(row, bits, at, until)
                    told[ready[at:until]] = len(weights) - 1
                if drifted:
                    self._forget(row)
                elif learn:
                    self._learn(row, leaves[at:until])
                at = until
        score = np.full(len(segments.items), np.nan)
        score[ready] = bits
        kept = np.empty(len(weights), object)
        kept[:] = weights
        details["weights"], details["told"] = kept, told
        return score

    def _bits(self, weights: Array, leaves: Array) -> Floats:
        return np.log2(self._trees.largest_mass / self._trees.masses(weights, leaves))

    def _weights_of(self, row: int) -> Array:
        if row not in self._weights:
            self._weights[row] = self._trees.weights(self._before[row])
        return self._weights[row]

    def _watched(self, row: int, bits: Floats, at: int, until: int) -> tuple[int, bool]:
        """Show the scores to ADWIN; return where to go on, and whether the model is to be forgotten there."""
        update = self._drift[row].update
        for place, score in enumerate(bits[at:until].tolist(), at):
            if update(score):
                bits[place + 1 : until] = np.nan
                return place + 1, True
        return until, False

    def _forget(self, row: int) -> None:
        self._state[row] = 0
        self._drift[row] = Adwin(self._delta)
        self._weights.pop(row, None)

    def _learn(self, row: int, leaves: Array) -> None:
        seen = int(self._state[row, 0])
        self._now[row, seen : seen + len(leaves)] = leaves
        self._state[row, 0] += len(leaves)
        if self._state[row, 0] == self._trees.window:
            self._before[row] = self._now[row]
            self._state[row] = 0, 1
            self._weights.pop(row, None)

    def _shares(self, scores: Scores, index: int) -> Floats:
        weights = scores.details["weights"][scores.details["told"][index]]
        return shares(
            lambda points: self._bits(weights, self._trees.leaves(bounded(points))),
            scores.details["values"][index],
        )
