"""The settings section ``api``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from tapewatch.settings_json import from_json
from tapewatch.settings_metrics import visible

#: What a caller may do: ask for results, have transactions judged, review, start and stop flows.
Scope = Literal["read", "score", "review", "control"]
SCOPES: tuple[Scope, ...] = ("read", "score", "review", "control")


def _each_once(values: list[Scope]) -> list[Scope]:
    return list(dict.fromkeys(values))


def _none_if_empty(key: SecretStr | None) -> SecretStr | None:
    return key if key is not None and key.get_secret_value() else None


def _needed(token: SecretStr) -> SecretStr:
    known = visible(token)
    if known is None:
        msg = "must not be empty"
        raise ValueError(msg)
    return known


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class TokenSettings(_Section):
    """A bearer token of one caller, and what it opens."""

    secret: Annotated[SecretStr, AfterValidator(_needed)]
    scopes: Annotated[
        list[Scope], BeforeValidator(from_json), AfterValidator(_each_once), Field(min_length=1)
    ]


class JwtSettings(_Section):
    """JSON Web Tokens of an issuer who is trusted; they are taken once there is a key."""

    key: Annotated[SecretStr | None, AfterValidator(_none_if_empty)] = Field(
        None, description="the issuer's key"
    )
    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"] = "HS256"
    audience: str = Field("", max_length=200)
    issuer: str = Field("", max_length=200)


_Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,253}$")]


class ApiSettings(_Section):
    """What ``python -m api`` listens on, and who may do what there, how often."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65_535)
    token: Annotated[SecretStr | None, AfterValidator(visible)] = Field(
        None, description="visible ASCII characters without spaces"
    )
    tokens: Annotated[dict[str, TokenSettings], BeforeValidator(from_json), Field(max_length=1_000)] = Field(
        {},
        description="a table of callers with their `secret` and `scopes`",
        examples=[{"grafana": {"secret": "...", "scopes": ["read"]}}],
    )
    jwt: JwtSettings = JwtSettings()
    requests_per_second: float = Field(500.0, ge=0, le=1e6)
    burst: int = Field(1_000, ge=1, le=1_000_000)
    cors_origins: Annotated[list[_Origin], BeforeValidator(from_json), Field(max_length=100)] = Field(
        [], description="a list of origins", examples=[["https://desk.example"]]
    )

    @property
    def secret(self) -> SecretStr | None:
        """Some secret that callers must bring, None if anybody may do anything."""
        named = next((token.secret for token in self.tokens.values()), None)
        return self.token or named or self.jwt.key
