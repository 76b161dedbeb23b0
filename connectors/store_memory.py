"""Answers of a store, remembered as long as what it holds has not changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Memory(Generic[Answer]):
    """The newest answers to questions of one version of a store.

    Parameters
    ----------
    most
        How many answers are kept; the one that was not asked for the longest time goes first.

    Examples
    --------
    >>> memory = Memory[int](most=10)
    >>> [memory.at("version 1").answer("how many?", ask) for ask in (lambda: 3, lambda: 4)]
    [3, 3]
    >>> memory.at("version 2").answer("how many?", lambda: 4)
    4
    """

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._now = Version[Answer](None, most)

    def at(self, version: Hashable) -> Version[Answer]:
        """Return the answers of this version; those of any other are forgotten."""
        if self._now.name != version:
            self._now = Version(version, self._most)
        return self._now

    @property
    def now(self) -> Version[Answer]:
        """The answers of the version that was named last."""
        return self._now


class Version(Generic[Answer]):
    """The answers of one version; an answer that comes late stays with the version it was asked of."""

    def __init__(self, name: Hashable, most: int) -> None:
        self.name = name
        self._most = most
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()

    def answer(
        self, question: Hashable, ask: Callable[[], Answer], keep: Callable[[Answer], bool] = lambda _: True
    ) -> Answer:
        """Return an answer, asking only if it is not known; ``keep`` says whether it may be kept."""
        known = self._answers.pop(question, None)
        answer = ask() if known is None else known
        if known is not None or keep(answer):
            self._answers[question] = answer
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return answer
