"""What several tests share: real data, market flows in processes of their own, and flows without Bytewax."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import orjson
import pytest

from connectors.dbn_writer import metadata, write_dbn
from operators.bars import WindowedBars
from operators.judge import Judge, JudgeSettings
from operators.shards import ShardBatch, Splitter
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, Results, anomaly_row, bar_rows
from tapewatch.late_rows import late_rows
from tapewatch.records import DAY, EARLIEST, SECOND, TRADE, Array, Tape
from tapewatch.symbology import Interval, Symbols
from tests.forked_python import run_python

_MONDAY = 19_877 * DAY  # 2024-06-03

# Whether a change lands is not left to chance: there the same examples are tried every time, elsewhere new ones.
hypothesis.settings.register_profile("landing", derandomize=True)
if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1":
    hypothesis.settings.load_profile("landing")


_SERVERS = {
    "broker": "kafka",
    "brokers": "kafka",
    "elasticsearch": "elasticsearch",
    "secured_elasticsearch": "elasticsearch",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares a server, else a file, in one of the processes that ``-n`` asks for."""
    for item in items:
        servers = [_SERVERS[name] for name in getattr(item, "fixturenames", ()) if name in _SERVERS]
        item.add_marker(pytest.mark.xdist_group(servers[0] if servers else str(item.path)))


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real data."""
    folder = os.environ.get("TAPEWATCH_TEST_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder).resolve()
    reason = "TAPEWATCH_TEST_DATA names no folder of real data"
    if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a real Kafka broker, a ``Broker`` of ``tests.connectors.kafka_broker``."""
    yield from import_module("tests.connectors.kafka_broker").running(tmp_path_factory.mktemp("kafka"))


@pytest.fixture(scope="session")
def _plain_elasticsearch() -> Iterator[Any]:
    yield from import_module("tests.elasticsearch_server").running(secured=False)


@pytest.fixture(scope="session")
def _secured_elasticsearch() -> Iterator[Any]:
    yield from import_module("tests.elasticsearch_server").running(secured=True)


@pytest.fixture
def elasticsearch(_plain_elasticsearch: Any) -> Any:
    """Return a running Elasticsearch without users."""
    _plain_elasticsearch.start()
    return _plain_elasticsearch


@pytest.fixture
def secured_elasticsearch(_secured_elasticsearch: Any) -> Any:
    """Return a running Elasticsearch with TLS and users."""
    _secured_elasticsearch.start()
    return _secured_elasticsearch


@pytest.fixture
def elasticsearch_settings(elasticsearch: Any) -> Iterator[Any]:
    """Return settings of a running Elasticsearch, with a prefix of their own."""
    with elasticsearch.settings() as settings:
        yield settings


def flow_environment(paths: Sequence[Path | str], **settings: object) -> dict[str, str]:
    """Return an environment with these settings and no others; ``source__speed=2`` is ``source.speed``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TAPEWATCH_") and name != "PYTHONPATH"
    }
    asked = {"source__paths": [str(path) for path in paths], "sinks__sqlite__path": "results.db", **settings}
    for name, value in asked.items():
        kept[f"TAPEWATCH_{name.upper()}"] = value if isinstance(value, str) else orjson.dumps(value).decode()
    return kept


#: What ``python -m bytewax.run`` does.
_BYTEWAX_RUN = (
    "import bytewax, runpy, sys\nsys.argv[0] = bytewax.__path__[0] + '/run.py'\n"
    "runpy.run_module('bytewax.run', run_name='__main__', alter_sys=True)"
)


def flow_command(*args: str, patch: str = "") -> list[str]:
    """Return the command line that runs the market flow, after some lines of Python if there are any."""
    if not patch:
        return [sys.executable, "-m", "bytewax.run", "flows.market:flow", *args]
    return [sys.executable, "-c", f"{patch}\n{_BYTEWAX_RUN}", "flows.market:flow", *args]


RunMarket = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run_market() -> RunMarket:
    """Return ``run(tmp_path, paths, *args, **settings)``: the market flow, results in results.db."""

    def run(
        tmp_path: Path,
        paths: Sequence[Path | str],
        *args: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
        **settings: object,
    ) -> subprocess.CompletedProcess[str]:
        environment = {**flow_environment(paths, **settings), **(env or {})}
        return run_python(
            _BYTEWAX_RUN, "flows.market:flow", *args, cwd=tmp_path, env=environment, timeout=timeout
        )

    return run


@pytest.fixture(scope="session")
def start_market() -> Callable[..., subprocess.Popen[str]]:
    """Return ``start(tmp_path, paths, *args, patch="", **settings)``, which does not wait for the end.

    ``patch`` is Python that the process runs first.
    """

    def start(
        tmp_path: Path, paths: Sequence[Path | str], *args: str, patch: str = "", **settings: object
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            flow_command(*args, patch=patch),
            cwd=tmp_path,
            env=flow_environment(paths, **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def read_tables(database: Path) -> dict[str, list[Any]]:
    """Return all results but when they were found, sorted: anomalies, bars, scores, late and counters."""
    fields = [name for name in ANOMALY_FIELDS if name != "detected_at"]
    connection = sqlite3.connect(database)
    try:
        tables = {
            "anomalies": connection.execute(f"SELECT {', '.join(fields)} FROM anomalies"),  # noqa: S608
            "bars": connection.execute(f"SELECT {', '.join(BAR_FIELDS)} FROM bars"),  # noqa: S608
            "scores": connection.execute("SELECT * FROM scores"),
            "late": connection.execute("SELECT * FROM late"),
            "counters": connection.execute("SELECT name, sum(value) FROM counters GROUP BY 1"),
        }
        return {name: sorted(rows.fetchall(), key=repr) for name, rows in tables.items()}
    finally:
        connection.close()


@pytest.fixture(scope="session")
def tables() -> Callable[[Path], dict[str, list[Any]]]:
    """Return the function that reads a results database."""
    return read_tables


def random_trades(
    seed: int,
    *,
    count: int = 1500,
    instruments: int = 5,
    days: int = 3,
    jitter_ns: int = 0,
    first_day: int = 0,
) -> Array:
    """Return trades of some days with outliers, the last of them in windows that are never finished.

    Times are those of the tape; with ``jitter_ns`` each is up to that much earlier than its neighbours'.
    """
    rng = np.random.default_rng(seed)
    trades = np.zeros(count, TRADE)
    day = np.sort(rng.integers(0, days, count))
    span = max(count // days // 4, 30)
    within = rng.integers(0, span * SECOND, count)
    within[rng.random(count) < 0.05] //= SECOND // 1_000
    within[rng.random(count) < 0.3] //= SECOND
    times = _MONDAY + (first_day + day) * DAY + 14 * 3600 * SECOND + within
    times.sort()
    times -= rng.integers(0, jitter_ns + 1, count)
    trades["ts_recv"], trades["ts_event"] = times, times - rng.integers(0, 1_000_000, count)
    trades["length"], trades["publisher_id"], trades["action"] = 12, 95, b"T"
    trades["instrument_id"] = 1 + rng.zipf(1.5, count) % instruments
    walk = np.cumsum(rng.integers(-2, 3, count))
    trades["price"] = (10_000 + walk) * 10_000_000
    size = np.maximum(rng.lognormal(3, 1, count), 1).astype(np.uint32)
    size[rng.random(count) < 0.01] *= 40
    size[-2:] *= 60
    trades["size"] = size
    trades["side"] = rng.choice([b"A", b"B", b"N"], count)
    trades["sequence"] = np.arange(1, count + 1)
    return trades


SYMBOLS = {number: f"SYM{number}" for number in range(1, 40)}


@pytest.fixture(scope="session")
def trades() -> Callable[..., Array]:
    """Return ``trades(seed, count=, instruments=, days=, jitter_ns=, first_day=)``."""
    return random_trades


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Return ``write(path, records, dataset=)``, which packs trades as a DBN file with symbols."""

    def packed(path: Path, records: Array, dataset: str = "XSIM.TAPE") -> Path:
        ids = {int(i) for i in np.unique(records["instrument_id"])}
        symbols = {i: SYMBOLS[i] for i in ids if i in SYMBOLS}
        sane = records[(records["ts_recv"] > EARLIEST) & (records["ts_recv"] < 2**62)]
        if len(sane) == len(records):
            write_dbn(path, records, symbols, dataset=dataset)
        else:
            path.write_bytes(metadata(sane, symbols, dataset).encode() + records.tobytes())
        return path

    return packed


@dataclass
class Store:
    """What a sink would hold."""

    anomalies: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    bars: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    scores: dict[tuple[Any, ...], tuple[float, ...]] = field(default_factory=dict)
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    #: By key, clock and ordinal.
    late: dict[tuple[str, int, int], tuple[Any, ...]] = field(default_factory=dict)
    #: How many anomalies were taken back.
    deleted: int = 0

    def write(self, results: Results) -> None:
        """Write as a sink does: deletions first, then everything in place of what was there."""
        assert not {anomaly.id for anomaly in results.anomalies} & set(results.deleted)
        for name in results.deleted:
            self.deleted += self.anomalies.pop(name, None) is not None
        for anomaly in results.anomalies:
            self.anomalies[anomaly.id] = anomaly_row(replace(anomaly, detected_at=0))
        for table in results.bars:
            for row in bar_rows(table, results.dataset):
                self.bars[row[0], row[3], row[1], row[4]] = row
        for scored in results.scores:
            columns = (scored.instrument_ids, scored.ts_start, scored.ts_end)
            values = zip(
                *(c.tolist() for c in (scored.scores, scored.severities, scored.thresholds)), strict=True
            )
            for key, *place, value in zip(scored.keys, *(c.tolist() for c in columns), values, strict=True):
                at = (scored.detector, key, *place)
                self.scores[at] = max(self.scores.get(at, value), value)
        for row in () if results.late is None else late_rows(results.late, results.dataset):
            self.late[row[0], row[3], row[4]] = row
        for name, value in results.counters.items():
            self.counters[results.partition, name] = value

    def totals(self) -> dict[str, int]:
        """Return the counters summed over partitions and shards."""
        sums: dict[str, int] = {}
        for (_, name), value in self.counters.items():
            sums[name] = sums.get(name, 0) + value
        return sums

    @property
    def contents(self) -> tuple[Any, ...]:
        """Everything, for comparison."""
        return self.anomalies, self.bars, self.scores, self.totals(), self.late


class Line:
    """The steps of the market flow one after the other, without Bytewax, writing to a `Store`."""

    def __init__(self, settings: JudgeSettings, shards: int) -> None:
        self.settings, self.shards = settings, shards
        self.store = Store()
        self._splitter = Splitter(shards)
        self._steps = [self._built(None) for _ in range(shards)]

    def _built(self, saved: Any) -> tuple[WindowedBars, Judge]:
        bars, judge = (None, None) if saved is None else saved
        settings = self.settings
        return WindowedBars(settings.widths, settings.lateness_ns, bars), Judge(settings, judge)

    def feed(self, tape: Tape) -> None:
        """Take one batch."""
        for part in self._splitter.split(tape):
            self._feed(part)

    def _feed(self, part: ShardBatch) -> None:
        bars, judge = self._steps[part.shard]
        for results in judge.on_batch(bars.on_batch(part)):
            self.store.write(results)

    def end(self) -> None:
        """Do what the end of the input, or a graceful stop, does."""
        for bars, judge in self._steps:
            last = bars.on_eof()
            for results in [] if last is None else judge.on_batch(last):
                self.store.write(results)

    def snapshot(self) -> bytes:
        """Return the state as a recovery store holds it."""
        return pickle.dumps([(bars.snapshot(), judge.snapshot()) for bars, judge in self._steps])

    def resume(self, saved: bytes) -> None:
        """Go back to a snapshot; what was written stays written."""
        self._splitter = Splitter(self.shards)
        self._steps = [self._built(part) for part in pickle.loads(saved)]


@pytest.fixture(scope="session")
def line() -> type[Line]:
    """Return the class `Line`."""
    return Line


def tape_of(records: Array, seq: int = 0, clock: int | None = None) -> Tape:
    """Return valid trades as one batch of a tape with symbols."""
    times = records["ts_recv"].astype(np.int64)
    symbols = Symbols(Interval(name, number, 0, 1 << 31) for number, name in SYMBOLS.items())
    latest = int(times.max()) if len(times) else 0
    return Tape(
        "TAPE", seq, "trades", "XSIM.TAPE", records, times, symbols, latest if clock is None else clock
    )


def tapes_of(records: Array, cuts: Sequence[int]) -> list[Tape]:
    """Return the batches that cutting at these places makes; empty ones too."""
    clock, tapes = 0, []
    for seq, part in enumerate(np.split(records, sorted(min(cut, len(records)) for cut in cuts))):
        clock = max(clock, int(part["ts_recv"].max(initial=0)))
        tapes.append(tape_of(part, seq, clock))
    return tapes


@pytest.fixture(scope="session")
def tapes() -> Callable[[Array, Sequence[int]], list[Tape]]:
    """Return the function that cuts trades into batches."""
    return tapes_of
