"""Decayed counts of the words that one user uses: places, merchants, methods; few of each, the rarest go."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

#: Words of a kind that are remembered.
_MOST_WORDS = 12
Counts: TypeAlias = dict[str, float]


def surprise(counts: Counts, word: str | None) -> float:
    """Return how surprising a word is, in nats; 0 where nothing is known."""
    if word is None or not counts:
        return 0.0
    return -math.log((counts.get(word, 0.0) + 0.5) / (sum(counts.values()) + 1.0))


def count_word(counts: Counts, word: str) -> None:
    """Count a word once more.

    >>> known = {"DE": 3.0}
    >>> count_word(known, "FR")
    >>> known
    {'DE': 3.0, 'FR': 1.0}
    """
    if word not in counts:
        make_room(counts, word, lambda value: value)
        counts[word] = 1.0
    else:
        counts[word] += 1.0


def make_room(counts: dict[str, Any], word: str, size: Any) -> None:  # noqa: ANN401 - a function of a value
    """Forget the rarest word if there are too many; of equal ones that which came first."""
    if len(counts) >= _MOST_WORDS and word not in counts:
        del counts[min(counts, key=lambda known: size(counts[known]))]
