"""``tapewatch train`` makes a model that the flow then runs, and refuses what it cannot use in one line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.forked_python import tapewatch


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return tapewatch("train", *arguments, cwd=tmp_path)


def test_a_forest_is_trained_and_used(tmp_path: Path, run_market: Any, write: Any, trades: Any) -> None:
    pytest.importorskip("sklearn")
    first, second = (write(tmp_path / f"{name}.dbn", trades(seed)) for seed, name in enumerate(("a", "b")))
    done = run(
        tmp_path, "isolation_forest", "--data", str(first), str(second), "--out", "mine", "--seed", "3"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    card = json.loads((tmp_path / "mine" / "isolation_forest.json").read_text())
    assert {"a.dbn", "b.dbn"} <= {source["name"] for source in card["data"]}
    assert card["seed"] == 3
    setting = done.stdout.splitlines()[-1].strip()
    name, _, value = setting.partition("=")
    assert name == "TAPEWATCH_DETECTORS__ISOLATION_FOREST__MODEL"
    flow = run_market(tmp_path, [first], env={name: value})
    assert flow.returncode == 0, flow.stderr


def test_the_help_names_the_extra() -> None:
    assert 'pip install "tapewatch[train]"' in " ".join(tapewatch("train", "--help").stdout.split())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("forest",),
            "NAME must be one of isolation_forest, autoencoder, tail_combination, transformer, "
            "transactions_isolation_forest, transactions_autoencoder, transactions_cold_start, was 'forest'",
        ),
        (("autoencoder", "--data", "x.dbn"), "`--data` names x.dbn, which does not exist"),
        (("autoencoder", "--data", "x.parquet"), "`--data` names x.parquet, which does not exist"),
        (("autoencoder", "--seed", "-1"), "`--seed` must be from 0 to 4294967295, was -1"),
        ((), "Missing argument 'NAME'; `tapewatch train --help` says what is allowed"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: tuple[str, ...], line: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr == f"tapewatch: {line}\n"
    assert not list(tmp_path.iterdir())
