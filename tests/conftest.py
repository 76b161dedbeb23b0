"""What several tests share: real data, market flows in processes of their own, and flows without Bytewax."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import orjson
import pytest

from connectors.dbn_writer import metadata, write_dbn
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS
from tapewatch.records import EARLIEST, Array, Tape
from tests.examples import tried
from tests.forked_python import run_python
from tests.made_trades import SYMBOLS, random_trades, tapes_of
from tests.market_line import Line

# No example has to be quick, nor has its making: a busy machine may stand still for seconds.
_PATIENT: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
}
hypothesis.settings.register_profile("patient", max_examples=tried(100), **_PATIENT)
# Whether a change lands is not left to chance: there the same examples are tried every time, elsewhere new ones.
hypothesis.settings.register_profile("landing", derandomize=True, **_PATIENT)
required = os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1"
hypothesis.settings.load_profile("landing" if required else "patient")


_SERVERS = {
    "broker": "kafka",
    "brokers": "kafka",
    "elasticsearch": "elasticsearch",
    "secured_elasticsearch": "elasticsearch",
}


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares a server in one of the processes that ``-n`` asks for.

    What needs the Elasticsearch with users comes last: of the two only one is up, and to change takes long.
    """
    items.sort(key=lambda item: "secured_elasticsearch" in getattr(item, "fixturenames", ()))
    for item in items:
        servers = [_SERVERS[name] for name in getattr(item, "fixturenames", ()) if name in _SERVERS]
        if servers:
            item.add_marker(pytest.mark.xdist_group(servers[0]))


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
        timeout: float = 280,
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


@pytest.fixture(scope="session")
def line() -> type[Line]:
    """Return the class `Line`."""
    return Line


@pytest.fixture(scope="session")
def tapes() -> Callable[[Array, Sequence[int]], list[Tape]]:
    """Return the function that cuts trades into batches."""
    return tapes_of
