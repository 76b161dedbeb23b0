"""A small file of simulated payments, made once for all tests that read one."""

from __future__ import annotations

import functools

from connectors.transaction_files import parse_messages
from connectors.transaction_simulator import Simulated, TransactionSimulation, simulate_transactions
from tapewatch.transactions import Transactions


@functools.cache
def simulated(users: int = 60, minutes: int = 20 * 1_440, seed: int = 5) -> Simulated:
    return simulate_transactions(TransactionSimulation(users=users, minutes=minutes, seed=seed))


@functools.cache
def payments(users: int = 60, minutes: int = 20 * 1_440, seed: int = 5) -> Transactions:
    found = parse_messages([line for _, line in simulated(users, minutes, seed).lines()], {})
    return Transactions(
        "p", 0, found.ids, found.users, found.times, found.amounts, found.words, found.numbers
    )
