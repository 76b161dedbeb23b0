"""Who calls, and what they may do: bearer tokens of the settings, and JSON Web Tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tapewatch.errors import UserError
from tapewatch.settings_api import SCOPES, ApiSettings, Scope

_LONGEST_JWT = 8_192
#: Bytes that a shared key must have (RFC 7518, section 3.2).
_SHORTEST_KEY = {"HS256": 32, "HS384": 48, "HS512": 64}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by a name that is no secret, and what they may do."""

    name: str
    scopes: frozenset[str]


#: Everybody, where nothing is asked for.
ANYBODY = Caller("", frozenset(SCOPES))


def scope_of(method: str, path: str) -> Scope:
    """Return what a caller must be allowed to do for a request.

    >>> scope_of("GET", "/api/reviews"), scope_of("POST", "/api/reviews"), scope_of("POST", "/predict")
    ('read', 'review', 'score')
    """
    if path in ("/predict", "/predict/batch"):
        return "score"
    if path in ("/start", "/stop"):
        return "control"
    if path == "/api/reviews" and method == "POST":
        return "review"
    return "read"


class Access:
    """Tells callers by the header ``Authorization``.

    Parameters
    ----------
    settings
        The section ``api``: ``token`` opens everything, each of ``tokens`` its scopes, and a JSON Web Token
        of the trusted issuer what its claim ``scope`` says.

    Raises
    ------
    UserError
        If the library that checks JSON Web Tokens, or what its algorithm needs, is not installed.
    """

    def __init__(self, settings: ApiSettings) -> None:
        # By their hashes: how long a comparison takes tells nothing of the tokens.
        self._callers: dict[bytes, Caller] = {}
        for name, token in settings.tokens.items():
            self._callers[_hash(token.secret.get_secret_value())] = Caller(
                f"token {name}", frozenset(token.scopes)
            )
        if settings.token is not None:
            self._callers[_hash(settings.token.get_secret_value())] = Caller("api.token", frozenset(SCOPES))
        self._jwt = None if settings.jwt.key is None else _Jwt(settings)

    @property
    def open(self) -> bool:
        """Whether nothing is asked for."""
        return not self._callers and self._jwt is None

    def caller(self, authorization: str) -> Caller | None:
        """Return who calls, None if the header does not say so rightly."""
        if self.open:
            return ANYBODY
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            return None
        found = self._callers.get(_hash(given))
        if found is None and self._jwt is not None and len(given) <= _LONGEST_JWT:
            return self._jwt.caller(given)
        return found


class _Jwt:
    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings.jwt
        secret = "" if settings.jwt.key is None else settings.jwt.key.get_secret_value()
        least = _SHORTEST_KEY.get(settings.jwt.algorithm, 0)
        if len(secret.encode()) < least:
            raise UserError(f"`api.jwt.key` must have at least {least} bytes for {settings.jwt.algorithm}")
        try:
            import jwt

            algorithm = jwt.get_algorithm_by_name(self._settings.algorithm)
            self._key: Any = algorithm.prepare_key(secret)
        except ImportError:
            raise UserError('`api.jwt.key` needs PyJWT: pip install "tapewatch[api]"') from None
        except NotImplementedError:
            raise UserError(
                f"`api.jwt.algorithm` {self._settings.algorithm} needs the library cryptography: "
                "pip install cryptography"
            ) from None
        except Exception:
            # What the library says of a key may show it.
            raise UserError(
                f"`api.jwt.key` is no key of the algorithm {self._settings.algorithm}; "
                "it must be the issuer's secret, or public key in PEM"
            ) from None
        self._decode = jwt.decode
        self._error = jwt.PyJWTError

    def caller(self, token: str) -> Caller | None:
        wanted = self._settings
        try:
            claims = self._decode(
                token,
                self._key,
                algorithms=[wanted.algorithm],
                audience=wanted.audience or None,
                issuer=wanted.issuer or None,
                options={"require": ["exp"], "verify_aud": bool(wanted.audience)},
            )
        except (self._error, ValueError, TypeError):
            return None
        told = claims.get("scope", "")
        scopes = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
        return Caller(f"jwt {claims.get('sub', '')}"[:200], frozenset(SCOPES) & {str(s) for s in scopes})


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
