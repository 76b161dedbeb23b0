"""One connection to a Databento Live gateway: its bytes, in a thread of their own, bounded.

The protocol is that of Databento's client library, of which the part below its record objects is used: what
comes after authentication is taken as bytes, so that arrays can be made of it without a Python object for
each record. While too much waits nothing is read, so the gateway notices that its reader is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.settings import LiveSettings

try:
    from databento.live.protocol import DatabentoLiveProtocol
except ImportError:
    raise UserError(
        '`source.kind = "live"` needs a library that is not installed; `pip install "tapewatch[live]"`'
    ) from None

#: Bytes that may wait before nothing more is read, and from which on a warning is due.
MOST_WAITING = 32 << 20
_WARNED_AT, _CALM_AT = MOST_WAITING // 2, MOST_WAITING // 8
#: The gateway says that it is alive this often, if it has nothing else to say.
_HEARTBEAT_SECONDS = 10
_SILENCE_SECONDS = 2.5 * _HEARTBEAT_SECONDS
_CONNECT_SECONDS, _AUTHENTICATE_SECONDS = 10.0, 30.0
_CLOSE_SECONDS = 2.0
_LONGEST_TEXT = 200

# The library logs what is told here in a line, and more.
logging.getLogger("databento").propagate = False


@dataclass(frozen=True, slots=True)
class End:
    """Why a session is over.

    ``refused``: the gateway does not take the key; ``lost``: no connection, or no more; ``ended``: by the
    gateway, in order; ``closed``: by us.
    """

    kind: Literal["refused", "lost", "ended", "closed"]
    text: str = ""


def address(settings: LiveSettings) -> str:
    """Return the host to connect to: the one set, or Databento's own for the dataset.

    >>> address(LiveSettings(dataset="EQUS.MINI"))
    'equs-mini.lsg.databento.com'
    """
    return settings.gateway or f"{settings.dataset.lower().replace('.', '-')}.lsg.databento.com"


class Session:
    """A subscription on a connection of its own, from its opening to its end.

    Parameters
    ----------
    settings
        The section ``live``.
    key
        The secret; it is not sent, only used to answer the gateway's challenge.
    start
        Time to replay from, ns; None for what happens from now on.

    Attributes
    ----------
    end
        Why it is over, None while it is not.
    warnings
        How many times so much waited that a warning was due.
    """

    def __init__(self, settings: LiveSettings, key: str, start: int | None) -> None:
        self._settings, self._key, self._start = settings, key, start
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._warned = False
        self.end: End | None = None
        self.warnings = 0
        self._protocol: _Protocol | None = None
        self._loop = asyncio.new_event_loop()
        # What goes wrong within the protocol ends the connection, and is told as the session's end.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._task = self._loop.create_task(self._run())
        self._thread = threading.Thread(target=self._work, name="live-session", daemon=True)
        self._thread.start()

    def take(self, most: int) -> bytes:
        """Return what has come, about ``most`` bytes of it."""
        taken: list[bytes] = []
        with self._lock:
            size = 0
            while self._waiting and size < most:
                taken.append(self._waiting.popleft())
                size += len(taken[-1])
            self._size -= size
            if self._size <= _CALM_AT:
                self._warned = False
            calm = self._size <= _WARNED_AT
        if calm and self._protocol is not None and self._protocol.paused:
            self._call(self._protocol.resume)
        return b"".join(taken)

    def close(self) -> None:
        """End the connection."""
        self._call(self._task.cancel)
        self._thread.join(_CLOSE_SECONDS)

    def _call(self, function: Callable[[], object]) -> None:
        # The loop may be closed at any moment.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _put(self, data: bytes) -> bool:
        """Take bytes in; return whether there is room for more."""
        with self._lock:
            self._waiting.append(data)
            self._size += len(data)
            late = self._size > _WARNED_AT and not self._warned
            self._warned = self._warned or late
            room = self._size < MOST_WAITING
        if late:
            self.warnings += 1
            log.warning(
                "the results do not keep up with %s: %d MiB of it wait; a gateway cuts off whom it waits for",
                self._settings.dataset,
                self._size >> 20,
            )
        return room

    def _work(self) -> None:
        end = End("closed")
        try:
            end = self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            # Whatever it is, the session is over, and another one follows.
            end = End("lost", f"{type(error).__name__}: {error}")
        finally:
            self._loop.close()
            # Only now: who sees the end has nothing more to wait for.
            self.end = End(end.kind, self._cleaned(end.text))

    def _cleaned(self, text: str) -> str:
        """Return a text in one short line, without the key, whoever may have put it there."""
        plain = " ".join(text.replace(self._key, "...").split())
        return "".join(letter for letter in plain if letter.isprintable())[:_LONGEST_TEXT]

    async def _run(self) -> End:
        host, port = address(self._settings), self._settings.port
        try:
            transport, protocol = await asyncio.wait_for(
                self._loop.create_connection(self._new_protocol, host, port), _CONNECT_SECONDS
            )
        except TimeoutError:
            return End("lost", f"no answer in {_CONNECT_SECONDS:.0f} s")
        except OSError as error:
            return End("lost", error.strerror or str(error))
        try:
            return await self._talk(protocol)
        finally:
            transport.abort()
            await asyncio.sleep(0)

    def _new_protocol(self) -> _Protocol:
        return _Protocol(self._key, self._settings.dataset, self._put)

    async def _talk(self, protocol: _Protocol) -> End:
        either: set[asyncio.Future[Any]] = {protocol.authenticated, protocol.disconnected}
        await asyncio.wait(either, timeout=_AUTHENTICATE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not protocol.authenticated.done():
            end = _over(protocol) or End("lost", f"no challenge in {_AUTHENTICATE_SECONDS:.0f} s")
            return End("lost", end.text or "no gateway, or it hung up at once")
        refusal = protocol.authenticated.exception()
        if refusal is not None:
            return End("refused", str(refusal))
        settings = self._settings
        protocol.subscribe(
            settings.schema, settings.symbols, settings.stype_in, self._start, subscription_id=0
        )
        protocol.start()
        self._protocol = protocol
        return await self._followed(protocol)

    async def _followed(self, protocol: _Protocol) -> End:
        while True:
            await asyncio.wait({protocol.disconnected}, timeout=1.0)
            if (end := _over(protocol)) is not None:
                return end
            silence = self._loop.time() - protocol.heard
            if silence > _SILENCE_SECONDS and not protocol.paused:
                return End("lost", f"nothing was heard for {silence:.0f} s")


def _over(protocol: _Protocol) -> End | None:
    if not protocol.disconnected.done():
        return None
    error = protocol.disconnected.exception()
    return End("ended") if error is None else End("lost", getattr(error, "strerror", None) or str(error))


class _Protocol(DatabentoLiveProtocol):
    """Databento's protocol as far as authentication and subscription; behind it bytes, not records."""

    def __init__(self, key: str, dataset: str, put: Callable[[bytes], bool]) -> None:
        super().__init__(key, dataset, heartbeat_interval_s=_HEARTBEAT_SECONDS, slow_reader_behavior="warn")
        self._put = put
        self._clock = asyncio.get_running_loop().time
        self.heard = self._clock()
        self.paused = False

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes in; the transport has put them into the buffer."""
        self.heard = self._clock()
        if not self.authenticated.done():
            super().buffer_updated(nbytes)
            return
        data = bytes(memoryview(self.get_buffer(-1))[:nbytes])
        if not self._put(data) and not self.paused:
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.paused and not self.disconnected.done():
            self.paused = False
            self.heard = self._clock()
            self.transport.resume_reading()
