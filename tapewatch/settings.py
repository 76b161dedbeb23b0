"""All settings in one place: ``tapewatch.toml``, ``.env``, and environment variables over both.

``TAPEWATCH_SINKS__SQLITE__PATH=other.db`` sets ``sinks.sqlite.path``; lists and tables are JSON.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

PREFIX = "TAPEWATCH_"
#: Variables with our prefix that are no settings.
_NOT_SETTINGS = frozenset({"TAPEWATCH_CONFIG", "TAPEWATCH_TEST_DATA", "TAPEWATCH_REQUIRE_SERVICES"})
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
#: Bar widths, finest first; each is a multiple of the one before.
WIDTHS = {"1s": SECOND, "10s": 10 * SECOND, "1m": MINUTE, "1h": HOUR, "1d": DAY}

Width = Literal["1s", "10s", "1m", "1h", "1d"]


def duration_ns(text: Any) -> int:  # noqa: ANN401 - whatever a person wrote
    """Return nanoseconds of a duration such as ``500ms``, ``0s``, ``1.5m``.

    >>> duration_ns("1.5m")
    90000000000
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|ms|s|m|h|d)", str(text).strip())
    if match is None:
        msg = "must be a duration such as 500ms, 5s, 1m"
        raise ValueError(msg)
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[match[2]]
    return int(whole) * unit + int((fraction or "0").ljust(9, "0")) * unit // 1_000_000_000


def from_json(value: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
    """Return the list or table that a text of JSON stands for; anything else unchanged."""
    if isinstance(value, str) and value[:1] in "[{" and value:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _speed(value: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
    if value == "max":
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < 1e9:
        msg = "must be 'max' or a number above 0"
        raise ValueError(msg)
    return number


def _is_duration(text: str) -> str:
    duration_ns(text)
    return text


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SourceSettings(_Section):
    """Where the tape comes from."""

    kind: Annotated[Literal["files"], BeforeValidator(lambda v: "files" if v == "dbn" else v)] = "files"
    name: str = Field("", max_length=200)
    speed: Annotated[float | Literal["max"], BeforeValidator(_speed)] = "max"
    paths: Annotated[list[str], BeforeValidator(from_json)] = []
    on_error: Literal["fail", "skip"] = "fail"
    batch_records: int = Field(65_536, ge=1, le=4_194_304)


class WindowSettings(_Section):
    """How windows close."""

    lateness: Annotated[str, AfterValidator(_is_duration)] = "0s"

    @property
    def lateness_ns(self) -> int:
        """How long a window waits for late records, ns."""
        return duration_ns(self.lateness)


class AlertSettings(_Section):
    """The alarm budget."""

    per_key_per_day: float = Field(1.0, gt=0, le=1e6)


class SqliteSettings(_Section):
    """The embedded store."""

    path: str = Field("tapewatch.db", min_length=1)


class SinkSettings(_Section):
    """Where results go."""

    bars: Annotated[list[Width], BeforeValidator(from_json)] = ["1m"]
    kinds: Annotated[list[Literal["sqlite", "stdout"]], BeforeValidator(from_json)] = ["sqlite"]
    scores: bool = False
    sqlite: SqliteSettings = SqliteSettings()


def _detector_sections(value: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
    value = from_json(value)
    if not isinstance(value, dict):
        return value
    sections = {name: from_json(section) for name, section in value.items()}
    return {
        name: {key: from_json(v) for key, v in section.items()} if isinstance(section, dict) else section
        for name, section in sections.items()
    }


class Settings(BaseSettings):
    """Everything a person can set; see ``docs/settings.md``.

    The sections of ``detectors`` are checked by the detectors themselves.
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        validate_default=True,
    )

    source: SourceSettings = SourceSettings()
    windows: WindowSettings = WindowSettings()
    alerts: AlertSettings = AlertSettings()
    sinks: SinkSettings = SinkSettings()
    detectors: Annotated[dict[str, dict[str, Any]], BeforeValidator(_detector_sections)] = {}
    shards: int = Field(4, ge=1, le=4096)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over ``.env`` over the file; the file is given as ``_toml``."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            TomlConfigSettingsSource(settings_cls, settings_file()),
        )


def settings_file() -> Path:
    """Return the settings file: what ``TAPEWATCH_CONFIG`` names, else ``tapewatch.toml`` where we run."""
    return Path(os.environ.get("TAPEWATCH_CONFIG") or "tapewatch.toml")


def load() -> Settings:
    """Read all settings.

    Raises
    ------
    UserError
        For an unknown key, a value out of range, or a file that cannot be read; one line that names it.
    """
    path = settings_file()
    if os.environ.get("TAPEWATCH_CONFIG") and not path.is_file():
        raise UserError(f"TAPEWATCH_CONFIG names {path}, which is no file")
    _refuse_unknown_variables()
    try:
        return Settings()
    except ValidationError as error:
        raise UserError(explain(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the settings in {path}: {error}") from error


def explain(error: ValidationError, prefix: str = "") -> str:
    """Return one line for the first thing that is wrong: the key, what is allowed, what was found."""
    first = error.errors(include_url=False)[0]
    parts = [
        str(p)
        for p in first["loc"]
        if not str(p).startswith(("literal[", "float", "function-", "constrained-"))
    ]
    key = ".".join(([prefix] if prefix else []) + parts)
    found = repr(first["input"])
    found = found if len(found) <= 80 else f"{found[:77]}..."
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`; see docs/settings.md for those there are"
    if first["type"] == "literal_error":
        allowed = first["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"`{key}` must be one of {allowed}, was {found}"
    message = first["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be").replace("String should", "must")
    return f"`{key}` {message[:1].lower()}{message[1:]}, was {found}"


def _refuse_unknown_variables() -> None:
    sections = {name.upper() for name in Settings.model_fields}
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in _NOT_SETTINGS:
            section = variable.removeprefix(PREFIX).split("__")[0]
            if section.upper() not in sections:
                raise UserError(f"unknown key `{section.lower()}` in the environment variable {variable}")
