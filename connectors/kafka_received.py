"""Messages as columns: what is kept of them once they have been taken from librdkafka.

A message of the library holds some ten objects. Those of a whole batch would leave the processor's caches
before they are looked at again, which costs more than all the rest of taking them; so they are let go of at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import confluent_kafka as ck

from connectors.kafka_headers import Headers

_ERROR, _HEADERS, _KEY = ck.Message.error, ck.Message.headers, ck.Message.key
_OFFSET, _VALUE = ck.Message.offset, ck.Message.value


class Letter(NamedTuple):
    """One message."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    offset: int


@dataclass(slots=True)
class Received:
    """Consecutive messages of one partition.

    Attributes
    ----------
    values, keys, offsets
        Of each message.
    headers
        Likewise; neighbours with equal headers share one object.
    size
        Bytes of all values.
    """

    values: list[bytes | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def take(self, messages: Sequence[ck.Message], trouble: Callable[[ck.KafkaError], None]) -> None:
        """Add messages; ``trouble`` is told of those that are errors instead."""
        # An error cannot be compared with None.
        if errors := [error for error in map(_ERROR, messages) if error is not None]:
            for error in errors:
                trouble(error)
            messages = [message for message in messages if message.error() is None]
        for headers, equal in groupby(map(_HEADERS, messages)):
            self.headers += [headers] * sum(1 for _ in equal)
        self.values += map(_VALUE, messages)
        self.keys += map(_KEY, messages)
        self.offsets += map(_OFFSET, messages)
        self.size += sum(map(len, messages))

    def letter(self, place: int) -> Letter:
        """Return one of the messages."""
        return Letter(self.keys[place], self.values[place], self.headers[place], self.offsets[place])
