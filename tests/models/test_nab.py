"""NAB's scoring against the rules said one by one, and its files from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.nab import bars_of, chosen, labels_of, profiles_of, read, scored, scores_of, write
from models.nab_scoring import PROFILES, Labelled, Profile, probation, score, sigmoid
from tapewatch.errors import UserError
from tapewatch.records import Floats
from tests.examples import tried


def plainly(corpus: list[Labelled], profile: Profile, threshold: float) -> float:
    """Return the raw score at one threshold, row by row."""
    total = 0.0
    for series in corpus:
        left = dict.fromkeys(series.windows)
        for row in range(probation(len(series.scores)), len(series.scores)):
            if series.scores[row] < threshold:
                continue
            inside = [window for window in series.windows if window[0] <= row <= window[1]]
            before = [window for window in series.windows if window[1] < row]
            if inside:
                if left.pop(inside[0], 1) is None:
                    first, last = inside[0]
                    place = -(last - row + 1) / (last - first + 1)
                    total += profile.tp * float(sigmoid(np.array(place)) / sigmoid(np.array(-1.0)))
            elif before:
                first, last = max(before)
                total += profile.fp * float(sigmoid(np.array((row - last) / max(last - first, 1))))
            else:
                total -= profile.fp
        total -= profile.fn * len(left)
    return total


@settings(max_examples=tried(25), deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(PROFILES)))
def test_the_score_is_that_of_the_best_threshold(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    corpus = [
        Labelled(np.round(rng.random(120) ** 4, 1), [(40, 55), (80, 95)]),
        Labelled(np.round(rng.random(90) ** 4, 1), []),
    ]
    profile = PROFILES[name]
    told = score(corpus, profile)
    levels = np.unique(np.concatenate([one.scores for one in corpus]))
    best = max([plainly(corpus, profile, level) for level in levels] + [-profile.fn * 2])
    assert told.score == pytest.approx(max(0.0, 100 * (best + 2 * profile.fn) / (2 * (1 + profile.fn))))


def spiked(count: int, at: int) -> Floats:
    scores = np.zeros(count)
    scores[at] = 1.0
    return scores


def test_early_detections_earn_more_and_those_in_probation_nothing() -> None:
    standard = PROFILES["standard"]
    early, late = (score([Labelled(spiked(1000, at), [(500, 600)])], standard).score for at in (500, 590))
    assert pytest.approx(early) == 100.0
    assert 50 < late < early
    assert score([Labelled(spiked(1000, 100), [(90, 120)])], standard).score == 0.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nab")
    rng = np.random.default_rng(1)
    times = np.datetime64("2014-01-01T00:00:00") + np.arange(900) * np.timedelta64(5, "m")
    for name in ("one", "two"):
        values = 10 + rng.normal(size=900)
        values[700:704] += 40 * (name == "one")
        path = folder / "data" / "made" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{str(time).replace('T', ' ')},{value}" for time, value in zip(times, values, strict=True)]
        path.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    window = [str(times[at]).replace("T", " ") + ".000000" for at in (690, 730)]
    (folder / "labels").mkdir()
    labels = {"made/one.csv": [window], "made/two.csv": []}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(labels))
    return folder


def test_value_novelty_finds_what_is_new_and_writes_results(corpus: Path, tmp_path: Path) -> None:
    every, labels = read(corpus), labels_of(corpus)
    assert labels is not None
    told = scores_of(every, "value_novelty")
    assert scored(every, told, labels, profiles_of(corpus))["standard"]["score"] > 85
    write(tmp_path, "value_novelty", every, told)
    path = tmp_path / "value_novelty" / "made" / "value_novelty_one.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score"]
    given_rows = (corpus / "data" / "made" / "one.csv").read_text().splitlines()[1:]
    assert [row["timestamp"] for row in rows] == [line.split(",")[0] for line in given_rows]
    assert [float(row["value"]) for row in rows] == every[0].values.tolist()
    scores = np.array([float(row["anomaly_score"]) for row in rows])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert 700 <= int(scores.argmax()) <= 703
    assert scores.tobytes() == told["made/one.csv"].tobytes()


def test_a_score_is_known_when_its_row_comes(corpus: Path) -> None:
    every = read(corpus)
    cut = every[0].__class__(
        every[0].name, every[0].written[:650], every[0].times[:650], every[0].values[:650]
    )
    for name in ("value_novelty", "tail_combination", "ensemble"):
        whole, part = (scores_of([series], name)["made/one.csv"] for series in (every[0], cut))
        assert whole[:650].tobytes() == part.tobytes()


def test_what_is_not_laid_out_as_nab_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="laid out as NAB"):
        read(tmp_path)
    (tmp_path / "a").mkdir()
    bad = tmp_path / "a" / "b.csv"
    for text, words in (
        ("x,y\n1,2\n", "must begin with"),
        ("timestamp,value\nsoon,1\n", "no time and number"),
    ):
        bad.write_text(text)
        with pytest.raises(UserError, match=words):
            read(tmp_path)
    with pytest.raises(UserError, match="must be one of high_volume"):
        chosen("block_trade")
    assert (bars_of(read(corpus)[0])["high"] > 0).all()


def test_scores_on_the_benchmark_itself(data: Path) -> None:
    folder = data / "nab"
    if not folder.is_dir():
        pytest.skip("the test data has no nab/")
    every, labels = read(folder), labels_of(folder)
    assert labels is not None
    result = scored(every, scores_of(every, "value_novelty"), labels, profiles_of(folder))
    assert result["standard"]["score"] >= 70
