"""A market flow that tells of itself: what it tells is what it stored, and nothing else changes."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bytewax.recovery import init_db_dir
from prometheus_client.parser import text_string_to_metric_families

from connectors.market_simulator import MarketSimulation, simulate
from tapewatch.documents import ANOMALY_FIELDS
from tests.ports import free_port

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
_BATCH = 500
_SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "10", "sinks__scores": "true", "source__batch_records": str(_BATCH),
}  # fmt: skip
#: What is told when the process ends, and what it has read for that.
_AT_THE_END = """
import atexit, pathlib, sys
def tell():
    read = [name for name in sys.modules if "metrics" in name]
    pathlib.Path("read.txt").write_text("\\n".join(read))
    if "connectors.flow_metrics" in sys.modules:
        from prometheus_client import REGISTRY, generate_latest
        pathlib.Path("metrics.txt").write_bytes(generate_latest(REGISTRY))
atexit.register(tell)
"""


def told(folder: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families((folder / "metrics.txt").read_text())
        for sample in family.samples
    }


def ended(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=280)
    assert process.returncode == 0, said
    return said


def standing(metrics: dict[tuple[str, ...], float]) -> dict[str, int]:
    """Return how many anomalies of each detector were told and not withdrawn."""
    found: Counter[str] = Counter()
    for (name, *labels), value in metrics.items():
        sign = {"tapewatch_anomalies_total": 1, "tapewatch_withdrawn_anomalies_total": -1}.get(name, 0)
        if sign:
            found[labels[0]] += sign * int(value)
    return dict(found)


def test_what_is_told_is_what_is_stored_over_two_runs(
    write: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    records = simulate(MarketSimulation(symbols=4, minutes=120, seed=2)).records
    half = len(records) * 2 // 3
    paths = [tmp_path / "a.dbn", tmp_path / "b.dbn"]
    (tmp_path / "rec").mkdir()
    init_db_dir(tmp_path / "rec", 2)  # type: ignore[no-untyped-call]
    runs = []
    for path, part in zip(paths, (records[:half], records[half:]), strict=True):
        write(path, part)
        port = str(free_port())
        running = start_market(
            tmp_path, [tmp_path / "*.dbn"], "-r", "rec", "-s", "0", "-b", "0", "-w", "2", patch=_AT_THE_END,
            sinks__kinds=["stdout", "sqlite"], metrics__port=port, **_SETTINGS,
        )  # fmt: skip
        assert f"metrics on http://127.0.0.1:{port}/metrics" in ended(running)
        runs.append((told(tmp_path), tables(tmp_path / "results.db")))
    (first, at_first), (second, in_the_end) = runs
    assert first["tapewatch_records_total", "market", ""] == half
    # What the first batch of the second run brought is told with what was before.
    rest = len(records) - half
    assert rest - _BATCH <= second["tapewatch_records_total", "market", ""] <= rest
    assert first["tapewatch_batch_seconds_count",] >= half // _BATCH
    latest = int(records["ts_recv"][:half].max())
    assert first["tapewatch_acknowledged_event_timestamp_seconds",] == latest / 1e9
    assert ("tapewatch_event_to_result_seconds_count",) not in first
    column = ANOMALY_FIELDS.index("detector")
    kept = Counter(row[column] for row in at_first["anomalies"])
    assert len(kept) > 1
    assert standing(first) == kept
    scored = sum(value for (name, *_), value in first.items() if name == "tapewatch_score_severity_count")
    assert scored > 100

    # Without metrics: the same results, and nothing of them was read.
    (plain := tmp_path / "plain").mkdir()
    running = start_market(plain, paths, patch=_AT_THE_END, **_SETTINGS)
    assert ended(running) == ""
    read = set((plain / "read.txt").read_text().splitlines())
    assert read <= {"flows.metrics", "tapewatch.settings_metrics"}
    alone = tables(plain / "results.db")
    for name in ("anomalies", "bars", "scores", "late"):
        assert alone[name] == in_the_end[name]


def test_one_line_where_it_cannot_listen(trades: Any, write: Any, run_market: Flow, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dbn", trades(1, count=50))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run_market(tmp_path, [path], metrics__port=port)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "`metrics.port`" in refused.stderr
    assert port in refused.stderr
    refused = run_market(tmp_path, [path], metrics__port=port, metrics__host="0.0.0.0")  # noqa: S104
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "TAPEWATCH_METRICS__TOKEN" in refused.stderr
