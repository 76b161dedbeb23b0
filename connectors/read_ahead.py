"""Reading ahead: an iterator's next items are made by a thread while the last ones are used."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds that a thread waits for the interpreter's lock before it asks for it. Python's own 5 ms are half of
#: what a block takes to make, and would be waited several times for each.
_PATIENCE = 0.001


class ReadAhead(Generic[T]):
    """An iterator that runs another one in a thread, one item ahead.

    The next item is begun when the one before it is taken: no more than one waits.

    Worth it where making an item releases the interpreter's lock, as decompressing and large arrays do.

    Parameters
    ----------
    items
        What is to be iterated.
    then
        Called in the thread with each item that nobody waited for, which may be taken meanwhile: what can be
        done here or there.

    Examples
    --------
    >>> list(ReadAhead(iter(range(5))))
    [0, 1, 2, 3, 4]
    """

    def __init__(self, items: Iterator[T], then: Callable[[T], None] | None = None) -> None:
        sys.setswitchinterval(min(sys.getswitchinterval(), _PATIENCE))
        self._items, self._then = items, then
        self._queue: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
        self._wanted = threading.Semaphore()
        self._awaited = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tapewatch-read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            while self._wanted.acquire() and not self._closed:
                item = next(self._items)
                self._queue.put((item,))
                if self._then is not None and not self._awaited:
                    self._then(item)
        except StopIteration:
            pass
        except BaseException as error:
            last = error
        self._queue.put(last)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        self._awaited = True
        item = self._queue.get()
        self._awaited = False
        if isinstance(item, tuple):
            self._wanted.release()
            return item[0]
        self._closed = True
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._closed = True
        self._wanted.release()
        self._thread.join()
