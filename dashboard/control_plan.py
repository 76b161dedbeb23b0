"""What the page of control is asked to start, as commands and their settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from connectors.simulated_day import simulated
from tapewatch.errors import UserError
from tapewatch.flow_command import flow_command, flow_environment
from tapewatch.settings import Settings

SIMULATION, FILES, CONFIGURED, REPLAY = "simulation", "files", "as configured", "replay to Kafka"
SOURCES = (SIMULATION, FILES, CONFIGURED, REPLAY)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person chose; ``speed`` is times the market's own pace, 0 as fast as it goes."""

    source: str
    detectors: tuple[str, ...]
    per_key_per_day: float
    speed: float = 0.0
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One process to start."""

    name: str
    about: str
    command: list[str]
    environment: dict[str, str]


def prepare(asked: Asked, settings: Settings) -> None:
    """Make what is to be there before anything starts: the topic, which a flow refuses to miss.

    Raises
    ------
    UserError
        If the brokers do not answer, or do not let us make it.
    """
    if asked.source == REPLAY:
        from connectors.kafka_client import ensure_topic

        ensure_topic(settings.kafka, settings.kafka.topic)


def commands(asked: Asked, known: Sequence[str], settings: Settings, folder: Path) -> list[Command]:
    """Return what is to be started, in this order.

    Parameters
    ----------
    asked
        What a person chose.
    known
        All detectors; those that were not chosen are switched off.
    settings
        The settings of this program, which hold for all that was not chosen.
    folder
        Where a simulated session may be written.

    Raises
    ------
    UserError
        If no files are named where files are to be read, or no detectors.
    """
    if not asked.detectors:
        raise UserError("no detector is chosen; choose at least one")
    if asked.source in (FILES, REPLAY) and not asked.paths:
        raise UserError("no files are named; name at least one file or pattern, such as data/*.dbn.zst")
    speed = f"{asked.speed:g}" if asked.speed else "max"
    instead = {
        f"TAPEWATCH_DETECTORS__{name.upper()}__ENABLED": orjson.dumps(name in asked.detectors).decode()
        for name in known
    }
    instead["TAPEWATCH_ALERTS__PER_KEY_PER_DAY"] = repr(asked.per_key_per_day)
    found = []
    match asked.source:
        case "simulation":
            instead |= simulated(settings, folder)
            instead["TAPEWATCH_SOURCE__SPEED"] = speed
        case "files":
            instead |= {
                "TAPEWATCH_SOURCE__KIND": "files",
                "TAPEWATCH_SOURCE__PATHS": orjson.dumps(asked.paths).decode(),
                "TAPEWATCH_SOURCE__SPEED": speed,
            }
        case "replay to Kafka":
            instead["TAPEWATCH_SOURCE__KIND"] = "kafka"
            replay = [sys.executable, "-m", "tapewatch", "replay", "--topic", settings.kafka.topic]
            replay += ["--brokers", settings.kafka.brokers, "--speed", speed, "--", *asked.paths]
            found.append(
                Command("replay", f"files to the topic {settings.kafka.topic}", replay, flow_environment())
            )
        case "as configured":
            pass
        case other:
            raise UserError(f"the source must be one of {', '.join(SOURCES)}, was {other!r}")
    ours = flow_environment(simulation=asked.source != CONFIGURED)
    environment = {n: v for n, v in ours.items() if n.upper() not in instead} | instead
    return [*found, Command("flow", f"market flow, {asked.source}", flow_command("market"), environment)]
