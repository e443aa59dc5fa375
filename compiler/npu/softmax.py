"""Softmax as a chain of element-wise operations on int32, exact as TFLite's fixed point.

Exponentials come from a table of int32; their sum is inverted by three Newton-Raphson steps, as in
gemmlowp's `one_over_one_plus_x_for_x_in_0_1`. The order of operations is that of Vela's softmax.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.npu.chain import FRACTION, Chain
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation


def softmax_operations(
    source: FeatureMap, target: FeatureMap, table: NDArray[np.int32], origin: str
) -> list[Operation]:
    """Softmax over the channels of int8 (rows, 1, depth).

    Args:
        source, target: input and output.
        table: exp(-d * scale) in Q0.31 for differences d of 0 to 255.
        origin: the model node.
    """
    chain = Chain(target.storage, origin)
    rows, _, depth = source.shape
    flat = FeatureMap(source.storage, (rows, depth, 1), (rows, depth, 1))
    one = (rows, 1, 1)
    largest = FeatureMap(f"{target.storage} largest", one, one)
    chain.add("max_pool", flat, ofm=largest, kernel=(1, depth))
    exponential = chain.add(
        "subtract",
        source,
        largest,
        ofm=FeatureMap(
            f"{target.storage} exponentials",
            source.shape,
            source.shape,
            dtype="int32",
            zero_point=127,
        ),
        table=table[::-1].astype(np.int32),
    )
    exponential = FeatureMap(exponential.storage, source.shape, source.shape, dtype="int32")
    addend = chain.add("shift_right", exponential, 12, rounding="natural")
    total = FeatureMap(f"{target.storage} sum", one, one, dtype="int32")
    chain.add("reduce_sum", addend, ofm=total, scale=(1, 0), rounding="natural")
    zeros = chain.add("leading_zeros", total)
    right = chain.add("subtract", zeros, 12 + 31 - 8, swapped=True)
    headroom = chain.add("subtract", zeros, 1)
    x = chain.add("shift_left", total, headroom)
    x = chain.add("subtract", x, 1 << 30)
    x = chain.add("shift_left", x, 1)
    half = chain.add("add", x, (1 << 31) - 1, scale=(1, 1))
    estimate = chain.add("multiply", half, -1010580540, scale=FRACTION)
    estimate = chain.add("add", estimate, 1515870810)
    for _ in range(3):
        product = chain.add("multiply", estimate, half, scale=FRACTION)
        rest = chain.add("subtract", product, 1 << 29, swapped=True)
        step = chain.add("multiply", estimate, rest, scale=FRACTION)
        step = chain.add("multiply", step, 4, scale=(1, 0))
        estimate = chain.add("add", estimate, step)
    # Twice the estimate is the reciprocal; of a sum of exactly 1 it would not fit 32 bits.
    scaled = chain.add("multiply", exponential, estimate, scale=(1 << 30, 30))
    chain.add("shift_right", scaled, right, ofm=target, rounding="natural")
    return chain.operations
