"""The profiles of a flow's users in memory: packed, and of who stays away nothing.

A profile is unpacked for the rows of one batch and packed again. That takes a third of the room and no more
time: with ten thousand users and more, a profile whose parts have left the processor's caches costs as much
to gather again as to unpack.

Nobody is woken by the clock to see who is away: Bytewax looks through all keys that are to be woken, however
late, each time a step has something to do, and with a million users that takes longer than their payments.
Instead, at each payment the worker looks at one more of its users, each in turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from operators import profiles
from operators.measured import Measured
from operators.packed_profiles import packed, unpacked
from operators.profiles import Profile
from tapewatch import stopping
from tapewatch.transactions import Row

#: A profile is published after so many transactions, and when something was strange.
_PUBLISHED = 16
#: By partition, users of whom nothing is known any more and whose keys may go.
Away: TypeAlias = dict[str, dict[str, None]]
#: A user, the partition, and the profile as `packed_profiles.packed` has it: to be published.
Last: TypeAlias = tuple[str, str, bytes]


class Paid(NamedTuple):
    """What a profile makes of a user's rows of a batch; ``document`` is to be published."""

    indices: tuple[int, ...]
    measured: tuple[Measured, ...]
    document: tuple[Any, ...] | None


class ProfileMemory(threading.local):
    """Whose profiles of a flow a worker has; a worker is a thread, and each finds its own here.

    Parameters
    ----------
    idle_ns
        A user who was away for longer begins anew.
    away
        Filled for the whole process.
    """

    def __init__(self, idle_ns: int, away: Away) -> None:
        self.idle_ns = idle_ns
        self._away = away
        self._turns: dict[str, deque[UserProfile]] = {}

    def enter(self, user: UserProfile) -> None:
        """Look at a user, too, when it is the user's turn."""
        self._turns.setdefault(user.partition, deque()).append(user)

    def look(self, partition: str, clock: int) -> Last | None:
        """Forget the next user of a partition if away for too long; return what is still to be published.

        Who pays after that has a later clock and would begin anew anyway: nothing changes but memory.
        """
        turn = self._turns.get(partition)
        if not turn:
            return None
        user = turn.popleft()
        if user.partition != partition:
            self.enter(user)
        elif clock - user.last > self.idle_ns:
            self._away.setdefault(partition, {})[user.user] = None
            return user.forget()
        else:
            turn.append(user)
        return None


class UserProfile:
    """One user's profile, or none.

    Parameters
    ----------
    memory
        Of the worker.
    resume
        A `snapshot` to go on from.
    """

    __slots__ = ("_memory", "_packed", "_published", "_seen", "last", "partition", "user")

    def __init__(self, memory: ProfileMemory, resume: tuple[Any, ...] | None) -> None:
        self._memory = memory
        self._packed = b""
        self._seen, self.last = 0, -1
        self.user, self.partition, self._published, saved = resume or ("", "", 0, b"")
        if not saved:
            return
        # Older recovery stores have it unpacked.
        state = unpacked(saved) if isinstance(saved, bytes) else saved
        stopping.refuse_other_versions(state[0], profiles.STATE_VERSION)
        self._packed = packed(state)
        self._seen, self.last = state[1], state[7]
        memory.enter(self)

    @property
    def known(self) -> bool:
        """Whether there is a profile."""
        return self._packed != b""

    def pay(self, user: str, partition: str, rows: Sequence[Row]) -> Paid:
        """Measure and learn the user's rows of a batch."""
        self.user, self.partition = user, partition
        if self._packed:
            profile = Profile(unpacked(self._packed))
        else:
            profile, self._published = Profile(), 0
            self._memory.enter(self)
        measured = []
        for row in rows:
            if profile.idle(row.clock, self._memory.idle_ns):
                profile, self._published = Profile(), 0
            measured.append(profile.update(row))
        seen, document = profile.seen, None
        if seen >= self._published + _PUBLISHED or profile.streak or not self._published:
            self._published, document = seen, profile.document(user, partition)
        self._seen, self.last = seen, profile.last
        self._packed = packed(profile.snapshot())
        return Paid(tuple([row.number for row in rows]), tuple(measured), document)

    def unpublished(self) -> Last | None:
        """Return the profile if it has changed since it was published; it counts as published then."""
        if self._seen == self._published:
            return None
        self._published = self._seen
        return self.user, self.partition, self._packed

    def forget(self) -> Last | None:
        """Let go of the profile; return what is still to be published of it."""
        last = self.unpublished()
        self._packed = b""
        self._published = self._seen = 0
        return last

    def snapshot(self) -> tuple[Any, ...]:
        """Return the state to resume from; nothing in it changes later."""
        return self.user, self.partition, self._published, self._packed
