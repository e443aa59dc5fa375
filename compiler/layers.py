"""What every tensor of a model file holds: as compiled, and as the model's own runtime has it.

The compiled side is the numpy interpreter, or the generated C with the tensors as outputs: the
kernels are those of the model, but as each tensor has a buffer of its own, operators that compute
in place do so no longer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Layer
from tinyaot.compiler.oracle import reference_outputs
from tinyaot.compiler.reference import evaluate
from tinyaot.schedules.workload import Reshape

Array = NDArray[Any]

# Bytes of tensors that one program hands out: boards have little RAM.
_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class LayerValues:
    """A tensor of the model file in some inferences.

    Attributes:
        node: the model node that computes it, for example `CONV_2D #3 "model/conv1"`.
        name: of the tensor in the file.
        shape: in the file.
        elements: flat indices, in the file's order, of the elements that follow; those of channels
            that were removed are not among them.
        got, expected: (inferences, elements) as compiled and from the model's own runtime; the
            types of the graph, where uint8 is int8.
    """

    node: str
    name: str
    shape: tuple[int, ...]
    elements: NDArray[np.int64]
    got: Array
    expected: Array


def observed_parts(graph: Graph) -> Iterator[Graph]:
    """The graph with tensors of layers as its outputs, as many at once as fit a small device.

    Tensors whose bytes are those of others are left out: see `values_of`.
    """
    roots = _roots(graph)
    outside = {*graph.inputs, *graph.constants, *(state.tensor for state in graph.states)}
    wanted = [
        root
        for root in dict.fromkeys(roots[layer.tensor] for layer in graph.layers)
        if root not in outside
    ]
    part: list[str] = []
    size = 0
    for name in wanted:
        if part and size + graph.tensors[name].nbytes > _BYTES_AT_ONCE:
            yield replace(graph, outputs=tuple(part))
            part, size = [], 0
        part.append(name)
        size += graph.tensors[name].nbytes
    if part:
        yield replace(graph, outputs=tuple(part))


def values_of(
    graph: Graph, inputs: Sequence[Array], outputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Every layer's tensor from those that `observed_parts` makes outputs."""
    roots = _roots(graph)
    known = {**graph.constants, **dict(zip(graph.inputs, inputs, strict=True)), **outputs}
    return {
        layer.tensor: known[roots[layer.tensor]]
        for layer in graph.layers
        if roots[layer.tensor] in known
    }


def interpreted(graph: Graph, inputs: Sequence[Array]) -> dict[str, Array]:
    """Every layer's tensor from the numpy interpreter."""
    values = evaluate(graph, inputs)
    return {layer.tensor: values[layer.tensor] for layer in graph.layers}


def _roots(graph: Graph) -> dict[str, str]:
    """For each tensor the one whose bytes it is: itself, or what it is a reshape of."""
    roots = {name: name for name in graph.tensors}
    for node in graph.nodes:
        if isinstance(node.workload, Reshape):
            roots[node.output] = roots[node.inputs[0]]
    return roots


def compared_layers(
    model: str | Path,
    graph: Graph,
    given: Sequence[Sequence[Array]],
    got: Sequence[Mapping[str, Array]],
) -> list[LayerValues]:
    """Sets what was computed beside what the model's own runtime computes.

    Args:
        model: the file.
        graph: what it was compiled to.
        given: for each inference the inputs as the file declares them.
        got: for each inference the tensors of layers by name.

    Raises:
        TinyaotError: the runtime is missing or failed.
    """
    path = Path(model)
    data = path.read_bytes()
    names = _in_file(data)
    layers = [layer for layer in graph.layers if layer.source in names and layer.tensor in got[0]]
    if not layers:
        return []
    sources = list(dict.fromkeys(layer.source for layer in layers))
    with tempfile.TemporaryDirectory(prefix="tinyaot-layers-") as folder:
        copy = Path(folder) / f"layers{path.suffix}"
        copy.write_bytes(_with_outputs(data, sources))
        expected = reference_outputs(copy, given)
    found = []
    for layer in layers:
        own = np.stack([one[layer.tensor].reshape(-1) for one in got])
        theirs = [_signed(one[sources.index(layer.source)]) for one in expected]
        kept = graph.kept_channels.get(layer.tensor)
        elements = _as_stored(np.arange(int(np.prod(layer.shape, dtype=int))), layer, kept)
        found.append(
            LayerValues(
                *(layer.node, layer.source, layer.shape, elements, own),
                np.stack([_as_stored(array, layer, kept) for array in theirs]),
            )
        )
    return found


def _signed(array: Array) -> Array:
    return (array.astype(np.int16) - 128).astype(np.int8) if array.dtype == np.uint8 else array


def _as_stored(array: Array, layer: Layer, kept: NDArray[np.int64] | None) -> Array:
    """The elements of a tensor of the file in the order in which the graph stores them."""
    flat = array.reshape(-1)
    if layer.places is not None:
        stored = np.empty_like(flat)
        stored[layer.places] = flat
        flat = stored
    if kept is not None:
        flat = flat.reshape(layer.stored_shape)[..., kept].reshape(-1)
    return flat


def _in_file(data: bytes) -> set[str]:
    """Names of the tensors that the file's operators write."""
    # Here, and not above: frontends bring TVM with them.
    from tinyaot.compiler.frontend.tflite import is_tflite, result_names

    if is_tflite(data):
        return set(result_names(data))
    import onnx

    return {name for node in onnx.load_from_string(data).graph.node for name in node.output}


def _with_outputs(data: bytes, names: Sequence[str]) -> bytes:
    from tinyaot.compiler.frontend.tflite import is_tflite, with_outputs

    if is_tflite(data):
        return with_outputs(data, names)
    import onnx

    model = onnx.load_from_string(data)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    copy: bytes = model.SerializeToString()
    return copy
