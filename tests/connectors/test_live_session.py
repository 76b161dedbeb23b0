"""One connection: what Databento's own client reads, bounded, and ended in every way there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from connectors.live_decoder import LiveDecoder, Run
from connectors.live_session import MOST_WAITING, End, Session
from tapewatch.records import Array
from tapewatch.settings import LiveSettings
from tests.connectors.live_gateway import DATASET, KEY, Gateway, Script

databento = pytest.importorskip("databento")


def settings(gateway: Gateway) -> LiveSettings:
    return LiveSettings(dataset=DATASET, symbols=["ALL_SYMBOLS"], gateway="127.0.0.1", port=gateway.port)


@pytest.fixture
def opened() -> Iterator[Callable[..., Session]]:
    """Return ``opened(gateway, key=KEY, start=None)``, whose sessions end with the test."""
    sessions = []

    def session(gateway: Gateway, key: str = KEY, start: int | None = None) -> Session:
        sessions.append(Session(settings(gateway), key, start))
        return sessions[-1]

    yield session
    for each in sessions:
        each.close()


def ended(session: Session, seconds: float = 200) -> End:
    end = time.monotonic() + seconds
    while session.end is None and time.monotonic() < end:
        time.sleep(0.01)
    assert session.end is not None
    return session.end


def taken(session: Session, count: int, seconds: float = 200) -> Array:
    """Return as many records of a session."""
    decoder, parts, found = LiveDecoder("trades"), [], 0
    end = time.monotonic() + seconds
    while found < count and time.monotonic() < end:
        for item in decoder.feed(session.take(1 << 16)):
            if isinstance(item, Run):
                parts.append(item.records()[0])
                found += len(parts[-1])
        time.sleep(0.001)
    return np.concatenate(parts)


def test_databentos_own_client_reads_the_same_from_the_gateway(
    trades: Any, opened: Callable[..., Session]
) -> None:
    records = trades(1, count=3_000)
    with Gateway(records, {1: "SYM1", 2: "SYM2"}) as gateway:
        assert np.array_equal(taken(opened(gateway), len(records)), records)
        client = databento.Live(KEY, gateway="127.0.0.1", port=gateway.port)
        found: list[bytes] = []
        done = threading.Event()

        def take(record: Any) -> None:
            if isinstance(record, databento.TradeMsg):
                found.append(bytes(record))
                if len(found) == len(records):
                    done.set()

        client.add_callback(take)
        client.subscribe(DATASET, "trades", "ALL_SYMBOLS", start=int(records["ts_event"].min()))
        client.start()
        assert done.wait(200)
        assert client.symbology_map == {1: "SYM1", 2: "SYM2"}
        client.terminate()
        ours, theirs = gateway.asked
    assert b"".join(found) == records.tobytes()
    assert theirs[1].keys() - {"start"} == ours[1].keys()


def test_many_symbols_are_asked_for_in_several_lines(trades: Any) -> None:
    with Gateway(trades(1, count=10), {}) as gateway:
        names = [f"S{number}" for number in range(1_234)]
        session = Session(settings(gateway).model_copy(update={"symbols": names}), KEY, 17)
        end = time.monotonic() + 200
        while (not gateway.asked or len(gateway.asked[0]) < 4) and time.monotonic() < end:
            time.sleep(0.01)
        session.close()
        (asked,) = gateway.asked
    assert [line["is_last"] for line in asked[1:]] == ["0", "0", "1"]
    assert ",".join(line["symbols"] for line in asked[1:]).split(",") == names
    assert {line["start"] for line in asked[1:]} == {"17"}
    assert (asked[0]["slow_reader_behavior"], asked[0]["heartbeat_interval_s"]) == ("warn", "10")


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        (Script(refuse=f"Bad key {KEY}\x1b[2J"), "refused", "Bad key ...[2J"),
        (Script(until=5), "ended", ""),
        (Script(until=5, cut=10), "ended", ""),
        (Script(until=5, reset=True), "lost", "Connection reset by peer"),
    ],
)
def test_every_end_is_told_without_the_key(
    script: Script, kind: str, text: str, trades: Any, opened: Callable[..., Session]
) -> None:
    with Gateway(trades(1, count=10), {}, scripts=[script]) as gateway:
        assert ended(opened(gateway)) == End(kind, text)  # type: ignore[arg-type]


def test_another_key_is_refused(trades: Any, opened: Callable[..., Session]) -> None:
    with Gateway(trades(1, count=10), {}) as gateway:
        end = ended(opened(gateway, key="db-" + "x" * 29))
    assert (end.kind, end.text) == ("refused", "User authentication failed.")


def test_nobody_there_is_told(trades: Any, opened: Callable[..., Session]) -> None:
    with Gateway(trades(1, count=1), {}) as gateway:
        pass
    assert ended(opened(gateway)).kind == "lost"


def test_what_is_no_gateway_is_told(
    opened: Callable[..., Session], capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    server = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            time.sleep(1)

    thread = threading.Thread(target=greet)
    thread.start()
    where = LiveSettings(dataset=DATASET, symbols=["A"], gateway="127.0.0.1", port=server.getsockname()[1])
    session = Session(where, KEY, None)
    assert ended(session) == End("lost", "no gateway, or it hung up at once")
    thread.join()
    server.close()
    assert capfd.readouterr().err == ""


def test_a_silent_connection_is_given_up(
    trades: Any, opened: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.live_session._SILENCE_SECONDS", 0.5)
    monkeypatch.setattr("connectors.live_session._AUTHENTICATE_SECONDS", 0.5)
    with Gateway(trades(1, count=5), {}, scripts=[Script(silent=True)], heartbeat=30) as gateway:
        assert ended(opened(gateway)).text.startswith("no challenge")
        monkeypatch.undo()
        monkeypatch.setattr("connectors.live_session._SILENCE_SECONDS", 0.5)
        assert ended(opened(gateway)).text.startswith("nothing was heard")


def test_heartbeats_keep_a_connection(
    trades: Any, opened: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.live_session._SILENCE_SECONDS", 1.0)
    with Gateway(trades(1, count=5), {}, heartbeat=0.2) as gateway:
        # A session in which nothing was heard for a second because the machine stood still is followed by another.
        for _ in range(5):
            session, wanted = opened(gateway), gateway.beats + 16
            while session.end is None and gateway.beats < wanted:
                time.sleep(0.01)
            if session.end is None:
                return
        pytest.fail("heartbeats do not keep a connection")


def test_closing_ends_the_thread_whatever_it_waits_for(trades: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.live_session._CLOSE_SECONDS", 200.0)
    monkeypatch.setattr("connectors.live_session._AUTHENTICATE_SECONDS", 1_000.0)
    monkeypatch.setattr("connectors.live_session._SILENCE_SECONDS", 1_000.0)
    with Gateway(trades(1, count=5), {}, scripts=[Script(), Script(silent=True)], heartbeat=1_000) as gateway:
        for _ in range(2):
            before = threading.active_count()
            session = Session(settings(gateway), KEY, None)
            time.sleep(0.2)
            session.close()
            assert session.end == End("closed")
            assert threading.active_count() <= before + 1  # the gateway's own


def test_a_slow_reader_is_warned_first_and_holds_no_more_than_it_may(
    trades: Any,
    opened: Callable[..., Session],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The gateway notices that nothing is taken; once something is, all comes."""
    monkeypatch.setattr("connectors.live_session.log.propagate", True)
    records = np.tile(trades(1, count=100_000), 15)
    assert records.nbytes > 2 * MOST_WAITING
    with Gateway(records, {}) as gateway:
        session = opened(gateway)
        end = time.monotonic() + 200
        while session._size < MOST_WAITING or not caplog.records:
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.5)
        assert MOST_WAITING <= session._size < MOST_WAITING + (1 << 17)
        assert session.warnings == 1
        assert any("do not keep up" in record.getMessage() for record in caplog.records)
        assert gateway.sent < len(records)
        assert np.array_equal(taken(session, len(records)), records)
        assert session.end is None
