"""A person's mistake is one line and status 2; damage never a traceback, whatever its kind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]


@pytest.fixture
def day(trades: Any, write: Any, tmp_path: Path) -> Path:
    """Return a small good file."""
    path: Path = write(tmp_path / "day.dbn", trades(1, count=400))
    return path


def refused(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a run that ends with status 2."""
    lines = ended.stderr.splitlines()
    assert ended.returncode == 2, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("tapewatch: ")
    assert ended.stdout == ""
    return lines[0]


BAD_SETTINGS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "unknown section": ({"sorce__name": "x"}, ("sorce",)),
    "unknown key": ({"source__nmae": "x"}, ("source.nmae", "unknown key")),
    "bad width": (
        {"detectors__high_volume__width": "7q"},
        ("detectors.high_volume.width", "1s", "10s", "1m", "7q"),
    ),
    "bad bars": ({"sinks__bars": ["2m"]}, ("sinks.bars", "1m", "2m")),
    "bad speed": ({"source__speed": "-1"}, ("source.speed", "max", "-1")),
    "speed of text": ({"source__speed": "fast"}, ("source.speed", "max", "fast")),
    "bad kind": ({"source__kind": "tape"}, ("source.kind", "files", "tape")),
    "bad on_error": ({"source__on_error": "ignore"}, ("source.on_error", "fail", "skip", "ignore")),
    "bad lateness": ({"windows__lateness": "soon"}, ("windows.lateness", "soon")),
    "bad budget": ({"alerts__per_key_per_day": "0"}, ("alerts.per_key_per_day", "0")),
    "unknown detector": (
        {"detectors__ufo__enabled": "true"},
        ("detectors.ufo", "high_volume", "block_trade"),
    ),
    "key of a detector": (
        {"detectors__block_trade__width": "1m"},
        ("detectors.block_trade.width", "has enabled"),
    ),
    "unknown sink": ({"sinks__kinds": ["paper"]}, ("sinks.kinds", "sqlite", "paper")),
    "no sink": ({"sinks__kinds": []}, ("sinks.kinds",)),
    "no shards": ({"shards": "0"}, ("shards", "0")),
    "database in no folder": (
        {"sinks__sqlite__path": "nowhere/results.db"},
        ("sinks.sqlite.path", "nowhere"),
    ),
    "database is a folder": ({"sinks__sqlite__path": "."}, ("sinks.sqlite.path",)),
    "database is no database": ({"sinks__sqlite__path": "day.dbn"}, ("day.dbn",)),
    "settings file that is none": ({"config": "nothing.toml"}, ("TAPEWATCH_CONFIG", "nothing.toml")),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_bad_setting_is_one_line(name: str, day: Path, run_market: Flow, tmp_path: Path) -> None:
    settings, words = BAD_SETTINGS[name]
    line = refused(run_market(tmp_path, [day], **settings))
    assert [word for word in words if word not in line] == []


def test_a_settings_file_that_is_no_toml_is_one_line(day: Path, run_market: Flow, tmp_path: Path) -> None:
    (tmp_path / "tapewatch.toml").write_text("source = [")
    assert "tapewatch.toml" in refused(run_market(tmp_path, [day]))
    (tmp_path / "tapewatch.toml").write_text("[detectors.high_volume]\nwidht = '1m'\n")
    assert "detectors.high_volume.widht" in refused(run_market(tmp_path, [day]))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


BAD_PATHS: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "missing": ("none.dbn", lambda path: None, ("none.dbn", "does not exist")),
    "empty glob": ("*.dbn.zst", lambda path: None, ("*.dbn.zst", "no file")),
    "folder": ("folder.dbn", Path.mkdir, ("folder.dbn", "no file")),
    "wrong extension": ("day.txt", lambda path: path.write_text("x"), ("day.txt", ".dbn", ".csv", ".json")),
    "zero bytes": ("day0.dbn", lambda path: path.write_bytes(b""), ("day0.dbn", "empty")),
    "zero bytes of zst": ("day0.dbn.zst", lambda path: path.write_bytes(b""), ("day0.dbn.zst", "empty")),
    "zero bytes of csv": ("day0.csv", lambda path: path.write_bytes(b""), ("day0.csv", "empty")),
    "zero bytes of json": ("day0.jsonl", lambda path: path.write_bytes(b""), ("day0.jsonl", "empty")),
    "the first bytes of DBN": ("text.dbn", lambda path: path.write_bytes(b"DBN"), ("text.dbn", "metadata")),
    "names that a terminal obeys": (
        "names.csv",
        lambda path: path.write_text("ts_event,\x1b[31mred\n1,2\n"),
        ("names.csv", r"\x1b[31mred"),
    ),
    "no DBN": ("text.dbn", lambda path: path.write_text("hello, tape"), ("text.dbn", "DBN")),
    "no zst": ("text.dbn.zst", lambda path: path.write_text("hello, tape"), ("text.dbn.zst", "zst")),
    "foreign version": ("v9.dbn", lambda path: path.write_bytes(b"DBN\x09" + bytes(200)), ("v9.dbn", "version 9")),
    "cut metadata": ("cut.dbn", lambda path: path.write_bytes(b"DBN\x03\xff\0\0\0"), ("cut.dbn", "metadata")),
    "huge metadata": ("big.dbn", lambda path: path.write_bytes(b"DBN\x03" + b"\xff" * 200), ("big.dbn", "metadata")),
    "wild metadata": (
        "wild.dbn", lambda path: path.write_bytes(b"DBN\x03" + (200).to_bytes(4, "little") + b"\xff" * 200),
        ("wild.dbn", "metadata"),
    ),
    "a pipe": ("pipe.dbn", _fifo, ("pipe.dbn",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PATHS)
def test_a_bad_path_is_one_line(name: str, day: Path, run_market: Flow, tmp_path: Path) -> None:
    given, make, words = BAD_PATHS[name]
    make(tmp_path / given)
    line = refused(run_market(tmp_path, [day, given]))
    assert [word for word in words if word not in line] == []


def test_no_paths_is_one_line(run_market: Flow, tmp_path: Path) -> None:
    assert "source.paths" in refused(run_market(tmp_path, []))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_one_line(day: Path, run_market: Flow, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(0o500)
    assert "locked" in refused(run_market(tmp_path, [day], sinks__sqlite__path="locked/results.db"))
    day.chmod(0)
    assert "day.dbn" in refused(run_market(tmp_path, [day]))


def test_a_header_alone_is_no_records(
    trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    path = write(tmp_path / "empty.dbn.zst", trades(1, count=30)[:0])
    ended = run_market(tmp_path, [path])
    assert (ended.returncode, ended.stderr) == (0, "")
    results = tables(tmp_path / "results.db")
    assert results["bars"] == results["anomalies"] == []
    assert dict(results["counters"]).get("records", 0) == 0


def test_a_schema_without_trades_is_one_line(data: Path, run_market: Flow, tmp_path: Path) -> None:
    for schema in ("definition", "statistics", "status", "imbalance", "bbo-1s"):
        line = refused(run_market(tmp_path, [data / f"dbn/spec/test_data.{schema}.v3.dbn.zst"]))
        assert schema in line
        assert "trades" in line


def test_trades_and_bars_of_one_dataset_are_one_line(data: Path, run_market: Flow, tmp_path: Path) -> None:
    paths = [data / f"dbn/databento/GLBX.MDP3/test_data.{s}.dbn.zst" for s in ("trades", "ohlcv-1s")]
    assert "trades, or bars of one width" in refused(run_market(tmp_path, paths))


def test_with_skip_a_damaged_header_is_logged_and_the_rest_read(
    day: Path, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    (tmp_path / "bad.dbn").write_bytes(b"DBN\x03\xff\0\0\0")
    for paths, records in ((["bad.dbn"], 0), (["bad.dbn", day], 400)):
        ended = run_market(tmp_path, paths, source__on_error="skip")
        assert ended.returncode == 0
        assert len(ended.stderr.splitlines()) == 1
        assert "ERROR" in ended.stderr
        assert "bad.dbn" in ended.stderr
        assert dict(tables(tmp_path / "results.db")["counters"]).get("records", 0) == records


def test_a_live_capture_gives_its_trades(
    data: Path, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    path = data / "dbn/databento/LIVE/test_data.live.dbn.zst"
    ended = run_market(tmp_path, [path])
    assert (ended.returncode, ended.stderr) == (0, "")
    import databento

    trades = [r for r in databento.DBNStore.from_file(path) if type(r).__name__ == "TradeMsg"]
    counted = dict(tables(tmp_path / "results.db")["counters"])
    assert counted["records"] == len(trades) > 0
    assert counted["other_schema"] > 0


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half a record": lambda raw: raw[:-20],
    "half a record of few bytes": lambda raw: raw[:-47],
    "a record of length 0": lambda raw: raw[:-480] + bytes(48) + raw[-432:],
    "a record of another length": lambda raw: raw[:-480] + b"\x05" + raw[-479:],
    "foreign bytes": lambda raw: raw + b"\xff" * 100,
}


@pytest.mark.parametrize("zst", [False, True])
@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_whole_before_damage_is_kept(
    name: str, zst: bool, trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    raw = write(tmp_path / "good.dbn", trades(1, count=4_000)).read_bytes()
    broken = DAMAGE[name](raw)
    if zst:
        broken = zstandard.ZstdCompressor().compress(broken)
    path = tmp_path / f"bad.dbn{'.zst' * zst}"
    path.write_bytes(broken)
    skipped = run_market(tmp_path, [path], source__on_error="skip", sinks__sqlite__path="skip.db")
    failed = run_market(tmp_path, [path], sinks__sqlite__path="fail.db")
    assert "bad.dbn" in refused(failed)
    assert skipped.returncode == 0
    assert len(skipped.stderr.splitlines()) == 1
    kept, before = tables(tmp_path / "skip.db"), tables(tmp_path / "fail.db")
    counted = dict(kept["counters"])
    assert counted["damaged_files"] == 1
    assert 3_990 <= counted["records"] <= 4_000
    assert kept["bars"] == before["bars"]
    assert kept["anomalies"] == before["anomalies"]


def test_truncated_zst_keeps_what_is_whole(
    trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    path = write(tmp_path / "bad.dbn.zst", trades(1, count=40_000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "zst" in refused(run_market(tmp_path, [path], sinks__sqlite__path="fail.db"))
    assert run_market(tmp_path, [path], source__on_error="skip").returncode == 0
    assert 5_000 < dict(tables(tmp_path / "results.db")["counters"])["records"] < 40_000


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_is_status_0_or_2_and_never_a_traceback(
    seed: int, trades: Any, write: Any, run_market: Flow, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    path = write(tmp_path / f"bad.dbn{'.zst' * (seed % 2)}", trades(seed, count=3_000))
    raw = bytearray(path.read_bytes())
    for at in rng.integers(0, len(raw), 1 + 3 * seed):
        raw[at] = int(rng.integers(0, 256))
    path.write_bytes(raw[: int(rng.integers(len(raw) // 2, len(raw) + 1))])
    for on_error in ("fail", "skip"):
        ended = run_market(tmp_path, [path], source__on_error=on_error, sinks__sqlite__path=f"{on_error}.db")
        assert ended.returncode in ((0, 2) if on_error == "fail" else (0,)), ended.stderr
        assert len(ended.stderr.splitlines()) <= 1
        assert "Traceback" not in ended.stderr


def test_speed_paces(trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path) -> None:
    records = trades(1, count=200, days=1)
    # At a higher speed than it is told to have, the longer tape would end too soon; at a lower one, never.
    for seconds, speed in ((2.0, "1"), (3_600.0, "1800"), (3_600.0, "max")):
        times = 1_717_423_200 * 10**9 + np.linspace(0, seconds * 1e9, 200).astype(np.uint64)
        records["ts_recv"] = records["ts_event"] = times
        path = write(tmp_path / "day.dbn", records)
        begun = time.monotonic()
        ended = run_market(tmp_path, [path], source__speed=speed, sinks__sqlite__path=f"{speed}.db")
        assert speed == "max" or time.monotonic() - begun >= seconds / float(speed)
        assert ended.returncode == 0
        assert dict(tables(tmp_path / f"{speed}.db")["counters"])["records"] == 200
