"""The settings section ``metrics``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


def visible(token: SecretStr | None) -> SecretStr | None:
    """Return a token that a header can carry, None if it is empty."""
    if token is None or not token.get_secret_value():
        return None
    if re.fullmatch(r"[!-~]+", token.get_secret_value()) is None:
        msg = "must be visible ASCII characters"
        raise ValueError(msg)
    return token


class MetricsSettings(BaseModel):
    """Where a flow's process serves its metrics, and the token it asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(0, ge=0, le=65_535)
    token: Annotated[SecretStr | None, AfterValidator(visible)] = Field(
        None, description="visible ASCII characters without spaces"
    )
