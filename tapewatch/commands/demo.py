"""``tapewatch demo``: a session, simulated or one's own, judged and explained."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from connectors.sessions import Label

_FOLDER = Path("demo")
_WORST = 10


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""

    @app.command()
    def demo(
        files: Annotated[
            list[str] | None,
            typer.Argument(help="Databento files or globs; without any a session is simulated."),
        ] = None,
    ) -> None:
        """Run the market flow with the embedded defaults, and show the worst anomalies with their reasons.

        Example: tapewatch demo day.trades.dbn.zst
        """
        _FOLDER.mkdir(exist_ok=True)
        labels: tuple[Label, ...] = ()
        if not files:
            session = _FOLDER / "session.dbn.zst"
            labels = _simulated(session)
            files = [str(session)]
        database = _FOLDER / "tapewatch.db"
        for suffix in ("", "-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        seconds = _run(files, database)
        _tell(database, labels, seconds)


def _simulated(path: Path) -> tuple[Label, ...]:
    from connectors.dbn_writer import write_dbn
    from connectors.market_simulator import MarketSimulation, simulate
    from connectors.sessions import labels_path, write_labels

    session = simulate(
        MarketSimulation(symbols=40, seed=7, anomalies=("high_volume", "block_trade", "flash_crash"))
    )
    write_dbn(path, session.records, session.symbols)
    write_labels(labels_path(path), session.labels)
    print(
        f"Simulated a trading day of {len(session.symbols)} instruments: "
        f"{len(session.records):,} trades in {path}"
    )
    return session.labels


def _run(files: list[str], database: Path) -> float:
    import orjson

    settings = {
        "TAPEWATCH_SOURCE__PATHS": orjson.dumps(files).decode(),
        "TAPEWATCH_SINKS__SQLITE__PATH": str(database),
        "TAPEWATCH_SINKS__KINDS": '["sqlite"]',
    }
    begun = time.monotonic()
    command = [sys.executable, "-m", "bytewax.run", "flows.market:flow"]
    status = subprocess.run(command, env={**os.environ, **settings}, check=False).returncode  # noqa: S603
    if status == 2:
        raise SystemExit(2)
    if status:
        raise SystemExit(1)
    return time.monotonic() - begun


def _tell(database: Path, labels: tuple[Label, ...], seconds: float) -> None:
    from connectors.store_sqlite import SqliteStore
    from tapewatch.documents import rfc3339

    with SqliteStore(database) as store:
        records, anomalies = store.totals().get("records", 0), store.anomalies(limit=100_000)
        worst, bars = store.worst(_WORST), store.counts()["bars"]
    print(
        f"{records:,} records in {seconds:.1f} s with start-up ({records / seconds:,.0f} records/s): "
        f"{bars:,} bars, {len(anomalies):,} anomalies\n"
    )
    if worst:
        print("The worst:")
    colour = sys.stdout.isatty()
    for found in worst:
        moment = rfc3339(found["ts_event"])[:19].replace("T", " ")
        strength = "█" * round(found["severity"] / 10)
        mark = f"\033[31m{strength}\033[0m" if colour else strength
        print(
            f"  {moment}  {found['key']:<10} {found['detector']:<12} severity {found['severity']:3.0f} {mark}"
        )
        print(f"    {found['reason']}")
    if labels:
        _compare(labels, anomalies)
    print(f"\nEverything is in {database}. To look at it in the browser: make dashboard")


def _compare(labels: tuple[Label, ...], anomalies: list[dict[str, Any]]) -> None:
    from tapewatch.records import MINUTE

    found: dict[str, list[bool]] = {}
    for label in labels:
        hit = any(
            a["key"] == label.key and a["ts_start"] < label.ts_end + MINUTE and label.ts_start < a["ts_end"]
            for a in anomalies
        )
        found.setdefault(label.kind, []).append(hit)
    own = {a["detector"] for a in anomalies}
    total = sum(map(len, found.values()))
    print(f"\nFound {sum(sum(hits) for hits in found.values())} of {total} injected anomalies:")
    for kind, hits in sorted(found.items()):
        note = "" if kind in own else "  (no detector of its own yet; found by its side effects)"
        print(f"  {kind:<12} {sum(hits)} of {len(hits)}{note}")
