"""``tapewatch evaluate``: tables on stdout and in files, one line for each mistake."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson
import pytest

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from tests.forked_python import tapewatch


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return tapewatch("evaluate", *arguments, timeout=240)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = simulate(MarketSimulation(symbols=2, minutes=200, seed=8, anomalies=("block_trade",)))
    path = tmp_path_factory.mktemp("tape") / "day.dbn.zst"
    write_dbn(path, session.records, session.symbols)
    return path


def test_injected_prints_and_saves_both_tables(tape: Path, tmp_path: Path) -> None:
    arguments = ("injected", "--data", str(tape), "--seed", "5", "--required-only")
    done = evaluate(*arguments, "--json", str(tmp_path / "q.json"), "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    saved = orjson.loads((tmp_path / "q.json").read_bytes())
    assert {row["kind"]: row["events"] for row in saved["recall"]} == {"high_volume": 2, "block_trade": 2}
    assert (tmp_path / "quality-tables.md").read_text() == done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["q.json", "quality-recall.png", "quality-tables.md"]
    assert evaluate(*arguments).stdout == done.stdout


def test_real_prints_and_saves_both_tables(tape: Path, tmp_path: Path) -> None:
    done = evaluate(
        "real",
        "--worst",
        "2",
        "--data",
        str(tape),
        "--fresh",
        str(tape),
        "--json",
        str(tmp_path / "r.json"),
        "--out",
        str(tmp_path),
    )
    assert (done.returncode, done.stderr) == (0, "")
    saved = orjson.loads((tmp_path / "r.json").read_bytes())
    assert 1 <= len(saved["worst"]) <= 2
    assert {row["key"] for row in saved["spending"]} == {"SIM001", "SIM002"}
    first = saved["alarms_per_instrument_day"]
    assert {(row["source"], row["streams"]) for row in saved["first_days"]} == {("trades", 2)}
    assert {row["detector"]: row["first"] for row in saved["first_days"]} == {
        name: rate["first_day"] for name, rate in first.items()
    }
    assert (tmp_path / "quality-real.md").read_text() == done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("real",), "`--data` is missing"),
        (("real", "--data", "none.dbn"), "`--data` names none.dbn, which does not exist"),
        (("real", "--data", "{tape}", "--worst", "0"), "`--worst` must be at least 1, was 0"),
        (("real", "--data", "{tape}", "--fresh", "none.parquet"), "`--fresh` names none.parquet, which does"),
        (("injected", "--seed", "-1"), "`--seed` must be from 0 to"),
        (("injected", "--json", "/nowhere/q.json"), "`--json` is in /nowhere, which is no folder"),
        (("injected", "--out", "nowhere"), "`--out` must be a folder, was nowhere"),
        (("transactions",), "`--data` is missing; name the files to judge, e.g. --data seed003-train.csv"),
        (("transactions", "--data", "{tape}"), "a file must end in one of .csv,"),
        (("injected", "--bars", "--sigma", "3"), "`--sigma` must be one of deviation, robust, was '3'"),
        (("injected", "--sigma", "robust"), "`--sigma` is for events in minute bars; add --bars"),
        (("injected", "--data", "none*.dbn"), "`--data` has 'none*.dbn', which matches no file"),
    ],
)
def test_mistakes_are_told_in_a_line(tape: Path, arguments: tuple[str, ...], said: str) -> None:
    done = evaluate(*(argument.format(tape=tape) for argument in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_bars_are_measured_beside_baselines(tape: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("river")
    arguments = ("injected", "--bars", "--data", str(tape), "--seed", "5")
    done = evaluate(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "has 300 one-minute bars or more" in line
    session = simulate(MarketSimulation(symbols=1, minutes=420, seed=8, anomalies=()))
    write_dbn(tmp_path / "long.dbn.zst", session.records, session.symbols)
    (tmp_path / "out").mkdir()
    done = evaluate(
        "injected", "--bars", "--data", str(tmp_path / "long.dbn.zst"), "--seed", "5", "--sigma", "robust",
        "--json", str(tmp_path / "e.json"), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    saved = orjson.loads((tmp_path / "e.json").read_bytes())
    assert saved["sigma"] == "robust"
    assert {"ensemble", "tail_combination", "windowed Gaussian", "random"} <= set(saved["scorers"])
    assert (tmp_path / "out" / "evaluation-tables.md").read_text() == done.stdout
    assert (tmp_path / "out" / "evaluation-recall.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "`--data` is missing"),
        (("--data", "nowhere"), "`--data` must be a folder"),
        (("--data", "."), "must be laid out as NAB"),
        (("--data", ".", "--detector", "block_trade"), "`--detector` must be one of"),
    ],
)
def test_nab_refuses_what_it_cannot_use(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = evaluate("nab", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line


def test_nab_writes_scores_without_labels(tmp_path: Path) -> None:
    (tmp_path / "d" / "made").mkdir(parents=True)
    rows = [f"2014-01-01 {at // 60:02}:{at % 60:02}:00,{at % 7}" for at in range(300)]
    (tmp_path / "d" / "made" / "s.csv").write_text("\n".join(["timestamp,value", *rows]) + "\n")
    done = evaluate(
        "nab", "--data", str(tmp_path / "d"), "--detector", "value_novelty", "--out", str(tmp_path / "o")
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "o" / "value_novelty" / "made" / "value_novelty_s.csv").read_text().splitlines()
    assert lines[0] == "timestamp,value,anomaly_score"
    assert len(lines) == 301
