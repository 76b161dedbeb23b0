"""Anomalies put into a session of trades: what each kind does to the tape.

An injection changes the records of one instrument, except ``gap``, which loses everyone's. Its size is
relative to what the instrument was like before. ``docs/simulator.md`` has the table of kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from connectors.injection_kinds import CHANGES, Injection, InstrumentTape, in_time
from connectors.sessions import Label, Session, in_order
from tapewatch.records import SECOND, Array

#: Every kind there is, in the order in which they are listed.
KINDS = (
    "high_volume", "block_trade", "price_jump", "flash_crash", "bad_tick", "silence", "gap", "quote_burst",
)  # fmt: skip


def inject(
    session: Session, kind: str, key: str, at_ns: int, size: float, rng: np.random.Generator
) -> Session:
    """Return the session with one more anomaly, of a chosen size, and its label.

    Parameters
    ----------
    session
        Simulated or real trades (defined prices); it is not changed.
    kind, size
        ============= ==========================================================================
        high_volume   the UTC minute of ``at_ns`` has ``size`` times the median volume of the 30 before
        block_trade   one print of ``size`` times the 99.99th percentile of the instrument's sizes
        price_jump    the price moves by ``size`` standard deviations of one-minute returns, and stays
        flash_crash   the price falls by ``size`` percent and recovers, with heavy volume
        bad_tick      one to three prints ``size`` percent off
        silence       the instrument does not trade for ``size`` minutes
        gap           all records of ``size`` seconds are missing, as their sequence numbers show
        quote_burst   ``size`` trades of one share within seconds
        ============= ==========================================================================

        Percentiles are linear, and of the sizes outside of the instrument's earlier labels.
    key
        Symbol of the instrument.
    at_ns
        When it begins, ns.
    rng
        Source of what is left to chance.

    Raises
    ------
    ValueError
        For an unknown kind or symbol, or where the instrument has not traded enough to measure by.
    """
    return inject_all(session, [Injection(kind, key, at_ns, size)], rng)


def inject_all(session: Session, injections: Sequence[Injection], rng: np.random.Generator) -> Session:
    """Return the session with many anomalies injected, in the order given, gaps last.

    Raises
    ------
    ValueError
        As `inject`.
    """
    records, labels = session.records, list(session.labels)
    # While records come and go each holds the step of its sequence number; what was missing stays missing.
    steps = np.maximum(np.diff(records["sequence"].astype(np.int64), prepend=0), 1)
    changed: dict[int, Array] = {}
    for injection in injections:
        if injection.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, was {injection.kind!r}")
        if injection.kind == "gap":
            continue
        instrument = _instrument(session, injection.key)
        if instrument not in changed:
            mine = np.flatnonzero(records["instrument_id"] == instrument)
            changed[instrument] = records[mine]
            changed[instrument]["sequence"] = steps[mine]
        earlier = [label for label in labels if label.key == injection.key]
        changed[instrument], label = _judged(changed[instrument], injection, earlier, rng)
        labels.append(label)
    if changed:
        rest = ~np.isin(records["instrument_id"], list(changed))
        others = records[rest]
        others["sequence"] = steps[rest]
        records = in_time(np.concatenate([others, *changed.values()]))
        records["sequence"] = np.cumsum(records["sequence"], dtype=np.int64)
    for injection in injections:
        if injection.kind == "gap":
            _instrument(session, injection.key)
            start, end = injection.at_ns, injection.at_ns + round(injection.size * SECOND)
            low, high = np.searchsorted(records["ts_recv"], np.array([start, end], dtype=np.uint64))
            records = np.delete(records, slice(low, high))
            labels.append(Label(injection.key, "gap", start, end))
    return replace(session, records=records, labels=in_order(labels))


def _judged(
    records: Array, injection: Injection, earlier: list[Label], rng: np.random.Generator
) -> tuple[Array, Label]:
    """Inject into one instrument's records; ``earlier`` are its labels so far."""
    times = records["ts_recv"].astype(np.int64)
    usual = np.ones(len(records), dtype=bool)
    for label in earlier:
        usual &= (times < label.ts_start) | (times >= label.ts_end)
    if not usual.any():
        raise ValueError(f"{injection.key} has no trades to inject into")
    tape = InstrumentTape(records, records[usual], rng)
    changed, start, end = CHANGES[injection.kind](tape, injection)
    return changed, Label(injection.key, injection.kind, start, end)


def _instrument(session: Session, key: str) -> int:
    try:
        return session.instrument_id(key)
    except KeyError:
        raise ValueError(f"key must be a symbol of the session, was {key!r}") from None
