"""All settings in one place: ``tapewatch.toml``, ``.env``, and environment variables over both.

``TAPEWATCH_SINKS__SQLITE__PATH=other.db`` sets ``sinks.sqlite.path``; lists and tables are JSON.
"""

from __future__ import annotations

import os
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from tapewatch.durations import duration_ns
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, MINUTE, SECOND
from tapewatch.settings_api import ApiSettings
from tapewatch.settings_elasticsearch import ElasticsearchSettings
from tapewatch.settings_errors import check_variables, location, refuse_secrets
from tapewatch.settings_errors import explain as explain
from tapewatch.settings_json import from_json as from_json
from tapewatch.settings_metrics import MetricsSettings, visible
from tapewatch.settings_notify import NotifySettings

PREFIX = "TAPEWATCH_"
_DOTENV = ".env"
#: Variables with our prefix that are no settings.
_NOT_SETTINGS = frozenset({"TAPEWATCH_CONFIG", "TAPEWATCH_TEST_DATA", "TAPEWATCH_REQUIRE_SERVICES"})
#: Bar widths, finest first; each is a multiple of the one before.
WIDTHS = {"1s": SECOND, "10s": 10 * SECOND, "1m": MINUTE, "1h": HOUR, "1d": DAY}

Width = Literal["1s", "10s", "1m", "1h", "1d"]
LiveSchema = Literal[
    "trades", "tbbo", "tcbbo", "mbp-1", "cmbp-1", "mbp-10", "mbo",
    "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d",
]  # fmt: skip


def _speed(value: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
    if value == "max":
        return value
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 0 < number < 1e9:
        msg = "must be 'max' or a number above 0"
        raise ValueError(msg)
    return number


def _is_duration(text: str) -> str:
    if duration_ns(text) > DAY:
        msg = "must be at most 1d"
        raise ValueError(msg)
    return text


def _each_once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


#: Commas, bars and line ends would be taken for the gateway's own.
_Symbol = Annotated[str, Field(pattern=r"^[^|,\x00-\x1f\x7f]{1,70}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SourceSettings(_Section):
    """Where the tape comes from."""

    kind: Annotated[
        Literal["files", "kafka", "live"], BeforeValidator(lambda v: "files" if v == "dbn" else v)
    ] = "files"
    name: str = Field("", max_length=200)
    speed: Annotated[float | Literal["max"], BeforeValidator(_speed)] = "max"
    paths: Annotated[list[str], BeforeValidator(from_json)] = []
    on_error: Literal["fail", "skip"] = "fail"
    batch_records: int = Field(131_072, ge=1, le=4_194_304)


def _flat(value: Any, name: str = "") -> Any:  # noqa: ANN401 - whatever a person wrote
    """Return a table with a dot in its keys where TOML has a table within a table."""
    value = from_json(value)
    if not isinstance(value, dict):
        return {name: value} if name else value
    parts = [_flat(within, f"{name}.{key}" if name else key) for key, within in value.items()]
    return {key: within for part in parts for key, within in part.items()}


_TOPIC = "a topic's name: up to 249 letters, digits, dots, dashes and underscores"


class KafkaSettings(_Section):
    """The topic that is read with ``source.kind = "kafka"``, and how brokers are reached."""

    brokers: str = Field("127.0.0.1:9092", min_length=1)
    topic: str = Field("trades", pattern=r"^[A-Za-z0-9._-]{1,249}$", description=_TOPIC)
    dead_letter_topic: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,249}$", description=_TOPIC)
    start: Literal["earliest", "latest"] = "earliest"
    group: str = Field("tapewatch", min_length=1, max_length=249)
    options: Annotated[dict[str, str | bool | int | float], BeforeValidator(_flat)] = Field(
        {}, description="a table of librdkafka's properties", examples=[{"security.protocol": "SASL_SSL"}]
    )

    @property
    def dead_letters(self) -> str:
        """Where messages go that cannot be read: ``<topic>.dead`` unless a topic is named."""
        return self.dead_letter_topic or f"{self.topic}.dead"


with warnings.catch_warnings():
    # pydantic's models have a method `schema`, which it has long replaced.
    warnings.simplefilter("ignore", UserWarning)

    class LiveSettings(_Section):
        """The subscription that is read with ``source.kind = "live"``; its key is no setting."""

        dataset: str = Field(
            "", pattern=r"^([A-Z0-9]+\.[A-Z0-9]+)?$", description="a dataset's code such as EQUS.MINI"
        )
        schema: LiveSchema = "trades"  # type: ignore[assignment]
        symbols: Annotated[list[_Symbol], BeforeValidator(from_json), AfterValidator(_each_once)] = Field(
            [], description="a list of symbols", examples=[["SPY", "QQQ"]]
        )
        stype_in: Literal["raw_symbol", "instrument_id", "parent", "continuous"] = "raw_symbol"
        gateway: str = Field(
            "", pattern=r"^[A-Za-z0-9._:-]*$", max_length=253, description="the name or address of a host"
        )
        port: int = Field(13_000, ge=1, le=65_535)


class WindowSettings(_Section):
    """How windows close."""

    lateness: Annotated[str, AfterValidator(_is_duration)] = Field(
        "0s", description="a duration such as 500ms, 5s or 1m, at most 1d"
    )

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


class KafkaSinkSettings(_Section):
    """The topics to which anomalies, and users' profiles, go."""

    topic: str = Field("anomalies", pattern=r"^[A-Za-z0-9._-]{1,249}$", description=_TOPIC)
    profiles_topic: str = Field("profiles", pattern=r"^[A-Za-z0-9._-]{0,249}$", description=_TOPIC)


#: Sinks that results can be read from.
StoreKind: TypeAlias = Literal["sqlite", "elasticsearch"]


class SinkSettings(_Section):
    """Where results go."""

    bars: Annotated[list[Width], BeforeValidator(from_json), AfterValidator(_each_once)] = ["1m"]
    kinds: Annotated[
        list[Literal["sqlite", "elasticsearch", "stdout", "kafka", "notify"]],
        BeforeValidator(from_json),
        AfterValidator(_each_once),
    ] = ["sqlite"]
    scores: bool = False
    sqlite: SqliteSettings = SqliteSettings()
    elasticsearch: ElasticsearchSettings = ElasticsearchSettings()
    kafka: KafkaSinkSettings = KafkaSinkSettings()
    notify: NotifySettings = NotifySettings()

    @property
    def stores(self) -> list[StoreKind]:
        """Those of ``kinds`` that can be read, in their order."""
        return [kind for kind in self.kinds if kind == "sqlite" or kind == "elasticsearch"]

    @property
    def store(self) -> StoreKind:
        """The store that is read: the first of ``kinds`` that can be, the embedded one if none can."""
        return next(iter(self.stores), "sqlite")


class DashboardSettings(_Section):
    """What the pages in the browser may do, and the password they ask for."""

    control: bool = False
    evaluations: Annotated[list[str], BeforeValidator(from_json)] = []
    token: Annotated[SecretStr | None, AfterValidator(visible)] = Field(
        None, description="visible ASCII characters without spaces"
    )


def _detector_sections(value: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
    value = from_json(value)
    if not isinstance(value, dict):
        return value
    sections = {name: from_json(section) for name, section in value.items()}
    return {
        name: {key: from_json(v) for key, v in section.items()} if isinstance(section, dict) else section
        for name, section in sections.items()
    }


class TransactionSourceSettings(_Section):
    """Where transactions come from."""

    kind: Literal["files", "kafka"] = "files"
    name: str = Field("", max_length=200)
    paths: Annotated[list[str], BeforeValidator(from_json)] = []
    on_error: Literal["fail", "skip"] = "fail"
    batch_records: int = Field(8_192, ge=1, le=1_048_576)
    sort: bool = False


class TransactionKafkaSettings(KafkaSettings):
    """The topic that is read with ``transactions.source.kind = "kafka"``."""

    topic: str = Field("transactions", pattern=r"^[A-Za-z0-9._-]{1,249}$", description=_TOPIC)


class ProfileSettings(_Section):
    """What is kept of users."""

    idle_days: int = Field(180, ge=1, le=36_500)


class FeedbackSettings(_Section):
    """Reviews that teach the flow: a file, those in the store of the results, a topic."""

    reviews: str = ""
    store: bool = False
    topic: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,249}$", description=_TOPIC)
    poll_seconds: float = Field(5.0, ge=0.1, le=86_400)
    remember: int = Field(100_000, ge=1_000, le=5_000_000)
    assume_legitimate_days: float = Field(7.0, gt=0, le=365)
    step_seconds: int = Field(60, ge=1, le=86_400)


class TransactionSettings(_Section):
    """The payment flow."""

    mode: Literal["personal", "standard"] = "personal"
    alerts_per_day: float = Field(100.0, gt=0, le=1e6)
    pseudonymise: bool = False
    pseudonym_key: Annotated[SecretStr | None, AfterValidator(visible)] = Field(
        None, min_length=16, description="at least 16 visible ASCII characters without spaces"
    )
    source: TransactionSourceSettings = TransactionSourceSettings()
    kafka: TransactionKafkaSettings = TransactionKafkaSettings()
    columns: Annotated[dict[str, str], BeforeValidator(from_json)] = Field(
        {}, description="a table of columns", examples=[{"user_id": "client"}]
    )
    profiles: ProfileSettings = ProfileSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    detectors: Annotated[dict[str, dict[str, Any]], BeforeValidator(_detector_sections)] = {}


class _OurPartOfDotEnv(DotEnvSettingsSource):
    """``.env`` without the variables of other programs, which it may hold beside ours."""

    def __call__(self) -> dict[str, Any]:
        return EnvSettingsSource.__call__(self)


class _FileWithoutSecrets(TomlConfigSettingsSource):
    """The settings file, which people show to each other and keep in repositories."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        refuse_secrets(Settings, found, PREFIX, str(settings_file()))
        return found


class Settings(BaseSettings):
    """Everything a person can set; see ``docs/settings.md``.

    The sections of ``detectors`` are checked by the detectors themselves.
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=_DOTENV,
        validate_default=True,
    )

    source: SourceSettings = SourceSettings()
    live: LiveSettings = LiveSettings()
    windows: WindowSettings = WindowSettings()
    alerts: AlertSettings = AlertSettings()
    sinks: SinkSettings = SinkSettings()
    api: ApiSettings = ApiSettings()
    dashboard: DashboardSettings = DashboardSettings()
    metrics: MetricsSettings = MetricsSettings()
    kafka: KafkaSettings = KafkaSettings()
    detectors: Annotated[dict[str, dict[str, Any]], BeforeValidator(_detector_sections)] = {}
    transactions: TransactionSettings = TransactionSettings()
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
        """Environment over ``.env`` over the settings file."""
        return (
            init_settings,
            env_settings,
            _OurPartOfDotEnv(settings_cls),
            _FileWithoutSecrets(settings_cls, settings_file()),
        )


def _dotenv() -> dict[str, str | None]:
    path = Path(_DOTENV)
    if not path.is_file():
        return {}
    try:
        return dict(dotenv_values(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the settings in {path}: {error}") from error


def secret(name: str) -> str:
    """Return a secret from the environment, or from ``.env``; empty if it is in neither."""
    return (os.environ.get(name) or _dotenv().get(name) or "").strip()


def settings_file() -> Path:
    """Return the settings file: what ``TAPEWATCH_CONFIG`` names, else ``tapewatch.toml`` where we run."""
    named = os.environ.get("TAPEWATCH_CONFIG") or _dotenv().get("TAPEWATCH_CONFIG")
    return Path(named or "tapewatch.toml")


def load() -> Settings:
    """Read all settings.

    Raises
    ------
    UserError
        For an unknown key, a value out of range, or a file that cannot be read; one line that names it.
    """
    path = settings_file()
    if path != Path("tapewatch.toml") and not path.is_file():
        raise UserError(f"TAPEWATCH_CONFIG names {path}, which is no file")
    in_dotenv = _ours(_dotenv())
    in_environment = _ours(os.environ)
    check_variables(Settings, PREFIX, in_environment)
    check_variables(Settings, PREFIX, in_dotenv)
    try:
        return Settings()
    except ValidationError as error:
        origin = _origin(location(error), in_environment, in_dotenv, path)
        raise UserError(f"{explain(error, model=Settings)} (in {origin})") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no valid TOML: {error}") from error
    except SettingsError as error:
        raise UserError(f"the settings cannot be read: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the settings in {path}: {error}") from error


def _ours(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    return {
        name: value
        for name, value in variables.items()
        if name.upper().startswith(PREFIX) and name.upper() not in _NOT_SETTINGS
    }


def _origin(
    names: list[str],
    in_environment: Mapping[str, str | None],
    in_dotenv: Mapping[str, str | None],
    path: Path,
) -> str:
    """Return where a key's value comes from: the variable of it or of a table around it, or the file."""
    for variables, place in ((in_environment, ""), (in_dotenv, f" of {_DOTENV}")):
        by_name = {variable.upper(): variable for variable in variables}
        for depth in range(len(names), 0, -1):
            variable = by_name.get(PREFIX + "__".join(names[:depth]).upper())
            if variable is not None:
                return f"{variable}{place}"
    return str(path)
