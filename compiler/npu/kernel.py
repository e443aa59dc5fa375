"""The C of a group of operators on the NPU: a call of Arm's Ethos-U core driver.

The interface is `ethosu_driver.h` of ethos-u-core-driver: `ethosu_reserve_driver`,
`ethosu_invoke_v3`, `ethosu_release_driver`. The driver itself flushes and invalidates caches,
through its weak functions `ethosu_flush_dcache` and `ethosu_invalidate_dcache`.
"""

from __future__ import annotations

from tinyaot.compiler.codegen.c import CFunction, Parameter, c_type
from tinyaot.compiler.graph import Graph, Node
from tinyaot.schedules.registry import Kernel
from tinyaot.schedules.workload_npu import NpuRegion

DRIVER_HEADER = "ethosu_driver.h"

CACHE_ARRAY = "npu_cache"
"""The array that all regions use of an SRAM beside the NPU."""

ALIGNMENT = 16
"""Of what the driver gets pointers to."""

NO_DRIVER, FAILED = -2, -3
"""What the kernel returns: no driver is there to reserve; the NPU reported an error."""

_BODY = """\
    uint64_t base[{count}] = {{
{addresses}
    }};
    const size_t sizes[{count}] = {{{sizes}}};
    struct ethosu_driver *const driver = ethosu_reserve_driver();
    if (driver == 0) {{
        return {no_driver};
    }}
    const int failed = ethosu_invoke_v3(driver, stream, {stream}, base, sizes, {count}, 0);
    ethosu_release_driver(driver);
    return failed == 0 ? 0 : {failed};
"""


def region_kernel(node: Node, graph: Graph) -> tuple[Kernel, CFunction]:
    """The kernel of a node whose workload is `NpuRegion`, and its C."""
    workload = node.workload
    assert isinstance(workload, NpuRegion)
    inputs, outputs = (
        [
            Parameter(f"{role}_{index}", c_type(tensor.dtype), tensor.nbytes)
            for index, tensor in enumerate(graph.tensors[name] for name in names)
        ]
        for role, names in (("input", node.inputs), ("output", node.outputs))
    )
    constants = [Parameter(name, "uint8_t", array.nbytes) for name, array in node.constants.items()]
    weights = node.constants["weights"].nbytes
    workspace = "workspace" if workload.workspace else "weights"
    cache = CACHE_ARRAY if workload.cache else workspace
    pointers = [("weights", weights), (workspace, workload.workspace), (cache, workload.cache)]
    pointers += [(one.name, one.size) for one in (*inputs, *outputs)]
    body = _BODY.format(
        count=len(pointers),
        addresses="\n".join(f"        (uint64_t)(uintptr_t){name}," for name, _ in pointers),
        sizes=", ".join(str(size) for _, size in pointers),
        no_driver=NO_DRIVER,
        failed=FAILED,
        stream=node.constants["stream"].nbytes,
    )
    function = CFunction((*inputs, *constants, *outputs), workload.workspace, body)
    return Kernel(None, headers=(), alignment=ALIGNMENT, fallible=True), function
