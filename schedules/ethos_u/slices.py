"""Slices: an operation in parts of its channels, so that weights of the next part are copied while
the present one computes."""

from __future__ import annotations

from dataclasses import replace

from tinyaot.targets.ethos_u.operation import BRICK, Operation


def slice_operation(one: Operation, count: int) -> list[Operation] | None:
    """An operation in parts that each have the weights of some of its output channels.

    Args:
        one: convolution or depthwise convolution, whole.
        count: of parts; all begin at a multiple of 16 channels, as blocks and bricks do.

    Returns:
        The parts in order, or None if it cannot be cut so often.
    """
    depth = one.ofm.shape[2]
    if not can_slice(one) or not 1 < count <= -(-depth // BRICK):
        return None
    size = -(-depth // (BRICK * count)) * BRICK
    bounds = [(low, min(low + size, depth)) for low in range(0, depth, size)]
    return [_part(one, low, high) for low, high in bounds] if len(bounds) == count else None


def can_slice(one: Operation) -> bool:
    """Whether an operation has weights that can be cut."""
    return (
        one.weights is not None
        and one.bias is not None
        and one.scales is not None
        and one.ofm.shape == one.ofm.whole
        and (one.kind == "conv2d" or one.ifm.shape[2] == one.ofm.shape[2])
    )


def _part(one: Operation, low: int, high: int) -> Operation:
    assert one.weights is not None
    assert one.bias is not None
    assert one.scales is not None
    depthwise = one.kind == "depthwise"
    return replace(
        one,
        ifm=one.ifm.part(channels=(low, high)) if depthwise else one.ifm,
        ofm=one.ofm.part(channels=(low, high)),
        weights=one.weights[..., low:high] if depthwise else one.weights[low:high],
        bias=one.bias[low:high],
        scales=one.scales[low:high],
        macs=one.macs * (high - low) // one.ofm.shape[2],
    )
