"""What the transformer is trained and validated on, and what its card says of that.

The first part of each instrument's bars is for training, its last tenth for stopping early; the last part of
the series, with anomalies put into it, is only for the card's figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models import transformer
from models.bar_events import inject
from models.bar_series import Series
from models.combination import gathered
from operators.bar_windows import COLUMNS, WINDOW, BarWindows, shown
from operators.detector import segments_of_bars
from tapewatch.errors import UserError
from tapewatch.records import MINUTE, Array, Floats

_STOPPING = 0.1
_MOST_WINDOWS, _MOST_HELD, _MOST_STOPPING = 20_000, 1_500, 1_500
_EVENTS_PER_BAR = 1 / 200


def windows_of(bars: Array) -> tuple[Array, Array, Array]:
    """Return the windows of the bars of one instrument that have one, what they can tell, and where they end.

    Float32 ``(m, WINDOW, len(COLUMNS))``, bool ``(m, len(COLUMNS))`` and int64 ``(m,)``.
    """
    whole, scale = BarWindows(MINUTE).update(segments_of_bars(bars, [""]))
    at = np.flatnonzero((whole[:, :, 4] >= 0).all(axis=1))
    known = np.ones((len(at), len(COLUMNS)), bool)
    known[:, 4] = (whole[at][:, :, 4] > 0).any(axis=1)
    return shown(whole[at], scale[at]), known, at


def train(
    paths: Sequence[Path],
    seed: int,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    simulated: Sequence[int] = (),
    effort: Mapping[str, int] = MappingProxyType({}),
) -> tuple[bytes, dict[str, Any], Floats, tuple[Array, Array, Array]]:
    """Return the model, what the card says of it, the losses, and held windows, known and labels.

    Parameters are those of `models.combination.train`; ``effort`` may have ``steps``.
    """
    sources = gathered(paths, simulated)
    every = [series for _, some in sources for series in some]
    training, stopping, held = [], [], []
    for done, series in enumerate(every):
        bars = series.bars[: series.cut][-_MOST_WINDOWS:]
        windows, known, _ = windows_of(bars)
        last = round((1 - _STOPPING) * len(windows))
        training.append((windows[:last], known[:last]))
        stopping.append((windows[last:], known[last:]))
        held.append(_held(series, seed))
        progress("windows", done + 1, len(every))
    windows, known = (np.concatenate(parts) for parts in zip(*training, strict=True))
    if len(windows) < WINDOW:
        raise UserError("there are too few bars to train on; name files with at least some days of minutes")
    later = tuple(np.concatenate(parts) for parts in zip(*stopping, strict=True))
    step = 1 + len(later[0]) // _MOST_STOPPING
    steps = effort.get("steps", transformer.STEPS)
    trained = transformer.train(
        windows,
        known.astype(np.float32),
        (later[0][::step], later[1][::step].astype(np.float32)),
        seed,
        steps,
        lambda at, loss: progress(f"steps (loss {loss:.4f})", at, steps),
    )
    model = transformer.export(trained)
    card = {
        "features": list(COLUMNS),
        "architecture": {
            "window": WINDOW,
            "encoder_blocks": transformer.BLOCKS,
            "decoder_blocks": transformer.BLOCKS,
            "heads": transformer.HEADS,
            "width": transformer.WIDTH,
            "code": transformer.CODE,
            "hidden": "the newest bar, in training a tenth of the others too",
            "optimiser": "Adam with exponential decay, early stopping",
            "steps": int(trained.losses[-1, 0]),
            "score": "root mean of the squared errors of the newest bar's columns that can be told",
        },
        "usual_error": trained.error.tolist(),
        "data": [source | {"training_bars": sum(s.cut for s in some)} for source, some in sources],
        "training_bars": len(windows),
    }
    joined = tuple(np.concatenate(parts) for parts in zip(*held, strict=True))
    return model, card, trained.losses, (joined[0], joined[1], joined[2])


def _held(series: Series, seed: int) -> tuple[Array, Array, Array]:
    first = max(series.cut - 2 * WINDOW, 0)
    bars, events = inject(
        series.bars[first:][: 2 * WINDOW + _MOST_HELD],
        series.cut - first,
        _EVENTS_PER_BAR,
        np.random.default_rng([seed, 2_000, series.number]),
    )
    label = np.zeros(len(bars), np.int8)
    for event in events:
        label[event.last : event.last + WINDOW] = -1
    for event in events:
        label[event.first : event.last] = 1
    label[: series.cut - first] = -1
    windows, known, at = windows_of(bars)
    kept = label[at] >= 0
    return windows[kept], known[kept], label[at][kept]
