"""Pre-trained models in ONNX: which files are taken, and how they are run.

A model comes with a card, a file of the same name that ends in ``.json``, which says what it is and the
SHA-256 of its bytes. Whatever does not fit is refused before anything is run. ONNX Runtime is imported only
where a detector needs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tapewatch.records import Array

#: What a card says of the way its model is to be used; a model of another format is refused.
FORMAT = 1
#: Where the models that come with tapewatch are.
FOLDER = Path(__file__).parents[1] / "models"
_LARGEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model that has passed the checks of `load`; workers share it."""

    card: dict[str, Any]
    _session: Any

    def run(self, output: str, points: Array) -> Array:
        """Return an output for points, float32, C-contiguous, ``n`` of what the model was made for."""
        (result,) = self._session.run([output], {"features": points})
        told: Array = result
        return told


def load(
    kind: str,
    model: str,
    inputs: Sequence[str],
    shape: Sequence[int] | None = None,
    *,
    optimised: bool = False,
) -> OnnxModel:
    """Return a model that ``tapewatch train`` made.

    Parameters
    ----------
    kind
        Name of the detector that runs it.
    model
        A file name: one of the models that come with tapewatch. Anything with a folder in it: a path.
    inputs
        What the card has to say of the columns that the model is shown.
    shape
        Shape of one point, if it is not just these columns.
    optimised
        Whether ONNX Runtime may rewrite the graph to run faster; not for graphs whose arithmetic is exact.

    Raises
    ------
    ValueError
        If there is no such file, or it is damaged, or not a model of this kind; says which.
    """
    path = FOLDER / model if Path(model).name == model else Path(model)
    what = f"must be a model that `tapewatch train {kind}` made"
    data, text = _read(path, what), _read(path.with_suffix(".json"), f"{what}, with its card")
    try:
        card = json.loads(text)
        sha256, told = card["sha256"], (card["kind"], card["format"], card["features"])
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{what}; {path.with_suffix('.json')} is no card") from None
    if told != (kind, FORMAT, list(inputs)):
        raise ValueError(f"{what} with these features; its card says {told[0]!r}, format {told[1]!r}")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{what}; {path} is damaged, or not the file that its card is of")
    session = _session(data, what, optimised)
    (taken,) = session.get_inputs()
    wanted = list(shape or (len(inputs),))
    if taken.name != "features" or taken.type != "tensor(float)" or taken.shape[1:] != wanted:
        raise ValueError(f"{what}; its input is {taken.name} {taken.shape} of {taken.type}")
    return OnnxModel(card, session)


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{what}; {path}: {error.strerror}") from None
    if len(data) > _LARGEST_BYTES:
        raise ValueError(f"{what}; {path} is larger than {_LARGEST_BYTES >> 20} MiB")
    return data


@lru_cache(maxsize=8)
def _session(data: bytes, what: str, optimised: bool = False) -> Any:  # noqa: ANN401 - ONNX Runtime's session, whose import is late
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("need ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    # One thread a worker; and no rewriting of graphs, whose arithmetic is chosen to be exact.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (_,) = session.get_inputs()
    except Exception as error:
        raise ValueError(f"{what}; ONNX Runtime does not take it ({type(error).__name__})") from None
    return session
