"""Functions of one element that differ from channel to channel, for any core."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import clamped
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import ChannelAffine, ChannelLookup


@rule(ChannelLookup)
def channel_lookup(workload: ChannelLookup, decisions: Decisions) -> Kernel:
    """One load from the channel's table an element; the output may overlay the input."""
    outer, channels, inner = workload.outer, workload.channels, workload.inner
    size = outer * channels * inner

    @T.prim_func
    def channel_lookup(
        x: T.Buffer((size,), "int8"),
        table: T.Buffer((channels * 256,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for n, c, i in T.grid(outer, channels, inner):
            y[(n * channels + c) * inner + i] = table[
                c * 256 + T.cast(x[(n * channels + c) * inner + i], "int32") + 128
            ]

    return Kernel(channel_lookup, in_place_inputs=(0,))


@rule(ChannelAffine)
def channel_affine(workload: ChannelAffine, decisions: Decisions) -> Kernel:
    """One wide multiply-add an element; the output may overlay the input."""
    outer, channels, inner = workload.outer, workload.channels, workload.inner
    size = outer * channels * inner

    @T.prim_func
    def channel_affine(
        x: T.Buffer((size,), "int8"),
        factor: T.Buffer((channels,), "int32"),
        offset: T.Buffer((channels,), "int64"),
        y: T.Buffer((size,), "int8"),
    ):
        for n, c, i in T.grid(outer, channels, inner):
            y[(n * channels + c) * inner + i] = T.cast(
                clamped(
                    T.call_pure_extern(
                        "int32",
                        "tinyaot_affine",
                        T.cast(x[(n * channels + c) * inner + i], "int32"),
                        factor[c],
                        offset[c],
                        workload.shift,
                    ),
                    *workload.clamp,
                ),
                "int8",
            )

    return Kernel(channel_affine, in_place_inputs=(0,))
