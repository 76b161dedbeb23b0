"""The one interface of detectors: a frozen description that builds its logic from a resume state.

The logic is given the records or bars of one shard, scores **before** it learns, and returns arrays. It knows
no Bytewax and no calibration: turning scores into severities and alarms is the same for every detector.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from operators.breaks import Breaks
from operators.ordered import Ordered
from operators.scale import Scale
from tapewatch.records import Array, Floats, Int64s
from tapewatch.settings import WIDTHS, Width

if TYPE_CHECKING:
    from operators.bar_statistics import Told
    from operators.features import Features


@dataclass(frozen=True, slots=True)
class Segments:
    """Records or bars of a shard, those of one instrument side by side and in their order.

    Attributes
    ----------
    rows
        Row of each instrument in the shard, shape ``(k,)``.
    starts
        Items of ``rows[i]`` are ``starts[i]:starts[i + 1]``; int64, shape ``(k + 1,)``.
    items
        ``TRADE`` records or ``BAR`` bars, shape ``(n,)``; a field, ``items[name]``, is an array.
    times
        What decides the UTC day an item belongs to, int64 ns, shape ``(n,)``.
    names
        Key of every row of the shard so far.
    reached
        Of records: their instrument's clock after each (its latest event time so far), int64 ns, shape
        ``(n,)``; None of bars.
    breaks
        Of records: what the source knows to be missing before some of them, or None.
    after_break
        Of bars: which have such a break within them or just before, bool, shape ``(n,)``, or None. Their
        scores are neither judged nor learned; a detector must not compare across them.
    severities
        Of bars that the ensemble reads: what each member makes of them, NaN where it says nothing.
    scores
        With the severities: the scores that these are of, each on its member's own scale.
    features
        Of bars, if they were computed once for all detectors that use them.
    statistics
        What those bars and the ones before them amount to, likewise.
    """

    rows: Array
    starts: Int64s
    items: Array | Ordered
    times: Int64s
    names: Sequence[str]
    reached: Int64s | None = None
    breaks: Breaks | None = None
    after_break: Array | None = None
    severities: Mapping[str, Floats] | None = None
    scores: Mapping[str, Floats] | None = None
    features: Features | None = None
    statistics: Told | None = None

    @property
    def row_of(self) -> Array:
        """Row of each item, shape ``(n,)``."""
        return np.repeat(self.rows, np.diff(self.starts))


def segments_of_bars(bars: Array, names: Sequence[str], after_break: Array | None = None) -> Segments:
    """Return bars sorted by (row, start) as segments."""
    row = bars["row"]
    first = (
        np.concatenate([[0], np.flatnonzero(row[1:] != row[:-1]) + 1]) if len(bars) else np.zeros(0, np.int64)
    )
    starts = np.concatenate([first, [len(bars)]]).astype(np.int64)
    times = np.ascontiguousarray(bars["ts_start"])
    return Segments(row[first], starts, bars, times, names, after_break=after_break)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector says of each item; every array has shape ``(n,)``.

    Attributes
    ----------
    score
        On the detector's own scale, higher is stranger; NaN while the detector warms up.
    forced
        Items that are anomalies whatever their score (an absolute limit), or None.
    details
        Whatever `Logic.explain` needs, array by name.
    judged
        The records that are scored, where they are not those that were given: some of them, or earlier ones
        that had to wait for what follows them.
    decided
        With ``judged``: index of the given record that each had to wait for (itself, if none); what is known
        at that record's time. Never falls within a row.
    since
        Of records: when what is wrong began, int64 ns, if not with the record itself.
    least
        Of forced items: the least severity each has, if not 50.
    most
        The most severity each item can have, if not 100.
    told_from
        Of records: the severity from which on each is told, 0 where any is enough; None if it is everywhere.
    """

    score: Floats
    forced: Array | None
    details: dict[str, Array]
    judged: Segments | None = None
    decided: Int64s | None = None
    since: Int64s | None = None
    least: Floats | None = None
    most: Floats | None = None
    told_from: Floats | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one item is an anomaly; ``contributions`` are signed shares of the score that sum to 1.

    ``threshold`` is what the score was compared with where that was not the calibration's.
    """

    observed: float
    expected: float
    contributions: dict[str, float]
    reason: str
    threshold: float | None = None


class Logic(Protocol):
    """A detector at work on one shard."""

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        """Score the items in their order, each before it is learned.

        With ``learn=False`` (windows that are not over; several of a row only where they wait for late
        records) nothing is changed.
        """

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        """Say in words and numbers why an item is an anomaly."""

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""


class Detector(BaseModel):
    """What every detector's section of the settings has, and what the flow asks of it.

    A section that looks at a tape in two ways has two `parts`: detectors with the same ``name``, each with
    its own logic, calibration and episodes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    #: Tells the parts of one section apart, in names and in ids; empty and 0 for the section itself.
    part: ClassVar[str] = ""
    ordinal: ClassVar[int] = 0
    reads: ClassVar[Literal["bars", "records", "severities"]]
    #: How its scores spread; see `operators.calibrate`.
    scale: ClassVar[Scale]
    #: Its part of the alarm budget.
    share: ClassVar[float] = 1.0
    #: Scores below this are no anomalies, however rare they are.
    least: ClassVar[float] = 0.0
    #: What an episode is made of, in the plural.
    unit: ClassVar[str] = ""
    #: Whether its logic wants `Segments.features`, and `Segments.statistics`, for which these are needed.
    uses_features: ClassVar[bool] = False
    uses_statistics: ClassVar[bool] = False
    #: Settings without which its state cannot be read, or its scores spread otherwise.
    shaped_by: ClassVar[tuple[str, ...]] = ()

    enabled: bool = True

    @property
    def id(self) -> str:
        """Name of the detector, or of the part of it."""
        return f"{self.name}.{self.part}" if self.part else self.name

    @property
    def parts(self) -> tuple[Detector, ...]:
        """What is at work for this section."""
        return (self,)

    @property
    def shape(self) -> dict[str, Any]:
        """What its state is of; that of another shape is of no use."""
        return {name: getattr(self, name) for name in self.shaped_by if name in type(self).model_fields}

    @property
    def bar_width(self) -> Width | None:
        """Width of the bars it reads, None if it reads records."""
        return None

    @property
    def gap_ns(self) -> int:
        """Alarms of one instrument no further apart than this are one episode."""
        raise NotImplementedError

    @abstractmethod
    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Make the logic, new or from a `Logic.snapshot`."""


class BarDetector(Detector):
    """A detector that judges windows of one width, each instrument's alarms of which make episodes."""

    reads: ClassVar[Literal["bars", "records", "severities"]] = "bars"
    shaped_by: ClassVar[tuple[str, ...]] = ("width", "model")

    width: Width = "1m"

    @property
    def bar_width(self) -> Width:
        """Width of the windows."""
        return self.width

    @property
    def gap_ns(self) -> int:
        """Windows up to five widths apart are one episode."""
        return 5 * WIDTHS[self.width]


def grown(array: Array, rows: int, fill: float = 0) -> Array:
    """Return the array with room for ``rows`` rows, new ones filled; at least doubled, so growth is cheap.

    >>> grown(np.ones((1, 2)), 3).shape[0] >= 3
    True
    """
    if len(array) >= rows:
        return array
    more = np.full((max(rows, 2 * len(array)) - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate([array, more])


def limits(by_symbol: Mapping[str, float], names: Sequence[str]) -> Floats:
    """Return the limit of each row, ``"*"`` standing for all that are not named; infinite if there is none.

    >>> limits({"SPY": 2.0, "*": 5.0}, ["SPY", "AIG"]).tolist(), limits({}, ["SPY"]).tolist()
    ([2.0, 5.0], [inf])
    """
    if not by_symbol:
        return np.full(len(names), np.inf)
    others = by_symbol.get("*", np.inf)
    return np.array([by_symbol.get(name, others) for name in names], np.float64)


def within_percent(limit_percent: Floats, price: Array) -> Floats:
    """Return limits in the price's own unit: where there is none it is infinite, even at a price of 0.

    >>> within_percent(np.array([2.0, np.inf]), np.array([-500, 0])).tolist()
    [10.0, inf]
    """
    most = np.full(len(limit_percent), np.inf)
    np.multiply(limit_percent / 100, np.abs(price), out=most, where=np.isfinite(limit_percent))
    return most


def amount(value: float) -> str:
    """Return a number as people read it.

    >>> amount(12345.6), amount(3.14159)
    ('12,346', '3.14')
    """
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
