"""The whole flow gives the same results however it is run and however the same tape is given to it."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import databento_dbn
import numpy as np
import orjson
import pytest
import zstandard

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from operators.detectors import detectors
from tapewatch.records import DAY
from tests.ports import free_port

pytestmark = pytest.mark.xdist_group("market exact")  # what they share takes seconds to make

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
#: So that there are many anomalies, of both detectors, and every score is compared.
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m", "1h"],
    "source__batch_records": "5000",
    "detectors__high_volume__baseline_windows": "10",
}


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two files of one simulated dataset, three days in all; the second day is in both halves."""
    folder = tmp_path_factory.mktemp("tape")
    session = simulate(MarketSimulation(symbols=4, minutes=3 * 390, seed=11, trades_per_minute=8))
    days = session.records["ts_recv"] // DAY
    middle = np.unique(days)[1]
    odd = session.records["sequence"] % 2 == 1
    halves = ((days < middle) | ((days == middle) & odd), (days > middle) | ((days == middle) & ~odd))
    paths = [folder / name for name in ("z.dbn.zst", "a.dbn")]
    for path, half in zip(paths, halves, strict=True):
        write_dbn(path, session.records[half], session.symbols)
    return paths


@pytest.fixture(scope="module")
def plain(tape: list[Path], run_market: Flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results database of a plain run."""
    folder = tmp_path_factory.mktemp("plain")
    ended = run_market(folder, tape, **SETTINGS)
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder / "results.db"


@pytest.fixture(scope="module")
def wanted(plain: Path, tables: Tables) -> dict[str, list[Any]]:
    """Return the results of a plain run."""
    results = tables(plain)
    models = {"half_space_trees", "isolation_forest", "autoencoder"}
    assert {row[4] for row in results["anomalies"]} >= {"high_volume", "block_trade", *models}
    assert len(results["anomalies"]) > 20
    assert len(results["scores"]) > 10_000
    return results


#: Beside that one run after the other has another seed of hashes, as `run_python` starts them.
VARIANTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "-w 2": (["-w", "2"], {}),
    "-w 3": (["-w", "3"], {}),
    "batches of 777": ([], {"source__batch_records": "777"}),
    "one batch": (["-w", "2"], {"source__batch_records": "4000000"}),
    "seven shards": (["-w", "2"], {"shards": "7"}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_workers_batches_and_shards_change_nothing(
    name: str, tape: list[Path], wanted: dict[str, Any], run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    args, settings = VARIANTS[name]
    ended = run_market(tmp_path, tape, *args, **{**SETTINGS, **settings})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert tables(tmp_path / "results.db") == wanted


def test_the_order_in_which_files_are_named_changes_nothing(
    tape: list[Path], wanted: dict[str, Any], run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    run_market(tmp_path, [tape[1], tape[0].parent / "*.zst", tape[1]], **SETTINGS)
    assert tables(tmp_path / "results.db") == wanted


def test_two_processes_give_the_same_results(
    tape: list[Path], wanted: dict[str, Any], start_market: Any, tables: Tables, tmp_path: Path
) -> None:
    addresses = f"127.0.0.1:{free_port()};127.0.0.1:{free_port()}"
    processes = [start_market(tmp_path, tape, "-i", str(i), "-a", addresses, **SETTINGS) for i in (0, 1)]
    ended = [(process.communicate(timeout=280), process.returncode) for process in processes]
    assert [status for _, status in ended] == [0, 0]
    # The process that is first says that it waits for the other.
    assert not any("Traceback" in errors or "panicked" in errors for (_, errors), _ in ended)
    assert tables(tmp_path / "results.db") == wanted


def test_running_again_into_the_same_store_changes_nothing(
    tape: list[Path], plain: Path, wanted: dict[str, Any], run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    shutil.copy(plain, tmp_path)
    assert run_market(tmp_path, tape, **SETTINGS).returncode == 0
    assert tables(tmp_path / "results.db") == wanted


def test_two_datasets_in_one_run_are_what_each_is_alone(
    trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    """Two tapes that overlap in time; what an id does not tell apart is the instrument's id and symbol."""
    paths = []
    for seed, name in enumerate(("EQUS.MINI", "GLBX.MDP3")):
        records = trades(seed, count=8_000)
        records["instrument_id"] += 20 * seed
        paths.append(write(tmp_path / f"{name}.dbn.zst", records, dataset=name))
    results = []
    for name, given in (("both", paths), ("first", paths[:1]), ("second", paths[1:])):
        folder = tmp_path / name
        folder.mkdir()
        assert run_market(folder, given, "-w", "2", **SETTINGS).returncode == 0
        results.append(tables(folder / "results.db"))
    both, first, second = results
    assert first["anomalies"]
    assert second["anomalies"]
    for kind in ("anomalies", "bars"):
        assert both[kind] == sorted(first[kind] + second[kind], key=repr)


def _without_dataset(results: dict[str, list[Any]]) -> dict[str, list[Any]]:
    cut = {"anomalies": 5, "bars": 2}
    rows = {kind: [row[:at] + row[at + 1 :] for row in results[kind]] for kind, at in cut.items()}
    return {**{kind: sorted(kept, key=repr) for kind, kept in rows.items()}, "scores": results["scores"]}


EQUITIES, FUTURES = "dbn/equs-mini-20131007.trades.dbn.zst", "dbn/es_trades_sample.dbn.zst"
Results = dict[str, list[Any]]


@pytest.fixture(scope="module")
def results_of(
    data: Path, run_market: Flow, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Results]:
    """Return ``results_of(path)``, the results of one real file, apart from its dataset; each is run once."""
    settings = {**SETTINGS, "detectors__high_volume__width": "10s", "sinks__bars": ["1m"]}

    @lru_cache
    def run(path: Path) -> Results:
        folder = tmp_path_factory.mktemp("encoding")
        ended = run_market(folder, [path], **{**settings, "source__batch_records": "131072"})
        assert (ended.returncode, ended.stderr) == (0, "")
        results = _without_dataset(tables(folder / "results.db"))
        assert results["scores"]
        return results

    return run


@pytest.mark.parametrize(
    ("dbn", "other"),
    [
        (EQUITIES, "csv/equs-mini-20131007.trades.raw.csv.zst"),
        (EQUITIES, "csv/equs-mini-20131007.trades.pretty.csv.zst"),
        (FUTURES, "csv/es-trades-sample.trades.pretty.csv.zst"),
        (FUTURES, "csv/es-trades-sample.trades.pretty.json.zst"),
    ],
)
def test_encodings_of_one_tape_give_the_same_results(
    dbn: str, other: str, data: Path, results_of: Callable[[Path], Results]
) -> None:
    found, wanted = results_of(data / other), results_of(data / dbn)
    assert found["bars"] == wanted["bars"]
    assert found == wanted


def write_json(dbn: Path, out: Path, *, pretty: bool, flat: Callable[[int], bool]) -> None:
    """Write a DBN file as Databento's own JSON; lines of some numbers with the fields of ``hd`` beside the others."""
    encodings: Any = import_module("tests.connectors.databento_encodings")
    raw = zstandard.ZstdDecompressor().stream_reader(dbn.read_bytes(), read_across_frames=True).read()
    mappings = databento_dbn.Metadata.decode(raw[: 8 + int.from_bytes(raw[4:8], "little")]).mappings
    symbols = {int(span["symbol"]): name for name, spans in mappings.items() for span in spans}
    days = dt.date(2013, 1, 1), dt.date(2025, 1, 1)
    text = encodings.encode_dbn(raw, "json", pretty_px=pretty, pretty_ts=pretty, symbols=symbols, days=days)
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if flat(number):
            record = orjson.loads(line)
            lines[number] = orjson.dumps({**record.pop("hd"), **record}, option=orjson.OPT_APPEND_NEWLINE)
    out.write_bytes(zstandard.ZstdCompressor(level=1).compress(b"".join(lines)))


@pytest.mark.parametrize(
    ("dbn", "layout"),
    [
        *((EQUITIES, layout) for layout in ("nested raw", "nested pretty", "flat pretty")),
        *((FUTURES, layout) for layout in ("nested raw", "flat raw", "mixed raw", "mixed pretty")),
    ],
)
def test_json_of_one_tape_gives_the_same_results(
    dbn: str, layout: str, data: Path, results_of: Callable[[Path], Results], tmp_path: Path
) -> None:
    shape, _, form = layout.partition(" ")
    flat = {
        "nested": lambda number: False,
        "flat": lambda number: True,
        "mixed": lambda number: number % 7 == 3,
    }
    write_json(data / dbn, tmp_path / "tape.json.zst", pretty=form == "pretty", flat=flat[shape])
    found, wanted = results_of(tmp_path / "tape.json.zst"), results_of(data / dbn)
    assert found["bars"] == wanted["bars"]
    assert found == wanted


def test_real_equities_and_gold_in_one_run(
    data: Path, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    paths = [
        data / "dbn" / name
        for name in ("glbx-mdp3-20131007.gc.trades.dbn.zst", "equs-mini-20131007.trades.dbn.zst")
    ]
    results = []
    for name, given, args in (
        ("both", paths, ["-w", "2"]),
        ("gold", paths[:1], []),
        ("equities", paths[1:], []),
    ):
        folder = tmp_path / name
        folder.mkdir()
        assert run_market(folder, given, *args).returncode == 0
        results.append(tables(folder / "results.db"))
    both, gold, equities = results
    for kind in ("anomalies", "bars"):
        assert both[kind] == sorted(gold[kind] + equities[kind], key=repr)


def test_a_real_day_however_it_is_cut_and_shared_out(
    data: Path, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    path = data / "dbn" / "equs-mini-20131008.trades.dbn.zst"
    results = []
    for name, args, settings in (
        ("plain", [], {}),
        ("cut", ["-w", "2"], {"source__batch_records": "20011", "shards": "7"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        ended = run_market(folder, [path], *args, **{"sinks__scores": "true", **settings})
        assert (ended.returncode, ended.stderr) == (0, "")
        results.append(tables(folder / "results.db"))
    plain, cut = results
    assert cut == plain
    assert {row[1] for row in plain["scores"]} == {detector.name for detector in detectors({})}
