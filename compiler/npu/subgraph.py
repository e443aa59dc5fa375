"""Who makes the commands of a group of operators: our own generator, or Vela's regor.

A group is cut out of the TFLite file it came from: regor reads the operators as they were before
legalization, so the group must be whole operators with the file's own tensors at its seams.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.npu.emit import CompiledRegion
from tinyaot.compiler.npu.estimate import estimate_stream
from tinyaot.compiler.npu.region import compile_region
from tinyaot.compiler.npu.tuned import NpuRecords
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import Constant, Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.model import parse_driver_payload, run_stream
from tinyaot.targets.ethos_u.ports import separate_ports
from tinyaot.targets.ethos_u.regor import CompiledNetwork, compile_network
from tinyaot.targets.ethos_u.vela import has_cache

_COMPARED_INPUTS = 4
_INPUTS, _OUTPUTS, _OPERATORS = 6, 8, 10
"""Where the table of a subgraph has these fields; see the schema of TFLite."""


def compile_subgraph(network: bytes, npu: Npu) -> CompiledNetwork:
    """Compiles a TFLite network, all of whose operators the NPU runs.

    Args:
        network: the flatbuffer.
        npu: the accelerator and its system.

    Returns:
        One command stream; inputs are in region 3, outputs in region 4.

    Raises:
        TinyaotError: regor leaves an operator to the CPU, or refuses the network.
    """
    return compile_network(
        network,
        npu.name,
        macs=npu.macs,
        cores=npu.cores,
        system=npu.system,
        memory=npu.memory,
        config=npu.config_file.read_text(encoding="utf-8"),
        optimise=npu.optimise,
        arena_bytes=npu.sram_limit,
    )


def compile_group(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    decisions: Mapping[Workload, Decisions] | None,
    model: bytes,
    records: NpuRecords | None = None,
) -> CompiledRegion:
    """The commands of some nodes, by the code generator that `npu.codegen` names.

    `best` takes the one with fewer estimated cycles, by one cost model for both, among those within
    the arena's limit; under `npu.optimise` size the one that needs less SRAM. Vela's must also
    compute the same. Our own where they are equal or Vela refuses; for U85 there is Vela's alone.

    Args:
        nodes: in execution order.
        graph: that they are of.
        inputs, outputs: tensors that are read from and written to the outside.
        npu: the accelerator.
        decisions: sizes by workload, for our own generator.
        model: the TFLite file that the graph was read from.
        records: what tuning has found, for our own generator.

    Raises:
        TinyaotError: Vela is the only choice and does not compile the group; says why.
    """
    if npu.by_vela_alone:
        return _vela_region(nodes, graph, inputs, outputs, npu, model)
    own = compile_region(nodes, graph, inputs, outputs, npu, decisions, records)
    if npu.codegen == "own":
        return own
    try:
        vela = _vela_region(nodes, graph, inputs, outputs, npu, model)
    except TinyaotError as error:
        return replace(own, choice=f"own code; Vela refuses: {error.message}")
    cycles = [estimate_stream(region.stream, npu).cycles for region in (own, vela)]
    sram = [region.sram_bytes for region in (own, vela)]
    text = (
        f"{cycles[0]:,} estimated cycles and {sram[0]:,} bytes of SRAM by own code, "
        f"{cycles[1]:,} and {sram[1]:,} by Vela's"
    )
    order = [(sram[one], cycles[one]) if npu.optimise == "size" else cycles[one] for one in (0, 1)]
    fits = [npu.sram_limit is None or size <= npu.sram_limit for size in sram]
    if not fits[1] or (fits[0] and order[0] <= order[1]):  # type: ignore[operator]
        return replace(own, choice=f"own code: {text}")
    if not _agree(own, vela, npu):
        return replace(own, choice=f"own code: {text}, but it computes something else")
    return replace(vela, choice=f"Vela's code: {text}")


def _agree(own: CompiledRegion, vela: CompiledRegion, npu: Npu) -> bool:
    """Whether two streams for the same group give the same on random inputs, without hazards.

    Vela does not round all operators as TFLite Micro does; our own code takes none that it would
    not compute exactly.
    """
    workload = own.node.workload
    assert isinstance(workload, NpuRegion)
    rng = np.random.default_rng(0)
    for _ in range(_COMPARED_INPUTS):
        inputs = [rng.integers(0, 256, size).astype(np.uint8) for size in workload.input_sizes]
        try:
            results = [_outputs(region, inputs, npu) for region in (own, vela)]
        except TinyaotError:
            return False
        if results[0] != results[1]:
            return False
    return True


def _outputs(region: CompiledRegion, inputs: Sequence[NDArray[np.uint8]], npu: Npu) -> list[bytes]:
    workload = region.node.workload
    assert isinstance(workload, NpuRegion)
    outputs = [np.zeros(size, np.uint8) for size in workload.output_sizes]
    memory = [
        np.array(region.node.constants["weights"]).view(np.uint8),
        np.zeros(workload.workspace, np.uint8),
        np.zeros(workload.cache, np.uint8),
        *(one.copy() for one in inputs),
        *outputs,
    ]
    regions = {number: one for number, one in enumerate(memory) if one.size}
    run_stream(region.stream, regions, npu.name)
    return [one.tobytes() for one in outputs]


def vela_refusal(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    model: bytes,
) -> str:
    """Why Vela does not compile the nodes of an operator; empty if it does.

    Arguments are those of `compile_group`.
    """
    try:
        _vela_region(nodes, graph, inputs, outputs, npu, model)
    except TinyaotError as error:
        return error.message
    return ""


def _vela_region(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    model: bytes,
) -> CompiledRegion:
    if model[4:8] != b"TFL3":
        raise TinyaotError("Vela reads TFLite files, and this model is none")
    operators = _operators(nodes, graph)
    network = compile_subgraph(cut_tflite(model, operators, inputs, outputs, graph), npu)
    for names, tensors in ((inputs, network.inputs), (outputs, network.outputs)):
        expected = [graph.tensors[name].nbytes for name in names]
        if [tensor.nbytes for tensor in tensors] != expected:
            raise TinyaotError("Vela has other inputs and outputs than the group")
    payload = separate_ports(network)
    workload = NpuRegion(
        npu.name,
        tuple(graph.tensors[name].nbytes for name in inputs),
        tuple(graph.tensors[name].nbytes for name in outputs),
        network.scratch_bytes,
        network.fast_scratch_bytes,
        len(network.operations),
        sum(node.workload.macs for node in nodes),
    )
    arrays = {
        "stream": np.frombuffer(payload, np.uint8),
        "weights": np.frombuffer(network.read_only or bytes(16), np.uint8),
    }
    origins = [node.origin for node in nodes]
    count = f"{len(operators)} operators" if len(operators) > 1 else "1 operator"
    last = f" to {origins[-1]}" if origins[-1] != origins[0] else ""
    origin = f"{npu.name}: {count}, {origins[0]}{last}"
    node = Node(workload, tuple(inputs), outputs[0], arrays, origin, (), tuple(outputs[1:]))
    stream = parse_driver_payload(payload)
    return CompiledRegion(*(node, stream, (), "vela"), network=network, own_sram=has_cache(npu))


def _operators(nodes: Sequence[Node], graph: Graph) -> list[int]:
    """Numbers of the file's operators that the nodes are; all nodes of each must be among them."""
    inside = {node.origin for node in nodes}
    members = {id(node) for node in nodes}
    for node in graph.nodes:
        if node.origin in inside and id(node) not in members:
            if isinstance(node.workload, Constant):
                continue
            raise TinyaotError(f"{node.origin} is split between the NPU and the CPU")
    numbers = set()
    for origin in inside:
        found = re.match(r"[A-Z0-9_]+ #(\d+)", origin)
        if found is None:
            raise TinyaotError(f"{origin} is no operator of a TFLite file, which regor reads")
        numbers.add(int(found[1]))
    return sorted(numbers)


def cut_tflite(
    model: bytes,
    operators: Collection[int],
    inputs: Sequence[str],
    outputs: Sequence[str],
    graph: Graph,
) -> bytes:
    """A TFLite file with some operators of another one.

    The file stays as it is but for three vectors of its main subgraph: operators are struck from
    theirs, and new vectors of inputs and outputs are appended.

    Args:
        model: the flatbuffer.
        operators: numbers of those that stay.
        inputs, outputs: names of tensors of `graph`.
        graph: what was read from the file.

    Raises:
        TinyaotError: a tensor at the seam is not in the file as it is in the graph.
    """
    import tflite

    subgraph = tflite.Model.GetRootAs(model, 0).Subgraphs(0)
    places = _places(subgraph, graph)
    chosen = [
        [_place(graph.tensors[name], graph, subgraph, places) for name in names]
        for names in (inputs, outputs)
    ]
    table = subgraph._tab
    data = bytearray(model) + bytes(-len(model) % 4)
    start = table.Vector(table.Offset(_OPERATORS))
    for index, number in enumerate(sorted(operators)):
        entry = start + 4 * number
        target = entry + struct.unpack_from("<I", model, entry)[0]
        # Offsets count forward from where they stand, and entries only move to the front.
        struct.pack_into("<I", data, start + 4 * index, target - (start + 4 * index))
    struct.pack_into("<I", data, start - 4, len(operators))
    for position, numbers in zip((_INPUTS, _OUTPUTS), chosen, strict=True):
        field = table.Pos + table.Offset(position)
        struct.pack_into("<I", data, field, len(data) - field)
        data += struct.pack(f"<{1 + len(numbers)}i", len(numbers), *numbers)
    return bytes(data)


def _places(subgraph: Any, graph: Graph) -> dict[str, int]:
    """Numbers of the file's tensors by the names that they have in the graph."""
    # Here, and not above: it imports TVM.
    from tinyaot.compiler.frontend.tflite_tensors import unique_names

    numbers = {name: index for index, name in enumerate(unique_names(subgraph))}
    places = {layer.tensor: numbers[layer.source] for layer in graph.layers if layer.places is None}
    inputs = (int(one) for one in np.atleast_1d(subgraph.InputsAsNumpy()))
    return {**places, **dict(zip(graph.inputs, inputs, strict=True))}


def _place(tensor: Tensor, graph: Graph, subgraph: Any, places: dict[str, int]) -> int:
    if tensor.name not in places:
        raise TinyaotError(f"the tensor {tensor.name} between NPU and CPU is not in the file")
    index = places[tensor.name]
    original = subgraph.Tensors(index)
    elements = int(np.prod([max(int(one), 1) for one in np.atleast_1d(original.ShapeAsNumpy())]))
    kinds = {9: "int8", 7: "int16", 2: "int32"}
    quantization = original.Quantization()
    zero_point = 0
    if quantization is not None and quantization.ZeroPointLength() == 1:
        zero_point = int(quantization.ZeroPoint(0))
    same = (
        kinds.get(original.Type()) == tensor.dtype
        and elements == int(np.prod(tensor.shape, dtype=np.int64))
        and zero_point == tensor.zero_point
        and tensor.name not in graph.kept_channels
    )
    if not same:
        raise TinyaotError(
            f"the tensor {tensor.name} between NPU and CPU is {tensor.dtype} of shape "
            f"{tensor.shape}, in the file it is another"
        )
    return index
