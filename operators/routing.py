"""Names of the states of a partition's shards, chosen so that they fall evenly on the workers.

Bytewax keeps a state on the worker whose number is the hash of its key (the 64-bit SipHash-1-3 of Rust's
standard library; Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) modulo their number. Keys
that are merely different seldom fall evenly. These do, on 2, 3, 4, 6, 8, 12 or 24 workers; and where the
partitions can be divided among the workers, a partition's states lie where it is read, so that no record has
to be handed over. The names do not depend on how many workers there are: a recovery store serves any number.
"""

from __future__ import annotations

import numpy as np

from tapewatch.records import Array, Home

#: Workers among which names can be spread evenly: every divisor of this.
_EVEN = 24
#: Endings that are tried; that none of them fits has a probability of one in fifty thousand.
_ENDINGS = [f"{number:02x}" for number in range(256)]
#: The words SipHash begins with; Rust's keys are zeros.
_BEGIN = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
#: Rust ends a text with this byte.
_END_OF_TEXT = b"\xff"


def state_names(partition: str, shards: int, home: Home) -> list[str]:
    """Return the key of each shard's state.

    Parameters
    ----------
    partition
        The source partition.
    shards
        Into how many it is split.
    home
        Where it stands among the partitions that are read. Bytewax gives the partition ``number`` to the
        worker of that number, modulo their number.

    Examples
    --------
    >>> names = state_names("trades/1", 4, Home(1, 4))
    >>> names
    ['trades/1/0.7c', 'trades/1/1.36', 'trades/1/2.0a', 'trades/1/3.17']
    >>> [int(sip_hash(np.array([[*name.encode()]], np.uint8))[0] % 4) for name in names]
    [1, 1, 1, 1]
    """
    digits = len(str(shards - 1))
    heads = [f"{partition}/{shard:0{digits}d}." for shard in range(shards)]
    texts = "".join(head + ending for head in heads for ending in _ENDINGS).encode()
    hashes = sip_hash(np.frombuffer(texts, np.uint8).reshape(shards * len(_ENDINGS), -1))
    wanted = (home.number + home.of * np.arange(shards)) % _EVEN
    fits = (hashes % np.uint64(_EVEN)).reshape(shards, -1) == wanted.astype(np.uint64)[:, None]
    return [head + _ENDINGS[place] for head, place in zip(heads, fits.argmax(axis=1).tolist(), strict=True)]


def sip_hash(texts: Array) -> Array:
    """Return Rust's hash of each text, uint64, shape ``(n,)``; of bytes of UTF-8, shape ``(n, length)``."""
    count, length = texts.shape
    length += len(_END_OF_TEXT)
    padded = np.zeros((count, length // 8 * 8 + 8), np.uint8)
    padded[:, : texts.shape[1]] = texts
    padded[:, texts.shape[1] : length] = np.frombuffer(_END_OF_TEXT, np.uint8)
    padded[:, -1] = length & 0xFF
    state = [np.full(count, word, np.uint64) for word in _BEGIN]
    for word in padded.view("<u8").T:
        state[3] ^= word
        _round(state)
        state[0] ^= word
    state[2] ^= np.uint64(0xFF)
    for _ in range(3):
        _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(state: list[Array]) -> None:
    state[0] += state[1]
    state[1] = _turned(state[1], 13) ^ state[0]
    state[0] = _turned(state[0], 32)
    state[2] += state[3]
    state[3] = _turned(state[3], 16) ^ state[2]
    state[0] += state[3]
    state[3] = _turned(state[3], 21) ^ state[0]
    state[2] += state[1]
    state[1] = _turned(state[1], 17) ^ state[2]
    state[2] = _turned(state[2], 32)


def _turned(words: Array, bits: int) -> Array:
    return words << np.uint64(bits) | words >> np.uint64(64 - bits)
