"""Training the dense autoencoder in NumPy, and writing it as a graph whose arithmetic is exact.

Layers of 32, 16, 8, 16 and 32 units learn to give back what they are shown (Rumelhart, Hinton and Williams,
1986; Adam: Kingma and Ba, 2015). What they cannot give back is strange. The activation is softsign,
``a / (1 + |a|)``: bounded, so that extremes are not given back, and made of operations that IEEE 754 defines
to the last bit. Weights and activations lie on grids, so that no order of summation matters (`models.exact`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from models.exact import on_grid, require_exact
from models.onnx_graph import model_of
from operators.features import LARGEST
from tapewatch.records import Array, Floats

HIDDEN = (32, 16, 8, 16, 32)
EPOCHS = 80
_BATCH, _RATE, _MEAN, _SQUARE, _TINY = 256, 2e-3, 0.9, 0.999, 1e-8
#: Larger inputs are cut to this in training, so that a few do not decide what is learned.
_WINSOR = 8.0
_LEAST_SPREAD, _LEAST_ERROR = 0.3, 0.1
#: Steps to 1 of scaled inputs, of weights and of activations.
_INPUT_STEPS, _WEIGHT_STEPS, _UNIT_STEPS = 2.0**12, 2.0**16, 2.0**16


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """A trained network.

    Attributes
    ----------
    mean, spread
        Of the training inputs, shape ``(features,)``.
    weights, biases
        Of each layer, ``(inputs, outputs)`` and ``(outputs,)``.
    error
        Root mean square of what was left of each feature in training, shape ``(features,)``.
    losses
        Mean squared error of training and validation after each epoch, shape ``(epochs, 2)``.
    """

    mean: Floats
    spread: Floats
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    error: Floats
    losses: Floats

    def scaled(self, points: Array) -> Floats:
        """Return inputs as the network sees them."""
        return (points - self.mean) / self.spread


def train(
    points: Array,
    known: Array,
    validation: tuple[Array, Array],
    seed: int,
    epochs: int = EPOCHS,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Autoencoder:
    """Fit the network.

    Parameters
    ----------
    points
        Features, shape ``(n, features)``.
    known
        Which of them a bar could tell, bool, the same shape; the others are neither learned nor judged.
    validation
        Points and known of other bars, for the loss curve.
    seed
        The same seed and data give the same network.
    epochs
        How often all points are seen.
    on_epoch
        Told of each epoch and the validation loss after it.
    """
    chance = np.random.Generator(np.random.PCG64(seed))
    cut, held = np.clip(points, -_WINSOR, _WINSOR), np.clip(validation[0], -_WINSOR, _WINSOR)
    number = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, cut, 0).sum(axis=0) / number
    spread = np.sqrt(np.where(known, (cut - mean) ** 2, 0).sum(axis=0) / number)
    spread = np.maximum(spread, _LEAST_SPREAD)
    inputs, others = ((part - mean) / spread for part in (cut, held))
    network = _Network(chance, inputs.shape[1])
    losses = np.zeros((epochs, 2))
    batches = max(len(inputs) // _BATCH, 1)
    for epoch in range(epochs):
        order = chance.permutation(len(inputs))
        for number_of, part in enumerate(np.array_split(order, batches)):
            done = (epoch * batches + number_of) / (epochs * batches)
            network.learn(inputs[part], known[part], _RATE * (1 + np.cos(np.pi * done)) / 2)
        losses[epoch] = network.loss(inputs, known), network.loss(others, validation[1])
        on_epoch(epoch, float(losses[epoch, 1]))
    left = np.where(known, (network.layers(inputs)[-1] - inputs) ** 2, 0).sum(axis=0) / number
    return Autoencoder(
        mean,
        spread,
        tuple(on_grid(w, _WEIGHT_STEPS) for w in network.weights),
        tuple(on_grid(b, _WEIGHT_STEPS) for b in network.biases),
        np.sqrt(np.maximum(left, _LEAST_ERROR)),
        losses,
    )


class _Network:
    """Weights, gradients and Adam's averages."""

    def __init__(self, chance: np.random.Generator, features: int) -> None:
        sizes = (features, *HIDDEN, features)
        self.weights = [chance.normal(size=pair) * np.sqrt(1.5 / pair[0]) for pair in pairwise(sizes)]
        self.biases = [np.zeros(size) for size in sizes[1:]]
        self._means = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        self._squares = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        self._step = 0

    def layers(self, inputs: Floats) -> list[Floats]:
        """Return the inputs and what each layer makes of those before it."""
        values = [inputs]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            sums = values[-1] @ weight + bias
            values.append(sums if weight is self.weights[-1] else sums / (1 + np.abs(sums)))
        return values

    def loss(self, inputs: Floats, known: Array) -> float:
        return float(np.where(known, (self.layers(inputs)[-1] - inputs) ** 2, 0).sum() / known.sum())

    def learn(self, inputs: Floats, known: Array, rate: float) -> None:
        """Take one step of Adam down the gradient of the mean squared error."""
        values = self.layers(inputs)
        slope = np.where(known, 2 * (values[-1] - inputs), 0) / len(inputs)
        weights: list[Floats] = []
        biases: list[Floats] = []
        for layer in range(len(self.weights) - 1, -1, -1):
            if layer < len(self.weights) - 1:
                slope = slope * (1 - np.abs(values[layer + 1])) ** 2
            weights.insert(0, values[layer].T @ slope)
            biases.insert(0, slope.sum(axis=0))
            slope = slope @ self.weights[layer].T
        self._step += 1
        for place, (value, gradient) in enumerate(
            zip((*self.weights, *self.biases), (*weights, *biases), strict=True)
        ):
            mean, square = self._means[place], self._squares[place]
            mean += (1 - _MEAN) * (gradient - mean)
            square += (1 - _SQUARE) * (gradient**2 - square)
            corrected = np.sqrt(square / (1 - _SQUARE**self._step)) + _TINY
            value -= rate * mean / (1 - _MEAN**self._step) / corrected


def export(network: Autoencoder, *, above: bool = False) -> bytes:
    """Return the network as an ONNX model: input ``features`` ``[N, F]`` float32, output ``errors`` float64.

    An error is the square of what is left of an input, in units of what is usually left; scaling is part of
    the graph. Every bit of an error is the same whatever the size of the batch.

    Parameters
    ----------
    network
        What `train` returned.
    above
        Whether only inputs above what is given back of them count, for those that are sizes: an error is 0
        below it.

    Raises
    ------
    ArithmeticError
        If a sum in the network could round.
    """
    from onnx import TensorProto, helper

    features = len(network.mean)
    constants: dict[str, Array] = {
        "mean": network.mean, "scale": 1 / network.spread, "one": np.array(1.0),
        "weight_of_error": 1 / network.error,
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Sub", ["wide", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        *_gridded(helper, constants, "scaled", "inputs", _INPUT_STEPS),
    ]
    before, largest, steps = "inputs", (LARGEST + np.abs(network.mean)) / network.spread, _INPUT_STEPS
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        sums = (largest + 1) @ np.abs(weight) + np.abs(bias)
        require_exact(float(sums.max()), steps * _WEIGHT_STEPS, np.float64)
        constants[f"weight{layer}"], constants[f"bias{layer}"] = weight, bias
        nodes += [
            helper.make_node("MatMul", [before, f"weight{layer}"], [f"product{layer}"]),
            helper.make_node("Add", [f"product{layer}", f"bias{layer}"], [f"sum{layer}"]),
        ]
        if layer < len(network.weights) - 1:
            nodes += [
                helper.make_node("Abs", [f"sum{layer}"], [f"size{layer}"]),
                helper.make_node("Add", [f"size{layer}", "one"], [f"over{layer}"]),
                helper.make_node("Div", [f"sum{layer}", f"over{layer}"], [f"softsign{layer}"]),
                *_gridded(helper, constants, f"softsign{layer}", f"units{layer}", _UNIT_STEPS),
            ]
            before, largest, steps = f"units{layer}", np.ones(weight.shape[1]), _UNIT_STEPS
    nodes += [
        helper.make_node("Sub", ["inputs", f"sum{len(network.weights) - 1}"], ["left"]),
    ]
    if above:
        constants["zero"] = np.array(0.0)
        nodes.append(helper.make_node("Max", ["left", "zero"], ["above"]))
    nodes += [
        helper.make_node("Mul", ["above" if above else "left", "weight_of_error"], ["weighted"]),
        helper.make_node("Mul", ["weighted", "weighted"], ["errors"]),
    ]
    return model_of(
        "autoencoder",
        nodes,
        inputs={"features": (TensorProto.FLOAT, ["N", features])},
        outputs={"errors": (TensorProto.DOUBLE, ["N", features])},
        constants=constants,
    )


def _gridded(helper: Any, constants: dict[str, Array], value: str, name: str, steps: float) -> list[Any]:  # noqa: ANN401
    """Return nodes that round a value to multiples of ``1 / steps``, a power of two."""
    constants[f"steps_of_{name}"], constants[f"step_of_{name}"] = np.array(steps), np.array(1 / steps)
    return [
        helper.make_node("Mul", [value, f"steps_of_{name}"], [f"{name}_in_steps"]),
        helper.make_node("Round", [f"{name}_in_steps"], [f"{name}_rounded"]),
        helper.make_node("Mul", [f"{name}_rounded", f"step_of_{name}"], [name]),
    ]
