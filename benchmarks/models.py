"""``python -m benchmarks.models``: the isolation forest beside its alternatives.

CPU time, so that other work on the machine does not count. The forest is compared as it ships, and the
alternatives are the same forest: grown again from the same seed on points of the same shape.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from operators.features import FEATURES
from tapewatch.records import Array

_BATCHES = (1, 64, 4096)
_LEAST_SECONDS, _ROUNDS = 0.3, 5


def main() -> int:
    """Measure and print the tables."""
    warnings.simplefilter("ignore")
    missing = [name for name in ("sklearn", "skl2onnx") if find_spec(name) is None]
    if missing:
        print(f'not compared: {" and ".join(missing)} missing; pip install "tapewatch[bench]"')
        return 0
    sizes = " | ".join(f"batch {n:,}" for n in _BATCHES)
    print(f"| isolation forest, rows per second of CPU | {sizes} |")
    print("|---|" + "---|" * len(_BATCHES))
    rates = _forest()
    for name, by_batch in rates.items():
        print(f"| {name} | " + " | ".join(f"{by_batch[n]:,.0f}" for n in _BATCHES) + " |")
    ours = rates["one TreeEnsembleRegressor (ours)"]
    for name in list(rates)[1:]:
        ratios = " | ".join(f"{ours[n] / rates[name][n]:.1f}" for n in _BATCHES)
        print(f"| ours over {name} | {ratios} |")
    print("\ngoals: 50 times skl2onnx at batch 1, 4 times at 4,096; scikit-learn's speed at 4,096")
    return 0


def _forest() -> dict[str, dict[int, float]]:
    import onnxruntime
    from skl2onnx import to_onnx

    from models import isolation_forest

    rng = np.random.default_rng(1)
    points = np.abs(rng.standard_t(4, (20_000, len(FEATURES)))).astype(np.float32)
    forest = isolation_forest.train(points, 1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def session(model: bytes) -> Any:  # noqa: ANN401 - ONNX Runtime has no types
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    exported = session(isolation_forest.export(forest))
    theirs = session(to_onnx(forest, points[:1], target_opset={"": 17, "ai.onnx.ml": 3}).SerializeToString())
    (theirs_input,) = theirs.get_inputs()
    works: dict[str, Callable[[Array], object]] = {
        "one TreeEnsembleRegressor (ours)": lambda part: exported.run(["score"], {"features": part}),
        "skl2onnx's export": lambda part: theirs.run(["scores"], {theirs_input.name: part}),
        "scikit-learn": forest.score_samples,
    }
    return {
        name: {size: size / _seconds(lambda size=size, work=work: work(points[:size])) for size in _BATCHES}  # type: ignore[misc]
        for name, work in works.items()
    }


def _seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call: the least of some rounds."""
    work()
    best = float("inf")
    for _ in range(_ROUNDS):
        calls, begun = 0, time.process_time()
        while (spent := time.process_time() - begun) < _LEAST_SECONDS / _ROUNDS:
            work()
            calls += 1
        best = min(best, spent / max(calls, 1))
    return best


if __name__ == "__main__":
    sys.exit(main())
