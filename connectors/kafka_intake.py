"""Which records of a part can be judged, what is missing between them, and how far they move the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from connectors.kafka_headers import Form
from connectors.kafka_missing import gaps_of
from connectors.kafka_parts import Dataset, Part
from connectors.kafka_state import DatasetState
from connectors.live_position import latest_possible
from connectors.numbering import Unchecked, unfit
from connectors.validity import valid
from tapewatch.records import Array, Gap, Int64s
from tapewatch.symbology import Symbols

_SYMBOLS = Symbols()


@dataclass(frozen=True, slots=True)
class Fit:
    """The fit records of a part, as `Tape` has them; ``unfit`` says which are not, None if all are."""

    records: Array
    times: Int64s
    codes: Array
    unfit: Array | None
    gaps: tuple[Gap, ...] = ()
    left_out: dict[str, Int64s] = field(default_factory=dict)


def take_in(
    part: Part, dataset: Dataset, known: DatasetState, forms: Sequence[Form], names: tuple[str, ...]
) -> Fit:
    """Return a part's fit records; count them and the others, and move the clock on.

    Parameters
    ----------
    part, dataset
        Records of one dataset.
    known
        What is known of the dataset, which is changed.
    forms
        What the headers of all messages say.
    names
        Symbols by the part's codes.
    """
    records, times, codes, places = part.records, part.times, part.codes, part.places
    known.count({"records": len(records), **part.passed_over})
    mask, reasons = valid(records, times)
    latest = np.uint64(latest_possible())
    if len(times) and times.max() > latest:
        # One record from the future must not close everyone's windows.
        possible = times <= latest
        ahead = int((~possible if mask is None else mask & ~possible).sum())
        mask = possible if mask is None else mask & possible
        if ahead:
            reasons = {**reasons, "impossible_time": reasons.get("impossible_time", 0) + ahead}
    known.count(reasons)
    gaps: tuple[Gap, ...] = ()
    left_out: dict[str, Int64s] = {}
    if dataset.kind == "trades":
        unchecked = Unchecked(records, times, known.clock, mask, _SYMBOLS, codes, names)
        marked = [place for place, form in enumerate(forms) if form.gaps]
        gaps = gaps_of(part, forms, marked, unchecked) if marked else ()
        left_out = unfit(unchecked)
    if mask is not None:
        records, times, codes, places = records[mask], times[mask], codes[mask], places[mask]
    if len(times):
        # A run of one instrument may be ahead of the runs that come behind it, its first record is not.
        first = np.flatnonzero(np.diff(places, prepend=-1))
        known.clock = max(known.clock, int(times[first].max()) + dataset.width_ns)
        known.seen = max(known.seen, int(times.max()) + dataset.width_ns)
    return Fit(records, times.astype(np.int64), codes, None if mask is None else ~mask, gaps, left_out)
