"""What a flow reads when it is asked for a simulation: the next day of a simulated market, or payments."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import orjson

from connectors.dbn_writer import DATASET, write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from connectors.store import open_results
from connectors.transaction_simulator import TransactionSimulation, simulate_transactions
from connectors.transaction_writer import write_transactions
from tapewatch.errors import UserError
from tapewatch.records import DAY
from tapewatch.settings import Settings

#: Times the market's own pace, unless ``source.speed`` is a number: a trading day in 98 seconds.
_SPEED = 240.0
_EPOCH = dt.date(1970, 1, 1)


def simulated(settings: Settings, folder: Path) -> dict[str, str]:
    """Write a session into the folder and return the environment with which a flow plays it.

    Each simulation is the weekday after the last one that the store holds bars of, so that it adds to the
    results like a market that goes on; the same day is the same session every time.
    """
    start = _day_after_last(settings) or MarketSimulation().start
    session = simulate(MarketSimulation(start=start, seed=start.toordinal()))
    path = folder / "session.dbn.zst"
    write_dbn(path, session.records, session.symbols)
    speed = _SPEED if settings.source.speed == "max" else settings.source.speed
    return {
        "TAPEWATCH_SOURCE__KIND": "files",
        "TAPEWATCH_SOURCE__PATHS": orjson.dumps([str(path)]).decode(),
        "TAPEWATCH_SOURCE__SPEED": str(speed),
    }


def simulated_payments(folder: Path) -> dict[str, str]:
    """Write two weeks of payments into the folder and return the environment with which a flow reads them.

    They are the same every time, so what they lead to is written once.
    """
    path = folder / "payments.jsonl.zst"
    write_transactions(path, simulate_transactions(TransactionSimulation(minutes=14 * 1_440)))
    return {
        "TAPEWATCH_TRANSACTIONS__SOURCE__KIND": "files",
        "TAPEWATCH_TRANSACTIONS__SOURCE__PATHS": orjson.dumps([str(path)]).decode(),
    }


def _day_after_last(settings: Settings) -> dt.date | None:
    try:
        with open_results(settings) as store:
            ends = [series["ts_last"] for series in store.series() if series["dataset"] == DATASET]
    except UserError:
        # The flow makes the store, or says what is wrong with it.
        return None
    return _EPOCH + dt.timedelta(days=(max(ends) - 1) // DAY + 1) if ends else None
