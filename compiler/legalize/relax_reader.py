"""Reads the dataflow of an imported Relax function: definitions, constants, attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import ir, relax


@dataclass(frozen=True)
class QuantizedConstant:
    """A dequantized constant: real = scale * (values - zero_point).

    Attributes:
        values: integers in the layout the operator reads.
        scale: one element, or one per channel in channel order.
        zero_point: as scale.
    """

    values: NDArray[np.integer[Any]]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]


class RelaxReader:
    """Definitions of the variables of one dataflow function."""

    def __init__(self, func: relax.Function) -> None:
        self.params = list(func.params)
        self._values: dict[Any, Any] = {}
        self.order: dict[Any, int] = {}
        for block in func.body.blocks:
            for binding in block.bindings:
                self.order[binding.var] = len(self.order)
                self._values[binding.var] = binding.value
        self.result = self.follow(func.body.body)

    def follow(self, expr: Any) -> Any:
        """The last variable of a chain of plain copies, or the expression itself."""
        while isinstance(expr, ir.Var) and isinstance(self._values.get(expr), ir.Var):
            expr = self._values[expr]
        return expr

    def value(self, expr: Any) -> Any:
        """The call or constant behind an expression; parameters stand for themselves."""
        expr = self.follow(expr)
        if isinstance(expr, ir.Var):
            return self._values.get(expr, expr)
        return expr

    def constant(self, expr: Any) -> NDArray[np.generic] | None:
        """The numpy value of a constant, through reshapes and permutations; None if not one."""
        value = self.value(expr)
        if isinstance(value, ir.GenericConst):
            return np.asarray(value.value.numpy())
        name = op_name(value)
        if name == "relax.reshape":
            inner = self.constant(value.args[0])
            return None if inner is None else inner.reshape(shape_of(value))
        if name == "relax.permute_dims":
            inner = self.constant(value.args[0])
            return None if inner is None else inner.transpose(axes_of(value))
        return None

    def quantized_constant(self, expr: Any) -> QuantizedConstant | None:
        """A dequantized constant, through reshapes and permutations; None if not one."""
        value = self.value(expr)
        name = op_name(value)
        if name == "relax.dequantize":
            values = self.constant(value.args[0])
            scale, zero_point = self.constant(value.args[1]), self.constant(value.args[2])
            if values is None or scale is None or zero_point is None:
                return None
            return QuantizedConstant(
                values,  # type: ignore[arg-type]
                np.atleast_1d(scale).astype(np.float32),
                np.atleast_1d(zero_point).astype(np.int64),
            )
        if name in ("relax.reshape", "relax.permute_dims"):
            inner = self.quantized_constant(value.args[0])
            if inner is None:
                return None
            moved = (
                inner.values.reshape(shape_of(value))
                if name == "relax.reshape"
                else inner.values.transpose(axes_of(value))
            )
            return QuantizedConstant(moved, inner.scale, inner.zero_point)
        return None


def op_name(expr: Any) -> str:
    """The operator of a call, such as `relax.add`; empty for anything else."""
    return str(expr.op.name) if isinstance(expr, ir.Call) and isinstance(expr.op, ir.Op) else ""


def shape_of(expr: Any) -> tuple[int, ...]:
    """The static shape of an expression."""
    return tuple(int(size) for size in expr.ty.shape)


def dtype_of(expr: Any) -> str:
    """The element type of a tensor expression."""
    return str(expr.ty.dtype)


def axes_of(call: Any) -> tuple[int, ...]:
    """The axes of a permute_dims; reversed where none are given."""
    axes = call.attrs.axes
    rank = len(call.args[0].ty.shape)
    if axes is None:
        return tuple(reversed(range(rank)))
    return tuple(int(axis) % rank for axis in axes)


def ints(values: Any) -> tuple[int, ...]:
    """An attribute that holds integers, as a tuple."""
    return tuple(int(value) for value in values)
