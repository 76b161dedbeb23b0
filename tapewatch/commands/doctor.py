"""``tapewatch doctor``: is everything as a run needs it, and if not, what to do."""

from __future__ import annotations

import platform
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tapewatch.errors import UserError

if TYPE_CHECKING:
    from tapewatch.settings import Settings

_PATIENCE_SECONDS = 5.0
_LEAST_FREE = 1 << 30
_LIBRARIES = (
    "bytewax",
    "databento-dbn",
    "elasticsearch",
    "numpy",
    "onnxruntime",
    "orjson",
    "pydantic",
    "pydantic-settings",
    "zstandard",
)
_RECOVERY = (
    "hint     recovery: to go on where a run was stopped or crashed, make a recovery store once "
    "(mkdir recovery; python -m bytewax.recovery recovery 4) and run with -r recovery -s 10 -b 0"
)


def register(app: typer.Typer) -> None:
    """Add ``doctor`` to the command line."""

    @app.command()
    def doctor() -> None:
        """Check settings, files and the places for results, and say what to do about each failure.

        Example: tapewatch doctor
        """
        from tapewatch.settings import load, settings_file

        failed = _check("python", _python)
        failed += _check("libraries", _libraries)
        loaded: list[Settings] = []

        def settings() -> str:
            loaded.append(load())
            path = settings_file()
            return f"read from {path}" if path.is_file() else f"defaults, as there is no {path}"

        failed += _check("settings", settings)
        if loaded:
            failed += _check("detectors", lambda: _detectors(loaded[0]))
            if loaded[0].source.kind == "files":
                failed += _check("files", lambda: _files(loaded[0]))
            if loaded[0].source.kind == "kafka" or "kafka" in loaded[0].sinks.kinds:
                failed += _check("kafka", lambda: _kafka(loaded[0]))
            if loaded[0].source.kind == "live":
                failed += _check("live", lambda: _live(loaded[0]))
            failed += _check("results", lambda: _results(loaded[0]))
            if "elasticsearch" in loaded[0].sinks.kinds:
                failed += _check("elasticsearch", lambda: _elasticsearch(loaded[0]))
            if "notify" in loaded[0].sinks.kinds:
                failed += _check("notify", lambda: _notify(loaded[0]))
            failed += _check("disk", lambda: _disk(loaded[0]))
        if failed:
            raise UserError(f"{len(failed)} of the checks failed, the first: {failed[0]}")
        print(_RECOVERY)


def _check(name: str, check: Callable[[], str]) -> list[str]:
    try:
        print(f"ok       {name}: {check()}")
    except UserError as error:
        print(f"failure  {name}: {error}")
        return [str(error)]
    return []


def _python() -> str:
    # Bytewax has no wheels for others.
    if not (3, 11) <= sys.version_info < (3, 13):
        raise UserError(
            f"Python must be 3.11 or 3.12, was {platform.python_version()}; make a new environment"
        )
    return f"{platform.python_version()} on {platform.system()}, SQLite {sqlite3.sqlite_version}"


def _libraries() -> str:
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise UserError(f"{name} is not installed; `make` prepares the environment") from None
    return ", ".join(found)


def _detectors(settings: Settings) -> str:
    from operators.detectors import detectors

    # A section may have several parts.
    names = dict.fromkeys(detector.name for detector in detectors(settings.detectors))
    return ", ".join(names) or "none is enabled"


def _files(settings: Settings) -> str:
    if not settings.source.paths:
        return "none named; set `source.paths` before a run"
    from connectors.chain import find, plan

    chains = plan(find(settings.source.paths), skip_damaged=settings.source.on_error == "skip")
    return "; ".join(f"{c.name}: {len(c.files)} with {c.kind}, {c.size:,} bytes" for c in chains)


def _kafka(settings: Settings) -> str:
    from connectors.kafka_client import partitions

    kafka, found = settings.kafka, []
    if settings.source.kind == "kafka":
        count = partitions(kafka, kafka.topic)
        if not count:
            raise UserError(f"`kafka.topic` is {kafka.topic}, and there is no such topic; create it")
        found.append(f"{kafka.topic} with {count} partitions")
    others = [kafka.dead_letters] * (settings.source.kind == "kafka")
    others += [settings.sinks.kafka.topic] * ("kafka" in settings.sinks.kinds)
    for topic in others:
        count = partitions(kafka, topic)
        found.append(f"{topic} {f'with {count} partitions' if count else 'will be made by the first run'}")
    return ", ".join(found)


def _live(settings: Settings) -> str:
    from connectors.databento_live import LiveSource
    from connectors.live_session import address

    live = settings.live
    LiveSource(live, settings.source.batch_records, slots=1)
    place = f"{address(live)}:{live.port}"
    try:
        socket.create_connection((address(live), live.port), timeout=_PATIENCE_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"nobody answers at {place}, the gateway for {live.dataset} ({error.strerror or error}); check "
            "the network, `live.gateway` and `live.port`"
        ) from None
    return f"a key is set, and the gateway for {live.dataset} answers at {place}"


def _notify(settings: Settings) -> str:
    from connectors.notify import NotifySink

    NotifySink(settings.sinks.notify)
    count = len(settings.sinks.notify.urls)
    return f"{count} address{'es' * (count > 1)} of services that are known; none was told anything"


def _results(settings: Settings) -> str:
    if "sqlite" not in settings.sinks.kinds:
        return "no embedded database is used"
    path = Path(settings.sinks.sqlite.path)
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise UserError(f"`sinks.sqlite.path` is {path}, whose folder does not exist; make it first")
        return f"{path} will be made by the first run"
    from connectors.store_sqlite import SqliteStore

    with SqliteStore(path) as store:
        return f"{path}: " + ", ".join(f"{number:,} {name}" for name, number in store.counts().items())


def _elasticsearch(settings: Settings) -> str:
    from connectors.elasticsearch_upkeep import look

    return look(settings.sinks.elasticsearch)


def _disk(settings: Settings) -> str:
    if "sqlite" not in settings.sinks.kinds:
        return "no embedded database is used"
    folder = Path(settings.sinks.sqlite.path).absolute().parent
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; make it, or change `sinks.sqlite.path`")
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE:
        raise UserError(f"only {free >> 20:,} MiB are free at {folder}; prune results or make room")
    return f"{free >> 30:,} GiB free at {folder}"
