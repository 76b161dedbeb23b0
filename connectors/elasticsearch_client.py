"""The connection to Elasticsearch: how it is made, and what its errors mean to a person."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Seconds that a request may take.
REQUEST_SECONDS = 60.0
_SERVERS = (8, 9)
_KEY = "sinks.elasticsearch"


def connect(settings: ElasticsearchSettings, request_seconds: float = REQUEST_SECONDS) -> Elasticsearch:
    """Return a client that never repeats a request by itself; nothing is sent yet.

    Raises
    ------
    UserError
        If the client library is not installed, or what the settings say of who we are does not fit together.
    """
    try:
        from elasticsearch import Elasticsearch, SerializationError
        from elasticsearch.serializer import JsonSerializer
    except ImportError:
        raise UserError(
            'Elasticsearch needs its client library: pip install "elasticsearch>=8.19,<9"'
        ) from None

    class Json(JsonSerializer):
        def loads(self, data: bytes) -> Any:  # noqa: ANN401 - any JSON
            try:
                return orjson.loads(data)
            except orjson.JSONDecodeError as error:
                raise SerializationError("the answer is no JSON") from error

    # It tells of failed requests in its own words; we do in ours.
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {
        "request_timeout": request_seconds,
        "max_retries": 0,
        "retry_on_timeout": False,
        "serializers": {Json.mimetype: Json(), "application/vnd.elasticsearch+json": Json()},
        **_who_we_are(settings),
    }
    parts = urlsplit(settings.url)
    if parts.scheme == "https":
        options["ssl_context"] = tls(settings.ca_certs)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return Elasticsearch(f"{parts.scheme}://{host}:{port}{parts.path}", **options)


def _who_we_are(settings: ElasticsearchSettings) -> dict[str, Any]:
    key, password = settings.api_key.get_secret_value(), settings.password.get_secret_value()
    if key and (settings.username or password):
        raise UserError(f"`{_KEY}.api_key` and `{_KEY}.username` are both set; one of them is enough")
    if bool(settings.username) != bool(password):
        missing, given = ("password", "username") if settings.username else ("username", "password")
        raise UserError(f"`{_KEY}.{given}` is set, but not `{_KEY}.{missing}`")
    if not (key + password).isascii() or not (key + password + settings.username).isprintable():
        raise UserError(f"`{_KEY}.api_key` and `{_KEY}.password` must be printable ASCII")
    if key:
        return {"api_key": key}
    return {"basic_auth": (settings.username, password)} if password else {}


def tls(ca_certs: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file, or those of the system for an empty name."""
    if not ca_certs:
        return ssl.create_default_context()
    if not Path(ca_certs).is_file():
        raise UserError(f"`{_KEY}.ca_certs` is {ca_certs}, which is no file")
    try:
        return ssl.create_default_context(cafile=ca_certs)
    except (ssl.SSLError, OSError):
        raise UserError(f"`{_KEY}.ca_certs` is {ca_certs}, which holds no certificates in PEM form") from None


def check_server(client: Elasticsearch, settings: ElasticsearchSettings) -> str:
    """Return the version of a server that we can talk to, empty if it does not let us know.

    Raises
    ------
    UserError
        One line if it does not answer, does not let us in, or is another program or version.
    """
    with explained(settings):
        import elasticsearch

        try:
            version: str = client.info()["version"]["number"]
        except elasticsearch.AuthorizationException:
            return ""
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) not in _SERVERS:
        raise UserError(f"`{_KEY}.url` {settings.url} is Elasticsearch {version}; versions 8 and 9 will do")
    return version


@contextmanager
def explained(settings: ElasticsearchSettings) -> Iterator[None]:
    """Turn what the client raises into a `UserError` of one line that says what to do."""
    import elasticsearch

    try:
        yield
    except (elasticsearch.ApiError, elasticsearch.TransportError) as error:
        raise UserError(explain(error, settings)) from None


def explain(error: Exception, settings: ElasticsearchSettings) -> str:
    """Return one line on what is wrong with the server and what to do; never a secret."""
    import elasticsearch

    place = f"`{_KEY}.url` {settings.url}"
    if isinstance(error, elasticsearch.UnsupportedProductError):
        return f"{place} is another program than Elasticsearch"
    if isinstance(error, elasticsearch.SSLError):
        words = _tls_words(error)
        return f"{place} cannot be trusted: {words}; `{_KEY}.ca_certs` names the authorities to trust"
    if isinstance(error, elasticsearch.ConnectionTimeout):
        return f"{place} did not answer in time; look at the server's log"
    if isinstance(error, elasticsearch.TransportError):
        return (
            f"{place} does not answer: {_connection_words(error)}; start Elasticsearch or correct the address"
        )
    if isinstance(error, elasticsearch.AuthenticationException):
        return f"{place} does not let us in (401): {_credentials(settings)}"
    if isinstance(error, elasticsearch.AuthorizationException):
        what = _reason(error)
        return f"{place} forbids it (403): {what}; grant what docs/elasticsearch.md lists"
    if isinstance(error, elasticsearch.ApiError):
        return f"{place} answered {error.meta.status}: {_reason(error)}"
    return f"{place} failed: {type(error).__name__}"


def _credentials(settings: ElasticsearchSettings) -> str:
    if settings.api_key.get_secret_value():
        return f"`{_KEY}.api_key` is not valid there"
    if settings.username:
        return f"`{_KEY}.username` {settings.username!r} and its password are not valid there"
    return f"it wants `{_KEY}.api_key`, or `{_KEY}.username` and `.password`"


def _message(error: Exception) -> str:
    return str(getattr(error, "message", error))


def _tls_words(error: Exception) -> str:
    found = re.search(r"certificate verify failed: ([^(\"']+)", _message(error))
    return found[1].strip() if found else "TLS failed; is it https that the server speaks there?"


def _connection_words(error: Exception) -> str:
    text = _message(error)
    for sign, words in (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "no such host"),
        ("nodename nor servname", "no such host"),
        ("Temporary failure in name resolution", "no such host"),
        ("No route to host", "no route to host"),
        ("RemoteDisconnected", "it hangs up; is it https that the server speaks there?"),
        ("Connection reset", "connection reset"),
        ("no JSON", "its answer is no JSON"),
        ("IncompleteRead", "its answer breaks off"),
    ):
        if sign in text:
            return words
    return type(error).__name__


def _reason(error: Exception) -> str:
    body = getattr(error, "body", None)
    found = body.get("error") if isinstance(body, dict) else None
    if isinstance(found, dict):
        text = f"{found.get('type', '')}: {found.get('reason', '')}"
    else:
        text = str(found or body or error)
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:297]}..."
