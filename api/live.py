"""``WS /ws``: bars, scores and anomalies as they come into the store."""

from __future__ import annotations

import contextlib
import time

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from connectors.watch import Watch, open_watch
from tapewatch.settings import Settings

#: Streams at one time; each looks at the store for itself, so that a slow client keeps up nobody else.
MOST_STREAMS = 16
#: A look is followed by a pause this many times as long, so that a stream takes a fifth of a core at most.
_PAUSE_PER_LOOK = 4.0
_TRY_AGAIN_LATER = 1013


def live(settings: Settings) -> APIRouter:
    """Return the route that streams what comes into the store of the settings."""
    routes = APIRouter()
    streams: set[WebSocket] = set()

    @routes.websocket("/ws")
    async def stream(socket: WebSocket) -> None:
        """Send each new or changed bar, score and anomaly as a JSON text with its kind as `document`."""
        if len(streams) >= MOST_STREAMS:
            await socket.accept()
            await socket.close(_TRY_AGAIN_LATER, f"there are {MOST_STREAMS} streams already")
            return
        streams.add(socket)
        try:
            watch = await anyio.to_thread.run_sync(open_watch, settings)
            try:
                await socket.accept()
                await _until_it_closes(socket, watch)
            finally:
                watch.close()
        finally:
            streams.discard(socket)

    return routes


async def _until_it_closes(socket: WebSocket, watch: Watch) -> None:
    async with anyio.create_task_group() as both:

        async def receive() -> None:
            # Nothing is expected of the client but that it goes.
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
            both.cancel_scope.cancel()

        async def send() -> None:
            with contextlib.suppress(WebSocketDisconnect):
                await _send(socket, watch)
            both.cancel_scope.cancel()

        both.start_soon(receive)
        both.start_soon(send)


async def _send(socket: WebSocket, watch: Watch) -> None:
    while True:
        begun = time.monotonic()
        changes = await anyio.to_thread.run_sync(watch.changes)
        took = time.monotonic() - begun
        for document in changes:
            await socket.send_text(orjson.dumps(document).decode())
        if not watch.more:
            await anyio.sleep(max(watch.seconds_between_looks, _PAUSE_PER_LOOK * took))
