"""Windows of sixty bars, free of price and tick, as the transformer is shown them.

Prices are moves from the close before, over what a bar of the window's past usually spans; volume is the
logarithm of what it is to the window's past. The newest bar has no part in either, so that its own size does
not make itself look usual. All is drawn in by ``asinh``: a few large values do not decide everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import Segments, grown
from operators.windows import SlidingWindows
from tapewatch.records import Array, Floats, Int64s

#: Columns of a bar.
COLUMNS = ("open", "high", "low", "close", "volume")
#: Bars of a window, the newest last.
WINDOW = 60
_LARGEST_MOVE = 2**56
#: Where an instrument hardly moves, its scale is at least this share of its price.
_LEAST_SCALE = 1e-5
#: A move is not taken across more windows without trades than these, nor across missing records.
_APART = 10


class BarWindows:
    """The last bars of each instrument of a shard, and the windows that they and new ones make.

    Parameters
    ----------
    width_ns
        Width of the bars, ns.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, width_ns: int, resume: dict[str, Any] | None = None) -> None:
        self._apart = _APART * width_ns
        #: Of each of the last bars: open, high, low and close from the close before; volume, -1 for no bar.
        self._past = np.zeros((0, WINDOW - 1, len(COLUMNS)), np.int64)
        #: Close and start of the last bar.
        self._last = np.zeros((0, 2), np.int64)
        self._rows = 0
        if resume is not None:
            self._past, self._last = resume["past"].copy(), resume["last"].copy()
            self._rows = len(self._last)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        return {"past": self._past[: self._rows].copy(), "last": self._last[: self._rows].copy()}

    def update(self, segments: Segments, *, learn: bool = True) -> tuple[Int64s, Floats]:
        """Return each bar behind the bars before it, and the scale of its prices.

        Parameters
        ----------
        segments
            Bars of dtype `tapewatch.documents.BAR`.
        learn
            Without it nothing is remembered.

        Returns
        -------
        tuple
            Int64, shape ``(n, WINDOW, len(COLUMNS))``, the volume of a bar that there was not -1; float64,
            shape ``(n,)``, in integer prices. `shown` makes the model's input of them.
        """
        rows, bars = segments.rows, np.asarray(segments.items)
        count = int(rows.max(initial=-1)) + 1
        self._rows = max(self._rows, count)
        self._past, self._last = grown(self._past, count, -1), grown(self._last, count)
        new = self._moves(rows, segments, bars)
        windows = SlidingWindows(np.diff(segments.starts), WINDOW - 1)
        joined = windows.join(self._past[rows], new)
        past = np.moveaxis(windows.of(joined), 0, -1)
        whole = np.concatenate([past, new[:, None, :]], axis=1)
        spans = past[:, :, 1] - past[:, :, 2]
        spans[past[:, :, 4] < 0] = 0
        usual = np.partition(spans, WINDOW // 2, axis=1)[:, WINDOW // 2].astype(np.float64)
        scale = np.maximum(usual, np.maximum(np.abs(bars["close"]) * _LEAST_SCALE, 1.0))
        if learn and len(bars):
            last = bars[segments.starts[1:] - 1]
            self._past[rows] = windows.kept(joined)
            self._last[rows, 0], self._last[rows, 1] = last["close"], last["ts_start"]
        return whole, scale

    def _moves(self, rows: Array, segments: Segments, bars: Array) -> Int64s:
        first = segments.starts[:-1]
        before = np.empty((len(bars), 2), np.int64)
        before[1:, 0], before[1:, 1] = bars["close"][:-1], bars["ts_start"][:-1]
        before[first] = self._last[rows]
        alone = bars["ts_start"] - before[:, 1] > self._apart
        if segments.after_break is not None:
            alone |= segments.after_break
        reference = np.where(alone, bars["open"], before[:, 0])
        moves = np.stack([bars[name] - reference for name in COLUMNS[:4]], axis=1)
        return np.concatenate(
            [np.clip(moves, -_LARGEST_MOVE, _LARGEST_MOVE), bars["volume"][:, None]], axis=1
        )


def shown(window: Int64s, scale: Floats) -> Array:
    """Return what the model is shown of windows, float32, shape ``(n, WINDOW, len(COLUMNS))``.

    Parameters
    ----------
    window, scale
        What `BarWindows.update` returned.

    Examples
    --------
    >>> window = np.zeros((1, WINDOW, 5), np.int64)
    >>> window[0, -1] = [0, 0, -20, -20, 7]
    >>> shown(window, np.array([2.0]))[0, -1].astype(float).round(2).tolist()
    [0.0, 0.0, -3.0, -3.0, 1.42]
    """
    out = np.empty(window.shape, np.float32)
    out[:, :, :4] = np.arcsinh(window[:, :, :4] / scale[:, None, None])
    volume = np.log(np.maximum(window[:, :, 4], 1).astype(np.float64))
    usual = np.partition(volume[:, :-1], WINDOW // 2, axis=1)[:, WINDOW // 2]
    out[:, :, 4] = np.arcsinh(volume - usual[:, None])
    return out
