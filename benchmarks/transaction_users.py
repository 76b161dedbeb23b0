"""Memory and CPU time of the step that holds users' profiles, with ten thousand to a million users.

Each profile is as the flow would find it in its recovery state after 40 payments. Then ten thousand of the
users pay in turn, which tells what the others cost who are only there; and, in another process, everybody in
turn, so that nobody has paid lately: the worst case. The real Bytewax step, in a process of its own for each
row; making the payments is not part of the time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from operators.packed_profiles import packed, unpacked
from operators.profile_memory import ProfileMemory, UserProfile
from operators.transaction_dataflow import user_profiles
from operators.transaction_history import History
from tapewatch.records import DAY, SECOND
from tapewatch.transactions import Transactions

_USERS = (10_000, 100_000, 1_000_000)
_ACTIVE = 10_000
_TRANSACTIONS = 200_000
_BATCH = 8_192
#: Users pay in an order that is none of theirs.
_STRIDE = 7_919
_KINDS, _PAYMENTS = 200, 40
_START = 1_700_000_000_000_000_000


def main() -> None:
    """Measure and print the table."""
    print("| users | who pay | CPU per payment, microseconds | largest resident set, MiB | bytes per user |")
    print("|---|---|---|---|---|")
    for users in _USERS:
        for active in sorted({_ACTIVE, users}):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.transaction_users", str(users), str(active)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            found = json.loads(done.stdout)
            print(
                f"| {users:,} | {active:,} | {found['cpu']:.1f} | {found['peak'] / 2**20:,.0f} | "
                f"{(found['peak'] - found['before']) / users:,.0f} |",
                flush=True,
            )


def _payments(chance: np.random.Generator, seq: int, users: list[str], times: Any) -> Transactions:  # noqa: ANN401 - int64
    count = len(users)

    def some(words: list[str]) -> list[str | None]:
        return [words[place] for place in chance.integers(0, len(words), count).tolist()]

    words = {
        "merchant_category": some(["grocery", "travel", "fuel", "online", "cash"]),
        "merchant_id": some([f"merchant-{number:05d}" for number in range(5_000)]),
        "location": some(["DE", "FR", "US", "BR"]),
        "payment_method": some(["card", "wallet", "transfer"]),
        "device": some(["phone", "browser"]),
    }
    numbers = {"location_distance_km": chance.exponential(5.0, count)}
    ids = [f"t{seq}-{number}" for number in range(count)]
    return Transactions("p", seq, ids, users, times, chance.lognormal(3.0, 1.0, count), words, numbers)


def _full_profiles(chance: np.random.Generator) -> list[bytes]:
    history = History(365 * DAY)
    users = [f"u{number}" for number in range(_KINDS)]
    for day in range(_PAYMENTS):
        history.measure(_payments(chance, day, users, np.full(_KINDS, _START + day * DAY)))
    return [packed(profile.snapshot()) for profile in history.profiles.values()]


class _Source(DynamicSource[Transactions]):
    def __init__(self, users: int, active: int) -> None:
        self._users, self._active = users, active

    def build(
        self, step_id: str, worker_index: int, worker_count: int
    ) -> StatelessSourcePartition[Transactions]:
        return _Part(self._users, self._active)


class _Part(StatelessSourcePartition[Transactions]):
    #: CPU time of all but the making of payments, when everybody's profile was there and at the end.
    begun = ended = 0.0

    def __init__(self, users: int, active: int) -> None:
        self._batches = _batches(users, active)
        self._own = 0.0

    def next_batch(self) -> list[Transactions]:
        before = time.process_time()
        _Part.ended = before - self._own
        phase, batch = next(self._batches)
        if not phase:
            _Part.begun = _Part.ended
        self._own += time.process_time() - before
        return [batch]


def _batches(users: int, active: int) -> Iterator[tuple[int, Transactions]]:
    chance = np.random.default_rng(2)
    day = _START + _PAYMENTS * DAY
    seq = 0
    names = [f"user-{place * _STRIDE % users:09d}" for place in range(users)]
    # The first payments of those who will pay are not measured, either.
    for phase, count, among in ((0, users, users), (0, active, active), (1, _TRANSACTIONS, active)):
        for first in range(0, count, _BATCH):
            places = range(first, min(first + _BATCH, count))
            some = [names[place % among] for place in places]
            yield phase, _payments(chance, seq, some, np.full(len(some), day + seq * SECOND))
            seq += 1


class _Nowhere(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[Any]:
        return _Dropped()


class _Dropped(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Let go of them."""


def _one(users: int, active: int) -> None:
    states = _full_profiles(np.random.default_rng(1))
    built = UserProfile.__init__
    number = 0

    def resumed(self: UserProfile, memory: ProfileMemory, resume: Any) -> None:  # noqa: ANN401 - any state
        nonlocal number
        number += 1
        # Bytes of its own, as each user has.
        built(self, memory, ("", "p", _PAYMENTS, packed(unpacked(states[number % _KINDS]))))

    UserProfile.__init__ = resumed  # type: ignore[method-assign]
    flow = Dataflow("users")
    batches = op.input("payments", flow, _Source(users, active))
    op.output("nowhere", user_profiles("users", batches, 365 * DAY), _Nowhere())
    before = _peak()
    run_main(flow)  # type: ignore[no-untyped-call]
    cpu = (_Part.ended - _Part.begun) / _TRANSACTIONS * 1e6
    print(json.dumps({"cpu": cpu, "peak": _peak(), "before": before}))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _one(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
