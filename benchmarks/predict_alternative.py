"""What one would write first: FastAPI, a model a transaction, and scikit-learn asked message by message."""

from __future__ import annotations

import os

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.ensemble import IsolationForest
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from connectors.transaction_simulator import TransactionSimulation, simulate_transactions


class Payment(BaseModel):
    """A transaction."""

    transaction_id: str
    timestamp: str
    user_id: str
    amount: float
    location_distance_km: float = 0.0
    is_online: float = 0.0


class Predictor:
    """A forest and a network, fitted on simulated payments."""

    def __init__(self) -> None:
        made = simulate_transactions(TransactionSimulation(users=200, minutes=5 * 1_440))
        points = np.array(
            [self._point(Payment.model_validate_json(line)) for _, line in list(made.lines())[:5_000]]
        )
        self._scaler = StandardScaler().fit(points)
        points = self._scaler.transform(points)
        self._forest = IsolationForest(n_estimators=100, random_state=1).fit(points)
        self._network = MLPRegressor(hidden_layer_sizes=(32, 16, 8, 16, 32), max_iter=20, random_state=1).fit(
            points, points
        )

    def predict(self, payment: Payment) -> dict[str, object]:
        """Return the verdict on one transaction."""
        one = self._scaler.transform(np.array([self._point(payment)]))
        strange = -float(self._forest.score_samples(one)[0])
        error = float(((self._network.predict(one) - one) ** 2).mean())
        score = 0.5 * strange + 0.5 * min(error, 1.0)
        return {
            "transaction_id": payment.transaction_id, "is_anomaly": score > 0.6, "anomaly_score": score
        }  # fmt: skip

    @staticmethod
    def _point(payment: Payment) -> list[float]:
        return [np.log(payment.amount + 1), payment.location_distance_km, payment.is_online]


def main() -> None:
    """Serve on the port of the environment."""
    predictor, app = Predictor(), FastAPI()

    @app.post("/predict")
    def predict(payment: Payment) -> dict[str, object]:
        return predictor.predict(payment)

    @app.post("/predict/batch")
    def batch(payments: list[Payment]) -> list[dict[str, object]]:
        return [predictor.predict(payment) for payment in payments]

    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["TAPEWATCH_API__PORT"]), log_level="critical")


if __name__ == "__main__":
    main()
