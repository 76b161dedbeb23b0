"""Reading ahead: an iterator's next items are made by a thread while the last ones are used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
#: Made and not yet taken; one more is in the making.
_ITEMS = 1


class ReadAhead(Generic[T]):
    """An iterator that runs another one in a thread, two items ahead.

    Worth it where making an item releases the interpreter's lock, as decompressing and large arrays do.

    Examples
    --------
    >>> list(ReadAhead(iter(range(5))))
    [0, 1, 2, 3, 4]
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(_ITEMS)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tapewatch-read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
        except BaseException as error:
            last = error
        self._put(last)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._closed.is_set():
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, tuple):
            return item[0]
        self._closed.set()
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._closed.set()
        self._thread.join()
