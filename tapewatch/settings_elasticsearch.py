"""The settings section ``sinks.elasticsearch``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


def _server(text: str) -> str:
    try:
        parts = urlsplit(text)
        bare = not (parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0)
    except ValueError:
        bare = False
    plain = text.isascii() and text.isprintable() and " " not in text
    if not (bare and plain and parts.scheme in ("http", "https") and parts.hostname):
        msg = "is no such address"
        raise ValueError(msg)
    return text.rstrip("/")


_ADDRESS = "an address such as https://host:9200, without user or password"


class ElasticsearchSettings(BaseModel):
    """Elasticsearch, and Kibana beside it. The API key and the password come from the environment only."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    url: Annotated[str, AfterValidator(_server)] = Field("http://127.0.0.1:9200", description=_ADDRESS)
    api_key: SecretStr = SecretStr("")
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_certs: str = ""
    index_prefix: str = Field(
        "tapewatch",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="at most 63 of a-z, 0-9, _ and -, the first a letter or digit",
    )
    retention_days: int = Field(0, ge=0, le=36_500)
    kibana_url: Annotated[str, AfterValidator(_server)] = Field("http://127.0.0.1:5601", description=_ADDRESS)
