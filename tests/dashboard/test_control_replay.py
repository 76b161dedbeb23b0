"""Files to a topic and the flow on it, as the page of control starts them, on a real broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from connectors.store import open_results
from dashboard.control_plan import REPLAY, Asked, commands, prepare
from dashboard.processes import Processes
from tapewatch.errors import UserError
from tapewatch.settings import Settings, load

_SECONDS = 280.0


def _records(settings: Settings) -> int:
    try:
        with open_results(settings) as store:
            return store.totals().get("records", 0)
    except UserError:
        # The flow has not made the store yet.
        return -1


def test_files_are_replayed_to_a_topic_that_is_not_there_and_judged(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    day = tmp_path / "day.dbn.zst"
    session = simulate(MarketSimulation(minutes=5, symbols=2))
    write_dbn(day, session.records, session.symbols)
    wanted = len(session.records)
    monkeypatch.setenv("TAPEWATCH_KAFKA__BROKERS", broker.address)
    monkeypatch.setenv("TAPEWATCH_KAFKA__TOPIC", "control-replay")
    settings = load()
    processes = Processes()
    try:
        asked = Asked(REPLAY, ("high_volume",), 1.0, 0.0, (str(day),))
        planned = commands(asked, ("high_volume",), settings, processes.folder("flow"))
        prepare(asked, settings)
        for one in planned:
            processes.start(one.name, one.about, one.command, one.environment)
        running = {process.name: process for process in processes.all()}
        deadline = time.monotonic() + _SECONDS
        while running["replay"].running or _records(settings) < wanted:
            tails = {name: processes.tail(name) for name in running}
            assert running["flow"].running, tails
            assert time.monotonic() < deadline, tails
            time.sleep(0.2)
        assert running["replay"].exit_status == 0, processes.tail("replay")
        processes.stop("flow")
        assert running["flow"].exit_status == 0, processes.tail("flow")
        assert _records(settings) == wanted
    finally:
        processes.close()
