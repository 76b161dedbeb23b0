"""Predictions are what the flow says of a transaction that comes next, and change nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scoring.scorer import BadTransactionError, Scorer
from tapewatch.documents import Anomaly, Results
from tapewatch.errors import UserError
from tapewatch.risk import risk_level
from tapewatch.settings import Settings
from tests.connectors.made_payments import payments
from tests.scoring.stored import Flow, rows, settings

#: Where the stream is looked at: within a day, and the first payments of a new one.
_PLACES = (600, 1_200, 1_201, 1_536, 2_050)


def _mornings() -> list[int]:
    days = payments().times // 86_400_000_000_000
    return [place for place in range(1_500, 2_200) if days[place] > days[place - 1]][:3]


def _said(results: list[Results]) -> tuple[dict[str, float], dict[str, Anomaly]]:
    """Return the severities of the one transaction, and the anomalies it is, by detector."""
    (result,) = results
    severities = {table.detector: float(table.severities[0]) for table in result.scores if len(table.keys)}
    return severities, {anomaly.detector: anomaly for anomaly in result.anomalies}


def _alarms(flow: Flow, first: int, last: int) -> list[int]:
    """Return the places of payments that are anomalies, as the flow judges them."""
    names = {name: place for place, name in enumerate(payments().ids)}
    found = {
        names[anomaly.payment.transaction_id]
        for result in flow.until(last)
        for anomaly in result.anomalies
        if anomaly.payment is not None and anomaly.detector == "ensemble"
    }
    return sorted(place for place in found if place >= first)


@pytest.mark.parametrize("reviewed", [False, True])
def test_a_prediction_is_what_the_flow_says_next(reviewed: bool, tmp_path: Path) -> None:
    every = rows()
    alarms = _alarms(Flow(reviewed=reviewed), 1_400, 2_200)
    places = sorted({*_PLACES, *_mornings(), *alarms[:4], *(place + 1 for place in alarms[:2])})
    flow, alarmed, judged = Flow(reviewed=reviewed), 0, 0
    scorer = Scorer(settings(tmp_path / "r.db"))
    for place in places:
        if flow.at < place:
            flow.until(place)
        flow.publish(tmp_path / "r.db")
        (told,) = scorer.score([every[place]])
        before = flow.judge.published().state["lessons"]
        severities, anomalies = _said(flow.until(place + 1))
        after = flow.judge.published().state["lessons"]
        if reviewed and not np.array_equal(before["weights"], after["weights"]):
            # Reviews that begin to act with a payment, and what midnight takes for legitimate, come before it.
            continue
        judged += 1
        assert told["detectors"] == {
            name: round(severity / 100, 5) if severity == severity else 0.0
            for name, severity in severities.items()
        } | dict.fromkeys(told["detectors"].keys() - severities.keys(), 0.0)
        assert told["is_anomaly"] == ("ensemble" in anomalies)
        assert told["basis"] == "profile"
        if "ensemble" in anomalies:
            alarmed += 1
            anomaly = anomalies["ensemble"]
            assert (told["reason"], told["contributions"]) == (anomaly.reason, anomaly.contributions)
            assert anomaly.payment is not None
            assert told["risk_level"] == anomaly.payment.risk_level
    assert alarmed >= 3
    assert judged >= 10


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("scoring") / "r.db"
    flow = Flow()
    flow.until(2_400)
    flow.publish(found)
    return found


def test_rows_of_a_batch_do_not_know_of_each_other(path: Path) -> None:
    before = [list(row) for row in _dump(path)]
    scorer, some = Scorer(settings(path)), rows(2_400, 2_640)
    together = scorer.score(some)
    assert together == [scorer.score([row])[0] for row in some]
    assert together[::-1] == scorer.score(some[::-1])
    assert together[7:8] * 3 == scorer.score([some[7]] * 3)
    assert any(told["is_anomaly"] for told in together)
    for told in together:
        assert told["risk_level"] == risk_level(told["anomaly_score"] * 100)
        assert sum(told["contributions"].values()) == pytest.approx(1.0)
    assert [list(row) for row in _dump(path)] == before


def _dump(path: Path) -> list[tuple[str]]:
    connection = sqlite3.connect(path)
    found = [(line,) for line in connection.iterdump()]
    connection.close()
    return found


def test_who_is_not_known_is_compared_with_the_population(path: Path) -> None:
    (row,) = rows(2_400, 2_401)
    scorer = Scorer(settings(path))
    usual, large = scorer.score([row | {"user_id": "nobody"}, row | {"user_id": "nobody", "amount": 9e4}])
    assert (usual["basis"], large["basis"]) == ("population", "population")
    assert not usual["is_anomaly"]
    assert large["is_anomaly"]
    assert "what all users pay" in large["reason"]


def test_a_name_that_the_store_knows_is_not_named_again(path: Path) -> None:
    (row,) = rows(2_400, 2_401)
    names = {"pseudonymise": True, "pseudonym_key": "a-key-that-only-the-tests-have"}
    hidden = Settings(sinks={"sqlite": {"path": str(path)}}, transactions=names)
    known, other = Scorer(hidden).score([row, row | {"user_id": "nobody"}])
    assert [known] == Scorer(settings(path)).score([row])
    assert (known["basis"], other["basis"]) == ("profile", "population")
    assert "nobody" not in other["reason"]


def test_who_has_been_away_for_long_begins_anew(path: Path) -> None:
    (row,) = rows(2_400, 2_401)
    (told,) = Scorer(settings(path)).score([row | {"timestamp": "2025-03-01T12:00:00"}])
    assert told["basis"] == "population"


def test_before_a_flow_has_published_there_is_a_cold_start(tmp_path: Path) -> None:
    some = [{"transaction_id": "a", "timestamp": "2024-05-01", "user_id": 7, "amount": n} for n in (12, 9e4)]
    usual, large = Scorer(settings(tmp_path / "none.db")).score(some)
    assert (usual["basis"], usual["is_anomaly"], usual["risk_level"]) == ("cold start", False, "low")
    assert (large["basis"], large["is_anomaly"], large["risk_level"]) == ("cold start", True, "critical")


def test_standard_mode_asks_no_profile(tmp_path: Path) -> None:
    flow, every = Flow(personal=False), rows()
    flow.until(2_000)
    flow.publish(tmp_path / "r.db")
    (told,) = Scorer(settings(tmp_path / "r.db")).score([every[2_000]])
    severities, _ = _said(flow.until(2_001))
    assert told["basis"] == "population"
    assert told["detectors"] == {name: round(value / 100, 5) for name, value in severities.items()}


def test_the_settings_of_the_flow_count_and_those_of_its_partition(tmp_path: Path) -> None:
    (row,) = rows(2_400, 2_401)
    without: dict[str, Any] = {"half_space_trees": {"enabled": False}}
    for partition, changes in (("a", without), ("b", {})):
        flow = Flow(partition=partition, **changes)
        flow.until(600)
        flow.publish(tmp_path / "r.db")
        if partition == "a":
            sqlite3.connect(tmp_path / "r.db").execute(
                "UPDATE judges SET ts_last = ts_last - 1"
            ).connection.commit()
    connection = sqlite3.connect(tmp_path / "r.db")
    scorer = Scorer(settings(tmp_path / "r.db"))
    assert "half_space_trees" in scorer.score([row])[0]["detectors"]
    connection.execute("UPDATE profiles SET state = replace(state, '[\"b\",', '[\"a\",')")
    connection.commit()
    assert "half_space_trees" not in scorer.score([row])[0]["detectors"]
    # Of an unknown user the newest judge speaks.
    assert "half_space_trees" in scorer.score([row | {"user_id": "nobody"}])[0]["detectors"]


def test_without_an_ensemble_the_most_severe_detector_speaks(tmp_path: Path) -> None:
    (row,) = rows(2_400, 2_401)
    flow = Flow(ensemble={"enabled": False})
    flow.until(2_400)
    flow.publish(tmp_path / "r.db")
    usual, large = Scorer(settings(tmp_path / "r.db")).score([row, row | {"amount": 9e4}])
    for told in (usual, large):
        assert told["anomaly_score"] == max(told["detectors"].values())
        assert sum(told["contributions"].values()) == pytest.approx(1.0)
    assert large["is_anomaly"]


def test_what_is_published_later_is_used_at_once_and_a_new_file_too(tmp_path: Path) -> None:
    (row,) = rows(2_400, 2_401)
    scorer = Scorer(settings(tmp_path / "r.db"))
    assert scorer.score([row])[0]["basis"] == "cold start"
    flow = Flow()
    flow.until(1_000)
    flow.publish(tmp_path / "r.db")
    early = scorer.score([row])[0]
    flow.until(2_400)
    flow.publish(tmp_path / "r.db")
    late = scorer.score([row])[0]
    assert early["basis"] == late["basis"] == "profile"
    assert early["detectors"] != late["detectors"]
    for name in ("r.db", "r.db-wal", "r.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert scorer.score([row])[0]["basis"] == "cold start"
    flow.publish(tmp_path / "r.db")
    assert scorer.score([row])[0] == late
    scorer.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE profiles SET state = '[]'", "a profile in the store is damaged"),
        (
            "UPDATE profiles SET state = replace(state, '[\"p\",1,', '[\"p\",9,')",
            "version 9, this program reads 1",
        ),
        ("UPDATE judges SET version = 9", "version 9, this program reads 1"),
        ("UPDATE judges SET state = '[\"table\"]'", "the judge in the store is damaged"),
        ("UPDATE judges SET state = '[\"pickle\"]'", "is damaged in the store"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(path: Path, tmp_path: Path, statement: str, said: str) -> None:
    copy = tmp_path / "r.db"
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    source.backup(target)
    target.execute(statement)
    target.commit()
    target.close()
    source.close()
    with pytest.raises(UserError, match=said) as caught:
        Scorer(settings(copy)).score(rows(2_400, 2_401))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": -1}, "amount"),
        ({"amount": None}, "amount"),
        ({"user_id": ""}, "user_id"),
        ({"timestamp": "soon"}, "timestamp"),
        ({"hour": 24}, "hour"),
        ({"location": ["DE"]}, "location"),
    ],
)
def test_a_bad_row_is_named_with_its_field(path: Path, change: dict[str, Any], field: str) -> None:
    first, second = rows(2_400, 2_402)
    with pytest.raises(BadTransactionError, match=f"`{field}` must be") as caught:
        Scorer(settings(path)).score([first, second | change])
    assert (caught.value.row, caught.value.field) == (1, field)
    assert Scorer(settings(path)).score([]) == []
