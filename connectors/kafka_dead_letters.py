"""Messages that cannot be read go to a topic of their own, with the reason and where they came from."""

from __future__ import annotations

import numpy as np

from connectors.kafka_client import ensure_topic
from connectors.kafka_parts import Part
from connectors.kafka_received import Letter, Received
from connectors.kafka_sender import Headers, Sender
from connectors.validity import valid
from tapewatch.records import OHLCV, TRADE, Array
from tapewatch.settings import KafkaSettings

_LARGEST = 16 << 20
_LONGEST_REASON = 500


def ensure_dead_letter_topic(settings: KafkaSettings) -> None:
    """Create the topic unless it is there; it takes messages of any size that others do.

    Raises
    ------
    UserError
        If it is not there and cannot be created.
    """
    ensure_topic(settings, settings.dead_letters, config={"max.message.bytes": str(_LARGEST)})


class DeadLetters:
    """Sends messages to the dead letters.

    Parameters
    ----------
    settings
        The section ``kafka``.
    number
        The partition of the topic that they come from.
    """

    def __init__(self, settings: KafkaSettings, number: int) -> None:
        self._settings, self._number = settings, number
        self._sender: Sender | None = None

    def send(self, letter: Letter, error: str, value: bytes | None = None, schema: str = "") -> None:
        """Send a message, or with ``value`` and ``schema`` those of its records that are meant.

        Its headers are kept; ``error``, ``source_topic``, ``source_partition``, ``source_offset`` are added.
        """
        added: Headers = [
            ("error", error[:_LONGEST_REASON].encode()),
            ("source_topic", self._settings.topic.encode()),
            ("source_partition", b"%d" % self._number),
            ("source_offset", b"%d" % letter.offset),
            *([("schema", schema.encode())] if schema else []),
        ]
        names = {name for name, _ in added}
        headers = [(name, said) for name, said in letter.headers or () if name not in names] + added
        if self._sender is None:
            self._sender = Sender(self._settings, self._settings.dead_letters)
        self._sender.send(letter.key, letter.value if value is None else value, headers)

    def send_unfit(self, received: Received, part: Part, unfit: Array) -> int:
        """Send the records that are not fit to be judged, and return how many messages that makes.

        Parameters
        ----------
        received
            What the part was read from.
        part
            Records.
        unfit
            Which of them are meant, bool, shape ``(n,)``. A message of JSON goes as it is; of a run of DBN
            these records go, those with one reason in one message.
        """
        letters: dict[tuple[int, str], list[int]] = {}
        for row in np.flatnonzero(unfit).tolist():
            _, reasons = valid(part.records[row : row + 1], part.times[row : row + 1])
            # What would be fit in a file is ahead of the clock.
            reason = next(iter(reasons), "impossible_time")
            letters.setdefault((int(part.places[row]), reason), []).append(row)
        bars = part.records.dtype == OHLCV
        for (place, reason), rows in letters.items():
            letter = received.letter(place)
            if ("encoding", b"dbn") not in (letter.headers or ()):
                self.send(letter, reason)
                continue
            run = np.ascontiguousarray(part.records[rows]).astype(OHLCV if bars else TRADE)
            if not bars:
                run["length"], run["rtype"] = TRADE.itemsize // 4, 0
            self.send(letter, reason, run.tobytes(), "" if bars else "trades")
        return len(letters)

    def flush(self) -> None:
        """Wait until all that was sent has arrived, however long that takes."""
        if self._sender is not None:
            self._sender.flush()
