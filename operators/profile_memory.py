"""The profiles of a flow's users in memory: packed, and of who stays away nothing.

A profile is unpacked for the rows of one batch and packed again. That takes a third of the room and no more
time: with ten thousand users and more, a profile whose parts have left the processor's caches costs as much
to gather again as to unpack.

Nobody is woken by the clock to see who is away: Bytewax looks through all keys that are to be woken, however
late, each time a step has something to do, and with a million users that takes longer than their payments.
Instead, with each batch some of the users are looked at, each in turn, and who seems to be away is sent word
among the rows: so it comes behind all rows that were before it.
"""

from __future__ import annotations

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
#: A user, the partition, and the profile as `packed_profiles.packed` has it: to be published.
Last: TypeAlias = tuple[str, str, bytes]


class Paid(NamedTuple):
    """What a profile makes of a user's rows of a batch; ``document`` is to be published."""

    indices: tuple[int, ...]
    measured: tuple[Measured, ...]
    document: tuple[Any, ...] | None


class ProfileMemory:
    """Whose profiles of a flow this process has.

    Parameters
    ----------
    idle_ns
        A user who was away for longer begins anew.
    """

    def __init__(self, idle_ns: int) -> None:
        self.idle_ns = idle_ns
        self._turns: dict[str, deque[UserProfile]] = {}

    def enter(self, user: UserProfile) -> None:
        """Look at a user, too, when it is the user's turn."""
        self._turns.setdefault(user.partition, deque()).append(user)

    def away(self, partition: str, clock: int, number: int) -> list[str]:
        """Look at so many users of a partition; return those who seem to be away too long at ``clock``, ns.

        They may have paid meanwhile, so each is to be asked (`UserProfile.leave`), and is not looked at until
        then.
        """
        turn = self._turns.get(partition, deque())
        found = []
        for _ in range(min(number, len(turn))):
            user = turn.popleft()
            if user.partition != partition:
                self.enter(user)
            elif clock - user.last > self.idle_ns:
                found.append(user.user)
            else:
                turn.append(user)
        return found


class UserProfile:
    """One user's profile, or none.

    Parameters
    ----------
    memory
        Of the process.
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
        self._packed = saved if isinstance(saved, bytes) else packed(state)
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

    def leave(self, clock: int) -> Last | None:
        """Forget the profile if the user has been away too long; return what is still to be published of it.

        Who pays after that, at a later clock, would begin anew anyway: nothing changes but memory.
        """
        if self._packed and clock - self.last <= self._memory.idle_ns:
            self._memory.enter(self)
            return None
        last = self.unpublished()
        self._packed = b""
        self._published = self._seen = 0
        return last

    def snapshot(self) -> tuple[Any, ...]:
        """Return the state to resume from; nothing in it changes later."""
        return self.user, self.partition, self._published, self._packed
