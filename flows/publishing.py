"""What the Quix Streams producers share: how their source runs, ends, and goes on record by record."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
from quixstreams import Application
from quixstreams.models import Topic
from quixstreams.sources import StatefulSource
from quixstreams.sources.base.exceptions import SourceException

from connectors.kafka_client import configuration, ensure_topic
from connectors.kafka_published import counted_as
from tapewatch import stopping
from tapewatch.errors import UserError
from tapewatch.records import DAY, Array, Int64s
from tapewatch.settings import KafkaSettings
from tapewatch.symbology import Symbols

_NEVER_LOGGED = logging.CRITICAL + 1
_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.1
#: A state may be larger than brokers take by default.
_LARGEST_STATE = 16 << 20
# Where `kafka.options` does not say otherwise.
_PRODUCER = {"linger.ms": 10, "compression.type": "lz4"}


def keys_of(records: Array, times: Array, symbols: Symbols) -> tuple[Array, list[str]]:
    """Return each record's code, intp of shape ``(n,)``, and the symbols that the codes stand for.

    Parameters
    ----------
    records
        ``TRADE`` or ``OHLCV``, shape ``(n,)``.
    times
        Event times, uint64 ns, shape ``(n,)``.
    symbols
        Keys by day and id.
    """
    days = (times // np.uint64(DAY)).astype(np.uint64)
    pairs, places = np.unique(
        (days << np.uint64(32)) | records["instrument_id"].astype(np.uint64), return_inverse=True
    )
    keys: dict[str, int] = {}
    codes = [keys.setdefault(symbols.key(p & 0xFFFFFFFF, p >> 32), len(keys)) for p in pairs.tolist()]
    return np.array(codes, np.intp)[places], list(keys)


def unpublished(passed: Counter[str], dataset: str, codes: Array, keys: list[str]) -> Int64s:
    """Return the places of the records that are not in the topic: all but the first ones of some keys.

    Parameters
    ----------
    passed
        How many records of a key are left that were published before, counted off here.
    dataset, codes, keys
        ``keys[codes[i]]`` is the symbol of record ``i``.

    Examples
    --------
    >>> passed = Counter({"XSIM.TAPE|SPY": 2})
    >>> unpublished(passed, "XSIM.TAPE", np.array([0, 1, 0, 0]), ["SPY", "QQQ"]).tolist(), passed.total()
    ([1, 3], 0)
    """
    keep = np.ones(len(codes), np.bool_)
    for code in np.unique(codes).tolist():
        name = counted_as(dataset, keys[code])
        ahead = passed.pop(name, 0)
        gone = np.flatnonzero(codes == code)[:ahead]
        keep[gone] = False
        if ahead > len(gone):
            passed[name] = ahead - len(gone)
    return np.flatnonzero(keep).astype(np.int64)


class _Application(Application):
    """Leaves signals to `tapewatch.stopping`: Quix Streams forgets one that comes while it starts."""

    def _setup_signal_handlers(self) -> None:
        threading.Thread(target=self._stop_when_asked, daemon=True).start()

    def _stop_when_asked(self) -> None:
        while not stopping.stopping():
            time.sleep(_LOOK_SECONDS)
        while True:
            # Until it has taken notice.
            self.stop()
            time.sleep(_LOOK_SECONDS)


class Publisher(StatefulSource):
    """A source that hears when it is asked to stop, however early: Quix Streams forgets that as it starts."""

    def stop(self) -> None:
        """Take note that it is to end."""
        stopping.stop()
        super().stop()

    @property
    def wanted(self) -> bool:
        """Whether it is to go on: neither asked to stop, nor left alone by the process that began it."""
        parent = multiprocessing.parent_process()
        return self.running and not stopping.stopping() and (parent is None or parent.is_alive())


def die_with_parent() -> None:
    """Have the system end this process when the command that started it is killed: nobody else would."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def run(source: Publisher, settings: KafkaSettings, topic: str, group: str, what: str) -> None:
    """Run a source that publishes to a topic until it ends or is stopped.

    Parameters
    ----------
    source
        It runs in a process of its own; its state is kept in a topic named after ``group`` and its own name.
    settings
        The section ``kafka``.
    topic
        Where to publish.
    group
        Name of the application.
    what
        What breaks off, should it, as a message says it.

    Raises
    ------
    UserError
        If the source, or the brokers, raise one.
    RuntimeError
        If the brokers stop taking messages.
    """
    # Quix Streams logs failures with a traceback in each of its processes; ours are told in a line.
    logging.getLogger("quixstreams").setLevel(_NEVER_LOGGED)
    options: dict[str, Any] = {
        name: value for name, value in configuration(settings).items() if name != "bootstrap.servers"
    }
    # Quix Streams would make it with one replica.
    state = {"cleanup.policy": "compact", "max.message.bytes": str(_LARGEST_STATE)}
    ensure_topic(settings, f"changelog__{group}--source-{source.name}", 1, state)
    own = {"acks": "all", "enable.idempotence": True, "message.max.bytes": _LARGEST_STATE}
    with tempfile.TemporaryDirectory(prefix=f"{group}-") as folder:
        app = _Application(
            broker_address=settings.brokers,
            consumer_group=group,
            producer_extra_config={**_PRODUCER, **options, **own},
            consumer_extra_config=options,
            loglevel=None,
            state_dir=folder,
            auto_create_topics=True,
            broker_availability_timeout=0,
        )
        app.add_source(source, topic=Topic(topic, value_serializer="bytes"))
        try:
            app.run()
        except SourceException as error:
            cause = error.__cause__
            if isinstance(cause, UserError):
                raise cause from None
            raise RuntimeError(f"{what} broke off: {cause or error}") from error
