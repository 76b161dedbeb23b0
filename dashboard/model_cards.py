"""The cards of the pre-trained models: those that come with tapewatch, and those that the settings name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.words import number, plain
from tapewatch.settings import Settings

_FOLDER = Path(__file__).parents[1] / "models"
_LARGEST_BYTES = 64 << 20
_METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "youden_j": "Youden's J",
}
#: What a card may call the rows it was trained on.
_TRAINED = ("training_bars", "training_transactions")


@dataclass(frozen=True, slots=True)
class Card:
    """A model's card.

    Attributes
    ----------
    name
        Of the model's file, without its ending.
    told
        What the card says.
    intact
        Whether the model's bytes are those that the card is of.
    """

    name: str
    told: dict[str, Any]
    intact: bool


def cards(settings: Settings) -> tuple[list[Card], list[str]]:
    """Return the cards of all models, and what is wrong with those that have none."""
    paths = {path.with_suffix(".json") for path in _FOLDER.glob("*.onnx")}
    for section in settings.detectors.values():
        named = section.get("model")
        if isinstance(named, str) and Path(named).name != named:
            paths.add(Path(named).with_suffix(".json"))
    found, wrong = [], []
    for path in sorted(paths, key=lambda path: (path.parent != _FOLDER, path.name)):
        try:
            changed = tuple(part.stat().st_mtime_ns for part in (path, path.with_suffix(".onnx")))
            found.append(_card(path, changed))
        except (OSError, ValueError) as error:
            # Whatever JSON's own errors say is of no use here.
            what = error.strerror if isinstance(error, OSError) else "is no card, or too large a model"
            wrong.append(f"{path}: {what}")
    return found, wrong


@lru_cache(maxsize=64)
def _card(path: Path, changed: tuple[int, ...]) -> Card:
    model = path.with_suffix(".onnx")
    if max(path.stat().st_size, model.stat().st_size) > _LARGEST_BYTES:
        raise ValueError("is too large")
    told = json.loads(path.read_bytes())
    if not (isinstance(told, dict) and isinstance(told.get("sha256"), str)):
        raise ValueError("is no card")  # noqa: TRY004 - a file, not a type
    return Card(path.stem, told, hashlib.sha256(model.read_bytes()).hexdigest() == told["sha256"])


def show_cards(settings: Settings) -> None:
    """Show all models side by side, and the card of one."""
    found, wrong = cards(settings)
    for line in wrong:
        st.warning(plain(line), icon=":material/warning:")
    if not found:
        st.info("There are no models. `tapewatch train NAME` makes one.", icon=":material/inventory_2:")
        return
    st.markdown("**Models** · what was held out of training, with anomalies put into it")
    st.dataframe(
        pd.DataFrame([_row(card) for card in found]), hide_index=True, key="models",
        height=38 + 35 * len(found),
        column_config={
            "model": st.column_config.TextColumn(width=210, pinned=True),
            **{
                title: st.column_config.NumberColumn(format="%.3f", width=95)
                for title in (*_METRICS.values(), "threshold")
            },
            "trained on": st.column_config.NumberColumn(format="localized", width=95),
            "KiB": st.column_config.NumberColumn(format="%.0f", width=65),
        },
    )  # fmt: skip
    names = [card.name for card in found]
    if st.session_state.get("model") not in (None, *names):
        st.session_state["model"] = names[0]
    chosen = st.selectbox("Card of", names, key="model", bind="query-params", width=280)
    _one(found[names.index(chosen)])


def _row(card: Card) -> dict[str, Any]:
    told, metrics = card.told, _object(card.told, "metrics")
    return {
        "model": card.name,
        "file": "intact" if card.intact else "not the one of the card",
        **{title: _number(metrics.get(field)) for field, title in _METRICS.items()},
        "threshold": _number(told.get("threshold")),
        "trained on": next((told[name] for name in _TRAINED if _number(told.get(name)) is not None), None),
        "KiB": None if _number(told.get("bytes")) is None else told["bytes"] / 1024,
    }


def _one(card: Card) -> None:
    told = card.told
    if not card.intact:
        st.error(
            "The model's file is not the one that this card is of: a detector would refuse it.",
            icon=":material/error:",
        )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Architecture**")
        _pairs(_object(told, "architecture"), "architecture")
        st.markdown("**Held out**" + (f" · {plain(str(told['held_out']))}" if "held_out" in told else ""))
        _pairs({**_object(told, "metrics"), "threshold": told.get("threshold")}, "held-out")
    with right:
        st.markdown("**Trained on**")
        data = told.get("data")
        if isinstance(data, list) and data:
            rows = [{str(k): _text(v) for k, v in one.items()} for one in data if isinstance(one, dict)]
            st.dataframe(pd.DataFrame(rows), hide_index=True, key="data")
        else:
            st.caption("The card does not say.")
        st.markdown("**Made with**")
        _pairs({**_object(told, "versions"), "seed": told.get("seed")}, "versions")
        st.caption(f"SHA-256 {plain(told['sha256'])}")


def _pairs(values: dict[str, Any], key: str) -> None:
    rows = [{"": name.replace("_", " "), " ": _text(value)} for name, value in values.items()]
    column = st.column_config.TextColumn
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key=key, height=38 + 35 * len(rows),
        column_config={"": column(width=160), " ": column(width=300)},
    )  # fmt: skip


def _object(told: dict[str, Any], name: str) -> dict[str, Any]:
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, float):
        return number(value)
    return str(value)
