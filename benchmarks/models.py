"""``python -m benchmarks.models``: the isolation forest and the transformer beside their alternatives.

CPU time, so that other work on the machine does not count. The forest is compared as it ships, and the
alternatives are the same forest: grown again from the same seed on points of the same shape. The transformer
is compared with a plain export of a network of the same shape.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from operators.bar_windows import COLUMNS, WINDOW
from operators.features import FEATURES
from operators.transformer import load_transformer, newest_errors
from tapewatch.records import Array

_BATCHES = (1, 64, 4096)
_WINDOWS = (1, 64)
_LEAST_SECONDS, _ROUNDS = 0.3, 5


def main() -> int:
    """Measure and print the tables."""
    warnings.simplefilter("ignore")
    _compare_forests()
    print()
    _compare_transformers()
    return 0


def _compare_transformers() -> None:
    missing = [name for name in ("jax", "flax", "jax2onnx") if find_spec(name) is None]
    plain = {} if missing else _plain_transformer()
    print("| transformer, windows per second of CPU | " + " | ".join(f"batch {n}" for n in _WINDOWS) + " |")
    print("|---|" + "---|" * len(_WINDOWS))
    for name, rates in (_transformer() | plain).items():
        print(f"| {name} | " + " | ".join(f"{rate:,.0f}" for rate in rates.values()) + " |")
    if missing:
        print(
            f'\na plain export is not compared: {", ".join(missing)} missing; pip install "tapewatch[train]"'
        )
    print("\ngoal: 2,500, one at a time and in batches of 64")


def _windows() -> Array:
    made: Array = np.random.default_rng(1).normal(size=(64, WINDOW, len(COLUMNS))).astype(np.float32)
    return made


def _transformer() -> dict[str, dict[int, float]]:
    model, windows = load_transformer("transformer.onnx"), _windows()
    works: dict[str, Callable[[Array], object]] = {
        "the model that ships": lambda part: model.run("errors", part),
        "the same, each window a run by itself, as the detector has it": lambda part: newest_errors(
            model, part
        ),
    }
    return {name: _rates(work, windows, _WINDOWS) for name, work in works.items()}


def _plain_transformer() -> dict[str, dict[int, float]]:
    from models import transformer

    network = transformer.Transformer(transformer.untrained(1), np.ones(len(COLUMNS)), np.zeros((1, 3)))
    plain = _session(transformer.plain_export(network))
    work = {"jax2onnx's export": lambda part: plain.run(["errors"], {"features": part})}
    return {name: _rates(run, _windows(), _WINDOWS) for name, run in work.items()}


def _compare_forests() -> None:
    missing = [name for name in ("sklearn", "skl2onnx") if find_spec(name) is None]
    if missing:
        print(f'forests are not compared: {" and ".join(missing)} missing; pip install "tapewatch[bench]"')
        return
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


def _forest() -> dict[str, dict[int, float]]:
    from skl2onnx import to_onnx

    from models import isolation_forest

    rng = np.random.default_rng(1)
    points = np.abs(rng.standard_t(4, (20_000, len(FEATURES)))).astype(np.float32)
    forest = isolation_forest.train(points, 1)
    exported = _session(isolation_forest.export(forest))
    theirs = _session(to_onnx(forest, points[:1], target_opset={"": 17, "ai.onnx.ml": 3}).SerializeToString())
    (theirs_input,) = theirs.get_inputs()
    works: dict[str, Callable[[Array], object]] = {
        "one TreeEnsembleRegressor (ours)": lambda part: exported.run(["score"], {"features": part}),
        "skl2onnx's export": lambda part: theirs.run(["scores"], {theirs_input.name: part}),
        "scikit-learn": forest.score_samples,
    }
    return {name: _rates(work, points, _BATCHES) for name, work in works.items()}


def _session(model: bytes) -> Any:  # noqa: ANN401 - ONNX Runtime has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _rates(work: Callable[[Array], object], points: Array, sizes: Sequence[int]) -> dict[int, float]:
    """Return how many points a second of CPU are worked on, by how many there are at once."""
    return {size: size / _seconds(lambda size=size: work(points[:size])) for size in sizes}  # type: ignore[misc]


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
