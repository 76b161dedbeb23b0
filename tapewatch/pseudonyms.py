"""Names in place of user ids: a keyed hash, so that only who has the key can tell whose a name is.

HMAC-SHA-256 (RFC 2104) of the id, cut to 128 bits: always the same for a user, and not to be guessed by
hashing the ids there are, as long as the key is secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from sys import intern

from tapewatch.errors import UserError
from tapewatch.settings import TransactionSettings

#: Users whose names are remembered, so that those who pay often are hashed seldom.
_REMEMBERED = 100_000
_DIGITS = 32


class Pseudonyms:
    """Gives users their names.

    Parameters
    ----------
    key
        The secret.

    Examples
    --------
    >>> names = Pseudonyms(b"a key of sixteen bytes or more")
    >>> names.of("ana") == names.of("ana") != names.of("ben")
    True
    >>> len(names.of("ana"))
    32
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def of(self, user: str) -> str:
        """Return a user's name: 32 hex digits."""
        name = self._known.get(user)
        if name is None:
            name = intern(hmac.digest(self._key, user.encode(), "sha256").hex()[:_DIGITS])
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[user] = name
        return name

    def all_of(self, users: Iterable[str]) -> list[str]:
        """Return the name of each user."""
        return [self.of(user) for user in users]


def pseudonyms_of(settings: TransactionSettings) -> Pseudonyms | None:
    """Return how users are named, None if they keep their ids.

    Raises
    ------
    UserError
        If they are to have names and there is no key.
    """
    if not settings.pseudonymise:
        return None
    if settings.pseudonym_key is None:
        raise UserError(
            "`transactions.pseudonymise` needs a key of at least 16 characters in the environment: "
            "TAPEWATCH_TRANSACTIONS__PSEUDONYM_KEY"
        )
    return Pseudonyms(settings.pseudonym_key.get_secret_value().encode())
