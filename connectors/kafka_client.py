"""Connections to Kafka: what librdkafka is told, and in one line what is wrong when nobody answers."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.settings import KafkaSettings

try:
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:
    raise UserError(
        "Kafka needs libraries that are not installed; `pip install 'tapewatch[kafka]'`"
    ) from None

#: Seconds to wait for a first answer of any broker.
PATIENCE = 30.0
_REPLICAS = 3
#: Properties that other settings decide, or that the results depend on.
_OURS = {
    "bootstrap.servers": "kafka.brokers",
    "metadata.broker.list": "kafka.brokers",
    "group.id": "kafka.group",
    "auto.offset.reset": "kafka.start",
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "enable.partition.eof": "",
    "enable.idempotence": "",
    "transactional.id": "",
    "acks": "",
    "request.required.acks": "",
    "partitioner": "",
}
_SECRET = re.compile(r"password|secret|\.key|\.pem|oauthbearer\.config|token", re.IGNORECASE)
_CREDENTIALS = re.compile(r"://[^/@\s]*@")
_TRAIL = re.compile(r" \(after \d+ms in state .*\)$")
_REFUSED = {
    ck.KafkaError._AUTHENTICATION: "check sasl.mechanism, sasl.username and sasl.password",
    ck.KafkaError._SSL: "check security.protocol and ssl.ca.location",
}
_ALL_DOWN = ck.KafkaError._ALL_BROKERS_DOWN

Client = TypeVar("Client")


def configuration(settings: KafkaSettings, **own: str | bool | int) -> dict[str, Any]:
    """Return the properties of a client: ``kafka.options``, and ours over them with ``_`` for each dot.

    Raises
    ------
    UserError
        If ``kafka.options`` has a property that another setting decides, or that must be as it is.

    >>> configuration(KafkaSettings(brokers="kafka:9092"), group_id="lag")["group.id"]
    'lag'
    """
    for name in settings.options:
        if name in _OURS:
            instead = f"set `{_OURS[name]}`" if _OURS[name] else "it must stay as it is"
            raise UserError(f"`kafka.options` has {name}; {instead}")
    return {
        "client.id": "tapewatch",
        **settings.options,
        "bootstrap.servers": settings.brokers,
        **{name.replace("_", "."): value for name, value in own.items()},
    }


def open_client(
    kind: Callable[[dict[str, Any]], Client], properties: dict[str, Any], errors: Errors
) -> Client:
    """Return a client (``Consumer``, ``Producer``, ``AdminClient``) that tells ``errors`` of its troubles.

    Raises
    ------
    UserError
        If librdkafka does not take the properties.
    """
    debugging = "debug" in properties
    try:
        return kind({**properties, "error_cb": errors, "logger": log if debugging else _SILENT})
    except ck.KafkaException as error:
        raise UserError(f"`kafka.options` cannot be used: {errors.cleaned(error.args[0].str())}") from None


def _silent() -> logging.Logger:
    logger = logging.getLogger("tapewatch.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


_SILENT = _silent()


class Errors:
    """What a client says of its connections: each outage is logged once, a refusal is remembered.

    Parameters
    ----------
    settings
        Where the client connects to; secrets in its options are cut from all that is said.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._secrets = [str(v) for name, v in settings.options.items() if _SECRET.search(name) and str(v)]
        self._last = ""
        self._down = False
        #: Whether outages are worth a line: not while a first answer is awaited.
        self.told = False
        self.refusal: str | None = None

    def __call__(self, error: ck.KafkaError) -> None:
        """Take note of what librdkafka says."""
        if error.code() == _ALL_DOWN:
            if self.told and not self._down:
                log.warning(
                    "no broker of %s answers (%s); trying on", self._brokers, self._last or "no reason given"
                )
            self._down = True
            return
        self._last = self.cleaned(error.str())
        if error.code() in _REFUSED:
            self.refusal = (
                f"`kafka.options` does not fit {self._brokers}: {self._last} ({_REFUSED[error.code()]})"
            )

    def answered(self) -> None:
        """Take note that a broker has answered."""
        if self._down and self.told:
            log.info("%s answers again", self._brokers)
        self._down, self._last = False, ""

    @property
    def _brokers(self) -> str:
        return _CREDENTIALS.sub("://...@", self._settings.brokers)

    def cleaned(self, text: str) -> str:
        """Return a message of librdkafka without secrets, and without what only its authors need."""
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return _CREDENTIALS.sub("://...@", _TRAIL.sub("", text))

    def unreachable(self) -> UserError:
        """Return the error to raise when nobody has answered."""
        if self.refusal is not None:
            return UserError(self.refusal)
        why = self._last or "no answer; is security.protocol in `kafka.options` what that listener speaks?"
        return UserError(f"`kafka.brokers` is {self._brokers}, where no broker answers: {why}")


def metadata(client: Any, errors: Errors, topic: str | None = None, patience: float = PATIENCE) -> Any:  # noqa: ANN401 - untyped library
    """Return the cluster's metadata.

    Raises
    ------
    UserError
        If no broker answers in ``patience`` seconds, or one refuses us.
    """
    end = time.monotonic() + patience
    while True:
        try:
            found = (
                client.list_topics(timeout=1.0) if topic is None else client.list_topics(topic, timeout=1.0)
            )
        except ck.KafkaException as error:
            client.poll(0)
            if errors.refusal is not None or time.monotonic() > end:
                raise errors.unreachable() from error
        else:
            errors.answered()
            return found


def partitions(settings: KafkaSettings, topic: str) -> int:
    """Return the number of a topic's partitions, 0 if there is no such topic.

    Raises
    ------
    UserError
        If no broker answers, or we may not look at the topic.
    """
    errors = Errors(settings)
    return _count(open_client(AdminClient, configuration(settings), errors), errors, topic)


def _count(client: AdminClient, errors: Errors, topic: str) -> int:
    found = metadata(client, errors).topics.get(topic)
    if found is None:
        # What is not listed may still be forbidden, and a broker says so only when asked for it.
        found = metadata(client, errors, topic).topics[topic]
    if found.error is None:
        return len(found.partitions)
    if found.error.code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
        return 0
    raise UserError(f"the topic {topic} cannot be used: {errors.cleaned(found.error.str())}")


def ensure_topic(
    settings: KafkaSettings, topic: str, count: int = -1, config: dict[str, str] | None = None
) -> int:
    """Create a topic unless it is there, and return the number of its partitions.

    It has as many replicas as there are brokers, at most three.

    Parameters
    ----------
    settings
        How to reach the brokers.
    topic
        Its name.
    count
        Partitions of a new topic; -1 for the brokers' default.
    config
        Properties of a new topic.

    Raises
    ------
    UserError
        If it is not there and cannot be created.
    """
    errors = Errors(settings)
    admin = open_client(AdminClient, configuration(settings), errors)
    there = _count(admin, errors, topic)
    if there:
        return there
    brokers = len(metadata(admin, errors).brokers)
    asked = NewTopic(topic, count, min(_REPLICAS, brokers), config=config or {})
    try:
        admin.create_topics([asked], operation_timeout=PATIENCE)[topic].result()
    except ck.KafkaException as error:
        if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:
            found = errors.cleaned(error.args[0].str())
            raise UserError(f"the topic {topic} is not there and cannot be created: {found}") from None
    end = time.monotonic() + PATIENCE
    while not (there := _count(admin, errors, topic)) and time.monotonic() < end:
        time.sleep(0.05)
    return there
