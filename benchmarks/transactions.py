"""Transactions a second: the whole flow beside an application that does the same message by message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from connectors.transaction_simulator import TransactionSimulation, simulate_transactions
from connectors.transaction_writer import write_transactions

_USERS, _DAYS = 2_000, 14
_MESSAGES = 300


def main() -> None:
    """Measure and print the table: CPU seconds of one process, start-up included for the flow."""
    made = simulate_transactions(TransactionSimulation(users=_USERS, minutes=_DAYS * 1_440))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "payments.jsonl.zst"
        write_transactions(path, made)
        flow = _flow(path)
    plain = _message_by_message([line for _, line in made.lines()])
    print(f"{len(made):,} transactions of {_USERS:,} users")
    print("| what | transactions per CPU second | ratio |\n|---|---|---|")
    print(f"| the flow, all detectors, SQLite | {len(made) / flow:,.0f} | {len(made) / flow / plain:,.0f} |")
    print(f"| scikit-learn, message by message | {plain:,.0f} | 1 |")


def _flow(path: Path) -> float:
    env = os.environ | {
        "TAPEWATCH_TRANSACTIONS__SOURCE__PATHS": f'["{path}"]',
        "TAPEWATCH_SINKS__SQLITE__PATH": str(path.with_name("results.db")),
    }
    before = os.times()
    subprocess.run([sys.executable, "-m", "bytewax.run", "flows.transactions:flow"], env=env, check=True)
    after = os.times()
    spent: float = after.children_user - before.children_user
    return spent + after.children_system - before.children_system


def _message_by_message(lines: list[bytes]) -> float:
    """Return transactions a second of JSON, a forest and a network of scikit-learn, one at a time."""
    from sklearn.ensemble import IsolationForest
    from sklearn.neural_network import MLPRegressor

    def point(line: bytes) -> list[float]:
        told = json.loads(line)
        return [np.log(told["amount"] + 1), told["location_distance_km"], told["is_online"]]

    points = np.array([point(line) for line in lines[:5_000]])
    forest = IsolationForest(n_estimators=100, random_state=1).fit(points)
    network = MLPRegressor(hidden_layer_sizes=(32, 16, 8, 16, 32), max_iter=20, random_state=1).fit(
        points, points
    )
    begun = time.process_time()
    for line in lines[:_MESSAGES]:
        one = np.array([point(line)])
        forest.score_samples(one)
        ((network.predict(one) - one) ** 2).mean()
    return _MESSAGES / (time.process_time() - begun)


if __name__ == "__main__":
    main()
