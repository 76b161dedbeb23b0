"""The detectors there are, and those a person has switched on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from operators.block_trade import BlockTrade
from operators.detector import Detector
from operators.ensemble import Ensemble
from operators.feed_integrity import FeedIntegrity
from operators.high_volume import HighVolume
from operators.online import HalfSpaceTrees
from operators.pretrained import Autoencoder, IsolationForest
from operators.price_jump import PriceJump
from operators.river_models import River
from operators.tail_combination import TailCombination
from operators.transformer import Transformer
from operators.value_novelty import ValueNovelty
from tapewatch.errors import UserError
from tapewatch.settings import explain

KNOWN: tuple[type[Detector], ...] = (
    HighVolume, BlockTrade, PriceJump, FeedIntegrity, HalfSpaceTrees, IsolationForest, Autoencoder,
    TailCombination, Transformer, ValueNovelty,
    River,
    Ensemble,
)  # fmt: skip


def detectors(sections: Mapping[str, Mapping[str, Any]]) -> tuple[Detector, ...]:
    """Return the enabled detectors as the section ``detectors`` of the settings describes them.

    Raises
    ------
    UserError
        For a detector there is not, or a setting it does not have or allow.

    Examples
    --------
    >>> "block_trade" in {detector.name for detector in detectors({"block_trade": {"enabled": False}})}
    False
    """
    by_name = {detector.name: detector for detector in KNOWN}
    for name in sections:
        if name not in by_name:
            raise UserError(f"unknown key `detectors.{name}`; there are {', '.join(by_name)}")
    found = []
    for name, detector in by_name.items():
        try:
            found.append(detector.model_validate(dict(sections.get(name, {}))))
        except ValidationError as error:
            raise UserError(explain(error, f"detectors.{name}", detector)) from error
    parts = tuple(part for detector in found if detector.enabled for part in detector.parts)
    kept = (part for part in parts if not isinstance(part, Ensemble) or _worth_adding(part, parts))
    return tuple(part.among(parts) if isinstance(part, Ensemble) else part for part in kept)


def _worth_adding(ensemble: Ensemble, others: tuple[Detector, ...]) -> bool:
    """Return whether there are members to add; complain of weights that are for none.

    Raises
    ------
    UserError
        For a weight of what is no detector that reads bars.
    """
    known = [detector.name for detector in KNOWN if detector.reads == "bars"]
    for name in ensemble.weights:
        if name not in known:
            raise UserError(
                f"`detectors.ensemble.weights` must name detectors of bars: {', '.join(known)}, has {name!r}"
            )
    return len(ensemble.members(others)) > 1
