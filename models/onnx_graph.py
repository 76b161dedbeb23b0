"""Putting ONNX models together, the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapewatch.records import Array

#: Versions of the operator sets and of the format, which any ONNX Runtime since 2022 reads.
_OPSET, _ML_OPSET, _IR = 17, 3, 8

#: Element type and shape.
_Shaped = tuple[int, list[str | int]]


def model_of(
    name: str,
    nodes: Sequence[Any],
    inputs: Mapping[str, _Shaped],
    outputs: Mapping[str, _Shaped],
    constants: Mapping[str, Array],
) -> bytes:
    """Return a checked model of these nodes, serialised.

    Parameters
    ----------
    name
        Name of the graph.
    nodes
        Of ``onnx.helper.make_node``, in the order of the computation.
    inputs, outputs
        Element type (of ``onnx.TensorProto``) and shape by name.
    constants
        Arrays by name.
    """
    import onnx
    from onnx import helper, numpy_helper

    def described(values: Mapping[str, _Shaped]) -> list[Any]:
        return [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in values.items()]

    graph = helper.make_graph(
        list(nodes),
        name,
        described(inputs),
        described(outputs),
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="tapewatch", ir_version=_IR)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
