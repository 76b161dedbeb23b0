"""What evaluations found: the files that ``tapewatch evaluate … --json`` writes, read and checked."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tapewatch.errors import UserError

#: The evaluations that come with tapewatch.
SHIPPED = tuple(
    Path(__file__).parents[1] / "models" / name
    for name in ("injected-bars.json", "real-days.json", "nab.json")
)
#: All kinds of events together, in curves.
ANY = "any"
_LARGEST_BYTES = 8 << 20
_MOST_POINTS, _MOST_NAMES, _MOST_ROWS = 200, 100, 1_000

_Name = Annotated[str, Field(max_length=100)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Points = Annotated[list[_Share], Field(max_length=_MOST_POINTS)]
_Count = Annotated[int, Field(ge=0)]
_Named = Field(max_length=_MOST_NAMES)


class Axes(BaseModel):
    """Where all curves have their points."""

    false_positive_rate: _Points
    recall: _Points


class Lines(BaseModel):
    """The curves of one scorer and kind of event, at the places of `Axes`."""

    true_positive_rate: _Points
    precision: _Points


class Matrix(BaseModel):
    """Events found and missed, by kind; stretches of 30 untouched bars with an alarm, and without."""

    found: Annotated[dict[_Name, _Count], _Named]
    missed: Annotated[dict[_Name, _Count], _Named]
    false: _Count
    quiet: _Count


class Kind(BaseModel):
    """What is found of one kind of event."""

    event_recall_at_one_false_episode_per_day: _Share | None
    roc_auc: _Share | None
    average_precision: _Share | None
    own_threshold: Annotated[dict[_Name, float | None], _Named]


class Scorer(BaseModel):
    """A detector, or a baseline."""

    baseline: bool
    mean: _Share | None
    spread_over_seeds: float | None
    of_visible: _Share | None
    kinds: Annotated[dict[_Name, Kind], _Named]
    event_recall_by_false_episodes_per_day: Annotated[dict[_Name, _Share | None], _Named]
    curves: Annotated[dict[_Name, Lines | None], _Named]
    confusion: Annotated[dict[_Name, Matrix], _Named]


class InjectedBars(BaseModel):
    """The study of events in minute bars."""

    study: Literal["injected bars"]
    seeds: Annotated[list[int], _Named]
    instruments: Annotated[list[_Name], Field(max_length=_MOST_ROWS)]
    events: Annotated[dict[_Name, _Count], _Named]
    visible: Annotated[dict[_Name, _Count], _Named]
    curves: Axes
    scorers: Annotated[dict[_Name, Scorer], Field(min_length=1, max_length=_MOST_NAMES)]


class Worst(BaseModel):
    """One of the worst incidents of real days."""

    ts_start: _Name
    key: _Name
    detector: _Name
    others: Annotated[list[_Name], _Named]
    severity: float | None
    reason: Annotated[str, Field(max_length=2_000)]
    remark: Annotated[str, Field(max_length=2_000)]


class RealDays(BaseModel):
    """The study of untouched real days."""

    study: Literal["real days"]
    instrument_days: _Count
    alarms_per_instrument_day: Annotated[dict[_Name, dict[_Name, float | None]], _Named]
    worst: Annotated[list[Worst], Field(max_length=_MOST_ROWS)]


class Benchmarked(BaseModel):
    """What a detector scores by one of the benchmark's profiles, and the threshold at which it does."""

    score: float
    threshold: float | None


class Nab(BaseModel):
    """The study of the Numenta benchmark's series: scores by detector and profile."""

    study: Literal["nab"]
    series: _Count
    detectors: Annotated[dict[_Name, Annotated[dict[_Name, Benchmarked], _Named]], _Named]
    robustness: Annotated[dict[_Name, float], _Named] = {}


Evaluation = InjectedBars | RealDays | Nab
_READER: TypeAdapter[Evaluation] = TypeAdapter(Annotated[Evaluation, Field(discriminator="study")])


def evaluations(named: list[str]) -> list[tuple[Path, Evaluation]]:
    """Return the evaluations in these files, or without any those that come with tapewatch.

    Raises
    ------
    UserError
        If one cannot be read, or is something else.
    """
    paths = [Path(name) for name in named] if named else [path for path in SHIPPED if path.is_file()]
    found = []
    for path in paths:
        try:
            status = path.stat()
            found.append((path, _read(path, status.st_mtime_ns, status.st_size)))
        except OSError as error:
            raise UserError(f"`dashboard.evaluations` names {path}: {error.strerror}") from None
    return found


@lru_cache(maxsize=16)
def _read(path: Path, changed: int, size: int) -> Evaluation:
    what = "must name files of `tapewatch evaluate injected --bars`, `real` or `nab`, made with `--json`"
    if size > _LARGEST_BYTES:
        raise UserError(f"`dashboard.evaluations` {what}; {path} is larger than {_LARGEST_BYTES >> 20} MiB")
    try:
        return _READER.validate_json(path.read_bytes())
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(str(part) for part in wrong["loc"]) or "the file"
        raise UserError(f"`dashboard.evaluations` {what}; {path}: {place}: {wrong['msg']}") from None
