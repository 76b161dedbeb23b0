"""``make bench``: the market flow beside what a user could use instead, in one run, as ratios.

The tape is the real day of ``TAPEWATCH_TEST_DATA`` if that is set, else a simulated one.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import alternatives, detectors, kafka, models, predict, transactions
from benchmarks.measure import Prepared, forget, interleaved, peak_mib, start_up
from connectors.dbn_records import DbnRecords
from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from tapewatch.records import DAY

_RUNS = 7
_WINDOWED_RECORDS = 100_000
#: Detectors that do what the alternatives do: a rule on volumes and one on sizes.
_TWO = ("high_volume", "block_trade")


def main() -> int:
    """Measure and print the table."""
    # The alternatives' own warnings do not belong in the table.
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tape = _tape(folder)
        count = sum(len(block.records) for block in DbnRecords(tape).blocks())
        print(f"{tape.name}: {count:,} trades; medians of {_RUNS} runs, in turn, in one process")
        print("the flow from its first step to its end; what comes before is in the start-up below\n")
        print("| what | records/s | against | records/s | ratio | goal |\n|---|---|---|---|---|---|")
        _speed(tape, folder, count)
        for what, switched, goal in (("two detectors", _only(*_TWO), 0.8), ("all defaults", {}, 2.5)):
            starts = [start_up(tape, folder, **switched) for _ in range(_RUNS)]
            median = statistics.median(starts)
            print(f"\nstart-up until the first record, {what}: {median:.2f} s (goal: under {goal})")
        _memory(folder)
    print("\n## Detectors\n")
    detectors.main()
    print("\n## Pre-trained models\n")
    models.main()
    print("\n## Transactions\n")
    transactions.main()
    print("\n## Predictions\n")
    predict.main()
    print("\n## Kafka\n")
    return kafka.main()


def _tape(folder: Path) -> Path:
    data = os.environ.get("TAPEWATCH_TEST_DATA")
    if data:
        return Path(data) / "dbn" / "equs-mini-20131008.trades.dbn.zst"
    path = folder / "simulated.dbn.zst"
    session = simulate(MarketSimulation(symbols=20, trades_per_minute=100.0))
    write_dbn(path, session.records, session.symbols)
    return path


def _flow(tape: Path, folder: Path, bars: str, detectors: dict[str, str]) -> Prepared:
    """Return a run of the flow from its first step to its end; settings and building are start-up."""
    from bytewax.testing import run_main

    start: Any = run_main
    os.environ["TAPEWATCH_SOURCE__PATHS"] = f'["{tape}"]'
    os.environ["TAPEWATCH_SINKS__SQLITE__PATH"] = str(folder / "bench.db")
    from flows.market import market
    from tapewatch.settings import load

    def prepare() -> Callable[[], object]:
        forget(folder)
        os.environ["TAPEWATCH_SINKS__BARS"] = bars
        # One shard is what `python -m bytewax.run` takes for one worker without a recovery store.
        passing = {"TAPEWATCH_SHARDS": "1", **detectors}
        os.environ |= passing
        flow = market(load())
        for name in passing:
            del os.environ[name]
        return lambda: start(flow)

    return Prepared(prepare)


def _only(*names: str) -> dict[str, str]:
    """Return the environment that switches all other detectors off."""
    from operators.detectors import KNOWN

    others = [detector.name for detector in KNOWN if detector.name not in names]
    return {f"TAPEWATCH_DETECTORS__{name.upper()}__ENABLED": "false" for name in others}


def _speed(tape: Path, folder: Path, count: int) -> None:
    took = interleaved(
        _RUNS,
        minutes=_flow(tape, folder, '["1m"]', _only(*_TWO)),
        seconds=_flow(tape, folder, '["1s"]', _only(*_TWO)),
        every=_flow(tape, folder, '["1m"]', {}),
        decode=lambda: alternatives.to_ndarray(tape),
    )
    slow = interleaved(1, pandas=lambda: alternatives.pandas_rule(tape))
    some = min(count, _WINDOWED_RECORDS)
    windows = interleaved(1, windows=lambda: alternatives.bytewax_windows(tape, some))
    ours = count / took["minutes"]
    rows = [
        ("1-minute bars stored", ours, "DBNStore.to_ndarray", count / took["decode"], "1/3"),
        (
            "1-second bars stored",
            count / took["seconds"],
            "DBNStore.to_ndarray",
            count / took["decode"],
            "1/12",
        ),
        ("1-minute bars stored", ours, "Bytewax's window operators", some / windows["windows"], "15"),
        ("1-minute bars stored", ours, "pandas (to_df, groupby, resample)", count / slow["pandas"], "6"),
    ]
    for what, rate, other, its, goal in rows:
        print(f"| two detectors, {what} | {rate:,.0f} | {other} | {its:,.0f} | {rate / its:.2f} | {goal} |")
    print(
        f"| all default detectors, 1-minute bars stored | {count / took['every']:,.0f} | "
        f"DBNStore.to_ndarray | {count / took['decode']:,.0f} | {took['decode'] / took['every']:.2f} | |"
    )


def _memory(folder: Path) -> None:
    small, large = folder / "1M.dbn.zst", folder / "10M.dbn.zst"
    session = simulate(MarketSimulation(symbols=20, trades_per_minute=128.0))
    write_dbn(small, session.records, session.symbols)
    parts = []
    for day in range(10):
        part = session.records.copy()
        for name in ("ts_event", "ts_recv"):
            part[name] += np.uint64(day * DAY)
        parts.append(part)
    write_dbn(large, np.concatenate(parts), session.symbols)
    print("\n| peak memory, MiB | 1 M trades | 10 M trades | ratio | goal |\n|---|---|---|---|---|")
    for title, arguments, processes in (
        ("one worker", (), 1),
        ("-w 2", ("-w", "2"), 1),
        ("two processes", (), 2),
    ):
        few = peak_mib(small, folder, *arguments, processes=processes, **_only(*_TWO))
        many = peak_mib(large, folder, *arguments, processes=processes, **_only(*_TWO))
        print(f"| {title} | {few:.0f} | {many:.0f} | {many / few:.2f} | 1.10 |")
        sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
