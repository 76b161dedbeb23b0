"""The scale on which a detector scores, cut into the bins of a histogram, and what is known of its tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapewatch.records import Array, Floats

_PER_OCTAVE = 16


@dataclass(frozen=True, slots=True)
class Scale:
    """How the scores of a detector spread.

    Attributes
    ----------
    lowest, octaves
        Scores between ``2**lowest`` and ``2**(lowest + octaves)`` are told apart, 16 steps to an octave.
    shape, spread
        Prior of the generalised Pareto tail: its shape, and its scale as a share of ``u``.
    prior_peaks
        How many peaks the prior of the shape counts for.
    warm_up
        Observations of an instrument before its first alarm.
    usual_threshold, prior_observations
        For scores that are alike for all instruments (standard deviations): the threshold at one alarm a day
        of 390 windows, and how many observations it counts for; 0 for scores on the instrument's own scale.
    heaviest
        For tails that are heavy to an unknown degree: the prior's shape is that of the Pareto law with the
        instrument's mean excess, between ``shape`` and this.
    restraint
        How far below the budget spending on a day is held back from, see `operators.spending.rarity`.
    """

    lowest: int
    octaves: int
    shape: float
    spread: float
    prior_peaks: float
    warm_up: int
    usual_threshold: float = 0.0
    prior_observations: float = 0.0
    heaviest: float = 0.0
    restraint: float = 0.0

    @property
    def bins(self) -> int:
        """Number of histogram bins."""
        return self.octaves * _PER_OCTAVE

    def edges(self) -> Floats:
        """Return the lower edge of each bin, and the upper edge of the last."""
        steps = np.arange(self.bins + 1)
        return np.ldexp(1 + (steps % _PER_OCTAVE) / _PER_OCTAVE, self.lowest + steps // _PER_OCTAVE)

    def bin_of(self, scores: Floats) -> Array:
        """Return the bin of each score: the leading bits of its floating-point form, which are monotone."""
        bits = scores.astype(np.float32).view(np.int32)
        bits >>= 19
        bits -= (127 + self.lowest) << 4
        np.maximum(bits, 0, out=bits)
        return np.minimum(bits, self.bins - 1, out=bits)
