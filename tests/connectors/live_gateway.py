"""A gateway on the loopback that speaks Databento's public Live protocol, with a script for each connection."""

from __future__ import annotations

import hashlib
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import databento_dbn
import numpy as np

from tapewatch.records import Array

KEY = "db-" + "a1B2c" * 5 + "Zz09"
DATASET = "XSIM.TAPE"
_TICK = 0.01
_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Script:
    """What happens on one connection, in this order.

    Attributes
    ----------
    silent
        Nothing at all is said.
    refuse
        Reason for which authentication fails.
    error
        Code and text of an error behind the subscription, after which the session ends.
    aged
        Records before this index are not replayed any more.
    until, cut, reset
        Index of the record before which the connection ends, bytes of it that are sent all the same, and whether
        the end is an abrupt one.
    skip
        Records from the first index up to the second are left out with an error, as for a slow reader.
    junk
        Bytes sent instead of the record ``until``.
    """

    silent: bool = False
    refuse: str = ""
    error: tuple[int, str] | None = None
    aged: int = 0
    until: int | None = None
    cut: int = 0
    reset: bool = False
    skip: tuple[int, int] | None = None
    junk: bytes = b""


@dataclass
class Gateway:
    """Serves a tape to one connection after the other.

    Attributes
    ----------
    records
        ``TRADE``, ``OHLCV`` or other records of one schema, in the order of the tape.
    symbols
        By id.
    scripts
        Of the first connections; those behind them get everything and stay open.
    selects
        The time by which a replay is chosen.
    until
        Index of the record before which all wait until it is raised; None for as fast as they are taken.
    mappings
        More symbol mappings: index of the record before which they come, id and symbol.
    seed
        Where the stream is cut into pieces, and where heartbeats and notices are among the records.
    patience
        Seconds for which a reader may take nothing.
    """

    records: Array
    symbols: Mapping[int, str]
    scripts: Sequence[Script] = ()
    key: str = KEY
    schema: str = "trades"
    selects: Literal["ts_event", "ts_recv"] = "ts_event"
    until: int | None = None
    mappings: Sequence[tuple[int, int, str]] = ()
    version: int = 3
    seed: int = 0
    patience: float = 60.0
    heartbeat: float = 0.5
    #: What mappings and notices bear; that of the first record by default.
    mapping_time: int = 0
    #: What the clients sent: of each connection its authentication and subscriptions, as fields.
    asked: list[list[dict[str, str]]] = field(default_factory=list)
    #: Index behind the last record sent to anybody: what "now" is.
    sent: int = 0
    slow: int = 0
    #: Heartbeats sent behind the last record.
    beats: int = 0

    def __enter__(self) -> Gateway:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.1)
        self.port: int = self._server.getsockname()[1]
        self._open = True
        self._count = 0
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._open = False
        self._server.close()
        for thread in (self._accepting, *self._threads):
            thread.join(60)

    def _accept(self) -> None:
        while self._open:
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            script = self.scripts[self._count] if self._count < len(self.scripts) else Script()
            self._count += 1
            thread = threading.Thread(target=self._serve, args=(connection, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, script: Script) -> None:
        said: list[dict[str, str]] = []
        self.asked.append(said)
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            try:
                if script.silent:
                    while self._open:
                        time.sleep(_TICK)
                elif self._talk(connection, script, said) and script.reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            except (OSError, EOFError):
                pass  # the client has gone

    def _talk(self, connection: socket.socket, script: Script, said: list[dict[str, str]]) -> bool:
        lines = connection.makefile("r", newline="\n")
        challenge = secrets.token_hex(16)
        connection.sendall(f"lsg_version=0.7.2\ncram={challenge}\n".encode())
        said.append(_fields(lines.readline()))
        answer = hashlib.sha256(f"{challenge}|{self.key}".encode()).hexdigest() + f"-{self.key[-5:]}"
        if script.refuse or said[0]["auth"] != answer:
            reason = script.refuse or "User authentication failed."
            connection.sendall(f"success=0|error={reason}\n".encode())
            return False
        assert (said[0]["dataset"], said[0]["encoding"], said[0]["ts_out"]) == (DATASET, "dbn", "0")
        connection.sendall(b"success=1|session_id=42\n")
        while not (line := _fields(lines.readline())).get("start_session"):
            said.append(line)
        self._stream(connection, script, said[1:])
        return True

    def _stream(self, connection: socket.socket, script: Script, asked: list[dict[str, str]]) -> None:
        start = None if "start" not in asked[0] else int(asked[0]["start"])
        wanted = {symbol for line in asked for symbol in line["symbols"].split(",")}
        everything = "ALL_SYMBOLS" in wanted
        begin = max(self.sent, script.aged) if start is None else script.aged
        now = int(self.records["ts_event"][begin:].min(initial=2**63))
        self._send(connection, self.metadata(now if start is None else start))
        self._send(connection, b"".join(
            self.mapping(number, symbol) for number, symbol in self.symbols.items() if everything or symbol in wanted
        ))  # fmt: skip
        if script.error is not None:
            self._send(connection, self.text(script.error[1], script.error[0], error=True))
            return
        self._send(connection, self.text("Subscription request 0 for trades data succeeded", 1))
        records = self.records
        end = len(records) if script.until is None else min(script.until, len(records))
        chosen = np.arange(begin, max(begin, end))
        if start is not None:
            name = self.selects if self.selects in (records.dtype.names or ()) else "ts_event"
            chosen = chosen[records[name][chosen] >= start]
        if script.skip is not None:
            chosen = chosen[(chosen < script.skip[0]) | (chosen >= script.skip[1])]
        if not everything:
            ids = [number for number, symbol in self.symbols.items() if symbol in wanted]
            chosen = chosen[np.isin(records["instrument_id"][chosen], ids)]
        self._records(connection, chosen, script)
        if script.until is None:
            while self._open:
                begun = time.monotonic()
                while self._open and time.monotonic() - begun < self.heartbeat:
                    time.sleep(_TICK)
                self._send(connection, self.text("Heartbeat", 0))
                self.beats += 1
        elif script.junk:
            self._send(connection, script.junk)
            time.sleep(0.2)
        elif script.cut:
            self._send(connection, records[end : end + 1].tobytes()[: script.cut])

    def _records(self, connection: socket.socket, chosen: Array, script: Script) -> None:
        """Send the chosen records in pieces of any size, with other records among them."""
        rng = np.random.default_rng((self.seed, self._count))
        breaks = sorted({0, len(chosen), *rng.integers(0, len(chosen) + 1, 6).tolist()})
        places = {int(np.searchsorted(chosen, at)): (number, symbol) for at, number, symbol in self.mappings}
        for place in places:
            breaks = sorted({*breaks, place})
        skipped = -1 if script.skip is None else int(np.searchsorted(chosen, script.skip[1]))
        breaks = sorted({*breaks, *([skipped] if skipped >= 0 else [])})
        for first, last in zip(breaks, [*breaks[1:], len(chosen)], strict=True):
            extra = self.mapping(*places[first]) if first in places else self.text("Heartbeat", 0)
            if first == skipped:
                extra = self.text("Skipped records after slow reading", 7, error=True)
            held = extra
            for at in range(first, last, 2_000):
                part = chosen[at : min(at + 2_000, last)]
                while self.until is not None and int(part[-1]) >= self.until:
                    time.sleep(_TICK)
                    if not self._open or _hung_up(connection):
                        raise EOFError
                data = held + self.records[part].tobytes()
                cut = int(rng.integers(0, len(data) + 1))
                self._send(connection, data[:cut])
                held = data[cut:]
                self.sent = max(self.sent, int(part[-1]) + 1)
            self._send(connection, held)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        """Send all of some bytes; a reader that takes none for long is warned, then cut off."""
        connection.setblocking(False)
        view = memoryview(data)
        waited = time.monotonic()
        while view:
            _, ready, _ = select.select([], [connection], [], _TICK)
            if not self._open:
                raise EOFError
            if ready:
                view = view[connection.send(view) :]
                waited = time.monotonic()
            elif time.monotonic() - waited > self.patience:
                self.slow += 1
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                raise EOFError

    def metadata(self, start: int) -> bytes:
        """Return what a session begins with."""
        metadata = databento_dbn.Metadata(
            dataset=DATASET, start=start, stype_in=None, stype_out=databento_dbn.SType("instrument_id"), schema=None,
            symbols=[], mappings=[], version=self.version,
        )  # fmt: skip
        return metadata.encode()

    def _record(self, kind: Any, rtype: int, instrument_id: int, **values: object) -> bytes:
        record = np.zeros(1, np.dtype(kind._dtypes))
        record["length"], record["rtype"], record["instrument_id"] = (
            record.itemsize // 4,
            rtype,
            instrument_id,
        )
        record["ts_event"] = self.mapping_time or self.records["ts_event"][:1].max(initial=0)
        for name, value in values.items():
            if name in (record.dtype.names or ()):
                record[name] = value.encode() if isinstance(value, str) else value
        return record.tobytes()

    def mapping(self, instrument_id: int, symbol: str) -> bytes:
        """Return a symbol mapping."""
        kind = databento_dbn.SymbolMappingMsgV1 if self.version == 1 else databento_dbn.SymbolMappingMsg
        return self._record(
            kind, 22, instrument_id, stype_in=1, stype_in_symbol="ASKED", stype_out=1, stype_out_symbol=symbol
        )

    def text(self, text: str, code: int, *, error: bool = False) -> bytes:
        """Return a notice or an error."""
        kind: Any
        if error:
            kind = databento_dbn.ErrorMsgV1 if self.version == 1 else databento_dbn.ErrorMsg
            return self._record(kind, 21, 0, err=text, code=code, is_last=1)
        kind = databento_dbn.SystemMsgV1 if self.version == 1 else databento_dbn.SystemMsg
        return self._record(kind, 23, 0, msg=text, code=code)


def _hung_up(connection: socket.socket) -> bool:
    ready, _, _ = select.select([connection], [], [], 0)
    return bool(ready) and not connection.recv(1, socket.MSG_PEEK)


def _fields(line: str) -> dict[str, str]:
    if not line.endswith("\n"):
        raise EOFError
    return dict(part.split("=", 1) for part in line.rstrip("\n").split("|"))
