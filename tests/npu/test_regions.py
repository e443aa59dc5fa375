"""Groups of operators on Ethos-U: what the functional model computes from our command streams."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fuzz.graphs import draw_graph
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.frontend import import_model
from tinyaot.compiler.graph import Graph
from tinyaot.compiler.legalize import legalize
from tinyaot.compiler.npu.emit import CompiledRegion
from tinyaot.compiler.npu.estimate import estimate_stream
from tinyaot.compiler.oracle import random_inputs
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.transform import simplify
from tinyaot.schedules.ethos_u.blocks import pack
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu, configure, get_npu

if TYPE_CHECKING:
    from tinyaot.compiler.npu.partition import Partition

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason="needs the extra ethos-u"
)

OWN = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
)


def graph_of(model: bytes) -> Graph:
    return simplify(legalize(import_model(model), "m"))


def differing(
    graph: Graph,
    npu: Npu,
    count: int = 2,
    decisions: Mapping[Workload, Decisions] | None = None,
) -> int:
    """Elements of the outputs that the partitioned graph computes otherwise."""
    from tinyaot.compiler.npu.partition import partition

    parts = partition(graph, npu, decisions)
    assert parts.regions, [fallback.reason for fallback in parts.fallbacks]
    return _differing(graph, parts, count)


def _differing(graph: Graph, parts: Partition, count: int) -> int:
    from tinyaot.compiler.npu.simulate import simulate

    wrong = 0
    for given in random_inputs([graph.tensors[name] for name in graph.inputs], count, 5):
        arrays = list(given.values()) if isinstance(given, dict) else list(given)
        expected, got = evaluate(graph, arrays), simulate(parts.graph, arrays)
        wrong += sum(int((expected[name] != got[name]).sum()) for name in graph.outputs)
    return wrong


def fuzz(seeds: Sequence[int], npu: Npu) -> list[int]:
    """Seeds of random graphs that do not come out right."""
    from tinyaot.compiler.npu.partition import partition

    failed, compared = [], 0
    for seed in seeds:
        builder = TFLiteBuilder()
        builder.output(draw_graph(builder, seed))
        graph = graph_of(builder.build())
        parts = partition(graph, npu)
        compared += bool(parts.regions)
        if parts.regions and _differing(graph, parts, 2):
            failed.append(seed)
    assert compared > len(seeds) / 2
    return failed


@pytest.mark.parametrize("name", OWN)
def test_random_graphs(name: str) -> None:
    first = 40 * OWN.index(name)
    assert fuzz(range(first, first + 8), get_npu(name)) == []


@pytest.mark.campaign
@pytest.mark.parametrize("optimise", ["performance", "size"])
@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256"])
def test_many_random_graphs(name: str, optimise: str) -> None:
    assert fuzz(range(2000, 2500), replace(get_npu(name), optimise=optimise)) == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256"])
def test_many_random_onnx_graphs(name: str) -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from fuzz import onnx_graphs

    from tinyaot.compiler.npu.partition import partition

    failed, compared = [], 0
    for seed in range(250):
        batch = onnx_graphs.Batch()
        onnx_graphs.draw_graph(batch, seed)
        try:
            graph = graph_of(batch.model().SerializeToString())
        except TinyaotError:
            continue
        parts = partition(graph, get_npu(name))
        compared += bool(parts.regions)
        if parts.regions and _differing(graph, parts, 2):
            failed.append(seed)
    assert failed == []
    assert compared > 125


def _residual() -> Graph:
    """Convolutions with a residual sum, on images tall enough to be cut into stripes."""
    builder, rng = TFLiteBuilder(), np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-90, 90, shape).astype(np.int8)

    x = builder.input((1, 20, 12, 16), 0.05, -3)
    trunk = builder.conv2d(
        x, weight=weights(16, 3, 3, 16), weight_scale=0.002, scale=0.06, padding="SAME"
    )
    y = builder.conv2d(
        trunk, weight=weights(16, 3, 3, 16), weight_scale=0.002, scale=0.05, padding="SAME"
    )
    y = builder.conv2d(
        y, weight=weights(16, 3, 3, 16), weight_scale=0.002, scale=0.07, padding="SAME"
    )
    builder.output(builder.add(trunk, y, scale=0.09, zero_point=4))
    return graph_of(builder.build())


@pytest.mark.parametrize("name", ["ethos-u55-64", "ethos-u65-512"])
def test_stripes_save_memory_and_change_nothing(name: str) -> None:
    from tinyaot.compiler.npu.partition import partition

    graph = _residual()
    npu = replace(get_npu(name), optimise="size")
    (whole,) = partition(graph, get_npu(name)).regions.values()
    (small,) = partition(graph, npu).regions.values()
    assert small.node.workload.workspace < 0.8 * whole.node.workload.workspace
    assert differing(graph, npu) == 0
    limited = replace(npu, arena_size=whole.node.workload.workspace // 2)
    (least,) = partition(graph, limited).regions.values()
    assert least.node.workload.workspace <= whole.node.workload.workspace // 2
    assert differing(graph, limited) == 0


def test_a_limit_is_kept_without_a_needless_cascade() -> None:
    from tinyaot.compiler.npu.partition import partition

    graph = _residual()
    (free,) = partition(graph, get_npu("ethos-u55-128")).regions.values()
    needed = free.node.workload.workspace
    for limit in (needed, needed * 3 // 4):
        npu = replace(get_npu("ethos-u55-128"), arena_size=limit)
        (region,) = partition(graph, npu).regions.values()
        assert region.node.workload.workspace <= limit
        assert (len(region.operations) == len(free.operations)) == (limit == needed)


@pytest.mark.parametrize("name", ["ethos-u55-32", "ethos-u65-512"])
@pytest.mark.parametrize("shape", [(1, 7), (3, 40), (1, 2, 3, 5)])
def test_softmax(name: str, shape: tuple[int, ...]) -> None:
    # With the larger scale most sums are exactly 1.
    for scale in (0.09, 2.5):
        builder = TFLiteBuilder()
        builder.output(builder.softmax(builder.input(shape, scale, 7), 1.5))
        graph = graph_of(builder.build())
        assert differing(graph, get_npu(name), 4) == 0


def test_what_the_npu_cannot_compute_is_named() -> None:
    from tinyaot.compiler.npu.partition import partition

    builder = TFLiteBuilder()
    x = builder.input((1, 9, 9, 4), 0.05, 3)
    weight = np.ones((3, 3, 3, 4), np.int8)
    y = builder.conv2d(x, weight=weight, weight_scale=0.1, scale=0.2, dilation=(1, 3))
    builder.output(y)
    graph = graph_of(builder.build())
    parts = partition(graph, get_npu("ethos-u55-128"))
    assert not parts.regions
    (fallback,) = parts.fallbacks
    assert "dilation (1, 3)" in fallback.reason
    assert parts.graph.nodes == graph.nodes
    with pytest.raises(TinyaotError, match="dilation") as caught:
        partition(graph, replace(get_npu("ethos-u55-128"), only=True))
    assert any("--npu-only" in hint for hint in caught.value.hints)


def test_a_limit_holds_where_all_stays_on_the_core() -> None:
    builder = TFLiteBuilder()
    x = builder.input((1, 9, 20, 4), 0.05, 3)
    weight = np.ones((4, 3, 3, 4), np.int8)
    for _ in range(2):
        x = builder.conv2d(x, weight=weight, weight_scale=0.1, scale=0.2, dilation=(1, 3))
    builder.output(x)
    with pytest.raises(TinyaotError, match="the arena needs"):
        compile_model(builder.build(), "cortex-m55+ethos-u55-128", npu={"arena_size": 64})


@pytest.mark.parametrize("name", ["ethos-u55-32", "ethos-u65-512"])
def test_slices_hide_copies_and_change_nothing(name: str) -> None:
    """The weights of the next slice are copied while the present one computes."""
    from tinyaot.compiler.npu.partition import partition

    builder, rng = TFLiteBuilder(), np.random.default_rng(4)
    x = builder.input((1, 6, 6, 40), 0.05, -3)
    weight = rng.integers(-90, 90, (56, 3, 3, 40)).astype(np.int8)
    x = builder.conv2d(x, weight=weight, weight_scale=0.002, scale=0.06, padding="SAME")
    weight = rng.integers(-90, 90, (1, 3, 3, 56)).astype(np.int8)
    x = builder.depthwise_conv2d(x, weight=weight, weight_scale=0.01, scale=0.05)
    builder.output(x)
    graph = graph_of(builder.build())
    npu = replace(get_npu(name), codegen="own")
    workloads = [node.workload for node in graph.nodes]

    def compiled(**knobs: int) -> CompiledRegion:
        decisions = dict.fromkeys(workloads, knobs)
        parts = partition(graph, npu, decisions)
        assert differing(graph, npu, decisions=decisions) == 0
        (region,) = parts.regions.values()
        return region

    whole, sliced = compiled(copied=1, slices=1), compiled(copied=1, slices=4)
    assert [one.ofm.shape[2] for one, _ in sliced.operations] == [16, 16, 16, 8] * 2
    assert all(choice.copied for _, choice in sliced.operations)
    sram = [region.node.workload.workspace for region in (whole, sliced)]
    assert sram[1] < 0.7 * sram[0]
    cycles = [estimate_stream(region.stream, npu).cycles for region in (whole, sliced)]
    if name == "ethos-u55-32":
        # The other computes so fast that it waits for the flash either way.
        assert cycles[1] < 0.8 * cycles[0]


@pytest.mark.parametrize("bricks", [0, 1])
def test_slices_are_of_the_layout_that_is_asked_for(bricks: int) -> None:
    from tinyaot.compiler.npu.partition import partition

    builder, rng = TFLiteBuilder(), np.random.default_rng(5)
    x = builder.input((1, 5, 5, 8), 0.05, -3)
    for inputs, outputs in ((8, 32), (32, 16)):
        weight = rng.integers(-90, 90, (outputs, 3, 3, inputs)).astype(np.int8)
        x = builder.conv2d(x, weight=weight, weight_scale=0.002, scale=0.06, padding="SAME")
    builder.output(x)
    graph = graph_of(builder.build())
    npu = replace(get_npu("ethos-u55-64"), codegen="own")
    decisions = {graph.nodes[0].workload: {"copied": 1, "slices": 2, "bricks": bricks}}
    assert differing(graph, npu, decisions=decisions) == 0
    (region,) = partition(graph, npu, decisions).regions.values()
    layouts = [(one.ifm.bricks, one.ofm.bricks) for one, _ in region.operations]
    assert layouts[:2] == [(False, bool(bricks))] * 2
    assert layouts[2] == (bool(bricks), False)


def test_knobs_that_are_not_valid_are_named() -> None:
    from tinyaot.compiler.npu.plan import Planner
    from tinyaot.compiler.npu.region import region_operations

    graph, npu = _residual(), get_npu("ethos-u55-64")
    planner = Planner(region_operations(graph.nodes, graph, ()), (), npu)
    for knobs, problem in (
        ({"block": pack((64, 64, 128))}, "blocks of 64x64x128"),
        ({"slices": 2}, "2 slices"),
        ({"copied": 2}, "copied=2"),
        ({"cascade": 9, "stripe": 2}, "cascade=9"),
        ({"stripe": 2}, "both"),
        ({"strip": 2}, "no knob strip"),
    ):
        with pytest.raises(ValueError, match=problem):
            planner.plan({1: knobs})


def dedicated(tmp_path: Path, name: str, nbytes: int) -> Npu:
    """An accelerator with an SRAM of its own of that size."""
    npu = get_npu(name)
    text = npu.config_file.read_text(encoding="utf-8")
    text += "\n[Memory_Mode.Small]\ninherit=Memory_Mode.Dedicated_Sram\n"
    path = tmp_path / f"{nbytes}.ini"
    path.write_text(f"{text}arena_cache_size={nbytes}\n", encoding="utf-8")
    options = {"system": "Ethos_U65_High_End", "memory": "Small", "codegen": "own"}
    return configure(npu, config=path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ethos-u65-256", "ethos-u65-512"])
def test_an_sram_of_its_own_is_not_exceeded(tmp_path: Path, name: str) -> None:
    from tinyaot.compiler.npu.partition import partition

    graph = _residual()
    outside = []
    for nbytes in (1 << 18, 9000, 4000, 64):
        npu = dedicated(tmp_path, name, nbytes)
        assert npu.sram_limit == nbytes
        assert differing(graph, npu) == 0
        (region,) = partition(graph, npu).regions.values()
        assert isinstance(region.node.workload, NpuRegion)
        assert region.sram_bytes == region.node.workload.cache <= nbytes
        outside.append(region.node.workload.workspace)
        configured = dedicated(tmp_path, name, 1 << 20)
        limited = replace(configured, arena_size=nbytes)
        (same,) = partition(graph, limited).regions.values()
        assert same.node.workload == region.node.workload
    assert outside[0] == 0
    assert outside == sorted(outside)
    assert outside[-1] > 0


@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-512"])
@pytest.mark.parametrize(
    ("width", "channels", "kernel", "step", "padding"),
    [(10, 1, 4, 2, "SAME"), (24, 3, 3, 2, "SAME"), (9, 2, 5, 3, "VALID"), (12, 2, 7, 2, "SAME")],
)
def test_columns_as_channels(
    name: str, width: int, channels: int, kernel: int, step: int, padding: str
) -> None:
    from tinyaot.compiler.npu.partition import group_compilers

    builder, rng = TFLiteBuilder(), np.random.default_rng(kernel)
    x = builder.input((1, 17, width, channels), 0.05, -3)
    weight = rng.integers(-90, 90, (40, 5, kernel, channels)).astype(np.int8)
    x = builder.conv2d(
        x, weight=weight, weight_scale=0.01, scale=0.06, padding=padding, strides=(2, step)
    )
    builder.output(x)
    graph, npu = graph_of(builder.build()), replace(get_npu(name), codegen="own")
    assert differing(graph, npu) == 0
    (compiler,) = group_compilers(graph, npu)
    (one,) = compiler.planner.operations
    if (channels, kernel) == (1, 4):
        assert one.ifm.shape == (17, width // step, step)
