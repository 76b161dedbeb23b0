"""The transformer as an ONNX graph that is quick to run, of the operators of the standard alone.

It computes what the network in `models.transformer` does, in fewer and larger steps: query, key and value of
all heads are one product; the scale and shift of a layer norm, and the square root of the heads' width, are
in the weights behind them; the two layers about the code are one; places and biases are added at once. What a
plain export needs 700 nodes for are 170, and ONNX Runtime spends its time in products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.onnx_graph import model_of
from operators.bar_windows import COLUMNS, WINDOW
from tapewatch.records import Array, Floats

#: Of the layer norms, as in Flax.
_EPSILON = 1e-6
_FLOAT = 1  # onnx.TensorProto.FLOAT, whose import is late

#: A layer's kernel, shape ``(inputs, outputs)``, and its bias.
Layer = tuple[Floats, Floats]
#: The layers of a block by name; of norms scale and bias.
Block = Mapping[str, Layer]


class _Nodes:
    """Nodes and constants of a graph, each named after its number."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def constant(self, values: Any, kind: type = np.float32) -> str:  # noqa: ANN401 - whatever NumPy takes
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(values, kind)
        return name

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:  # noqa: ANN401
        from onnx.helper import make_node

        named = list(outputs) or [f"value_{len(self.nodes)}"]
        self.nodes.append(make_node(operator, list(inputs), named, **attributes))
        return named[0]

    def shaped(self, value: str, *shape: int) -> str:
        return self.add("Reshape", value, self.constant(shape, np.int64))

    def rows(self, value: str, layer: Layer) -> str:
        """Return a layer of rows, shape ``(n * WINDOW, outputs)``."""
        return self.add("Gemm", value, self.constant(layer[0]), self.constant(layer[1]))

    def normal(self, value: str, width: int) -> str:
        """Return the rows without mean, of standard deviation 1."""
        plain = self.constant(np.ones(width)), self.constant(np.zeros(width))
        return self.add("LayerNormalization", value, *plain, axis=-1, epsilon=_EPSILON)


def graph_of(
    inward: Layer,
    encoder: Sequence[Block],
    code: Layer,
    decode: Layer,
    decoder: Sequence[Block],
    last: Layer,
    outward: Layer,
    places: Array,
    heads: int,
    weight: Array,
) -> bytes:
    """Return the network as a serialised ONNX model.

    Parameters
    ----------
    inward, code, decode, last, outward
        Layers; of the norm ``last`` scale and bias.
    encoder, decoder
        Blocks of ``before``, ``query``, ``key``, ``value``, ``out``, ``between``, ``first`` and ``second``.
    places
        What is added for a bar's place, shape ``(WINDOW, width)``.
    heads
        Heads of the attention.
    weight
        By what the squared errors are multiplied, shape ``(len(COLUMNS),)``.

    Returns
    -------
    bytes
        Of a model whose input ``features`` and output ``errors`` are float32 ``[N, WINDOW, COLUMNS]``.
    """
    graph, width, columns = _Nodes(), places.shape[1], len(COLUMNS)
    hidden = np.ones((WINDOW, 1), np.float32)
    hidden[-1] = 0
    x = graph.add("Mul", "features", graph.constant(hidden))
    x = graph.add("MatMul", x, graph.constant(inward[0]))
    x = graph.add("Add", x, graph.constant(inward[1] + places))
    for block in encoder:
        x = _block(graph, x, block, heads, width)
    joined = _wide(code[0]) @ decode[0]
    x = graph.add("MatMul", x, graph.constant(joined))
    x = graph.add("Add", x, graph.constant(_wide(code[1]) @ decode[0] + decode[1] + places))
    for block in decoder:
        x = _block(graph, x, block, heads, width)
    x = graph.rows(graph.shaped(graph.normal(x, width), -1, width), _behind(last, outward))
    left = graph.add("Sub", graph.shaped(x, -1, WINDOW, columns), "features")
    graph.add("Mul", graph.add("Mul", left, left), graph.constant(weight), outputs=["errors"])
    shape: list[str | int] = ["N", WINDOW, columns]
    return model_of(
        "transformer",
        graph.nodes,
        {"features": (_FLOAT, shape)},
        {"errors": (_FLOAT, shape)},
        graph.constants,
    )


def _block(graph: _Nodes, x: str, block: Block, heads: int, width: int) -> str:
    """Add attention and two layers to ``x``, shape ``(n, WINDOW, width)``."""
    each, scale = width // heads, (width // heads) ** -0.5
    parts = [_behind(block["before"], block[name]) for name in ("query", "key", "value")]
    parts[0] = parts[0][0] * scale, parts[0][1] * scale
    joined = np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts])
    rows = graph.rows(graph.shaped(graph.normal(x, width), -1, width), joined)
    by_head = graph.add("Transpose", graph.shaped(rows, -1, WINDOW, 3 * heads, each), perm=[0, 2, 1, 3])
    names = [f"{part}_{len(graph.nodes)}" for part in ("query", "key", "value")]
    graph.add("Split", by_head, graph.constant([heads] * 3, np.int64), outputs=names, axis=1)
    query, key, value = names
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    seen = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    seen = graph.shaped(graph.add("Transpose", seen, perm=[0, 2, 1, 3]), -1, width)
    x = graph.add("Add", x, graph.shaped(graph.rows(seen, block["out"]), -1, WINDOW, width))
    normal = graph.shaped(graph.normal(x, width), -1, width)
    raised = graph.add("Relu", graph.rows(normal, _behind(block["between"], block["first"])))
    return graph.add("Add", x, graph.shaped(graph.rows(raised, block["second"]), -1, WINDOW, width))


def _behind(norm: Layer, layer: Layer) -> Layer:
    """Return a layer that is given the plain norm, with the scale and shift of the norm in its weights."""
    kernel = _wide(layer[0])
    return _wide(norm[0])[:, None] * kernel, layer[1] + _wide(norm[1]) @ kernel


def _wide(values: Floats) -> Floats:
    # Weights are put together in float64, and rounded once.
    wide: Floats = np.asarray(values, np.float64)
    return wide
