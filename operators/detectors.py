"""The detectors there are, and those a person has switched on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from operators.block_trade import BlockTrade
from operators.detector import Detector
from operators.feed_integrity import FeedIntegrity
from operators.high_volume import HighVolume
from operators.online import HalfSpaceTrees
from operators.pretrained import Autoencoder, IsolationForest
from operators.price_jump import PriceJump
from operators.river_models import River
from tapewatch.errors import UserError
from tapewatch.settings import explain

KNOWN: tuple[type[Detector], ...] = (
    HighVolume, BlockTrade, PriceJump, FeedIntegrity, HalfSpaceTrees, IsolationForest, Autoencoder, River,
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
            raise UserError(explain(error, f"detectors.{name}")) from error
    return tuple(part for detector in found if detector.enabled for part in detector.parts)
