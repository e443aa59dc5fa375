"""Dense layers on Helium: up to eight vectors of inputs are held while all outputs pass by.

`tinyaot_mve_dense_*` adds the products of such a part of the inputs to all sums, eight outputs at
a time. Layers with one scale requantize with scalars, others with vectors of constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import VECTOR, Buffer, Expr, as_words, at, call, round_up
from tinyaot.schedules.cortex_m.mve_requantize import Vector, form, is_signed, solve_vector
from tinyaot.schedules.cortex_m.requantize import Channels, output_steps
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import FullyConnected

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_dense.h")

# Vectors that a pass can read, and that it can hold where the last is partial.
_MOST, _HELD = 8, 6
# Outputs at a time.
_GROUP = 8


@dataclass(frozen=True)
class _Pass:
    """Some inputs: `chunks` vectors from `begin` on, of which the last has `tail` bytes if that is
    not 0."""

    begin: int
    chunks: int
    tail: int

    @property
    def function(self) -> str:
        """What computes it."""
        return f"dense_{'tail_' if self.tail else ''}{self.chunks}"

    @property
    def end(self) -> int:
        """The first input behind."""
        return self.begin + VECTOR * self.chunks - (VECTOR - self.tail if self.tail else 0)


def _passes(inputs: int) -> list[_Pass]:
    chunks, tail = -(-inputs // VECTOR), inputs % VECTOR
    sizes = [_MOST] * (chunks // _MOST) + ([chunks % _MOST] if chunks % _MOST else [])
    if tail and sizes[-1] > _HELD:
        sizes[-1:] = [sizes[-1] - _HELD, _HELD]
    begins = np.cumsum([0, *sizes[:-1]]) * VECTOR
    passes = [_Pass(int(begin), size, 0) for begin, size in zip(begins, sizes, strict=True)]
    passes[-1] = _Pass(passes[-1].begin, passes[-1].chunks, tail)
    return passes


def _fold(workload: FullyConnected, constants: Constants) -> tuple[NDArray[np.int64], Channels]:
    """The biases with the input's zero point, and what the outputs must be: as one channel where
    all have one scale."""
    if not constants:
        raise UnsuitableError("the form of requantization depends on the constants")
    weight = constants["weight"].astype(np.int64)
    multiplier = constants["multiplier"].astype(np.int64)
    shift = constants["shift"].astype(np.int64)
    bias = constants["bias"].astype(np.int64) - workload.input_zero_point * weight.sum(axis=1)
    low = bias + np.minimum(weight * -128, weight * 127).sum(axis=1)
    high = bias + np.maximum(weight * -128, weight * 127).sum(axis=1)
    if len(set(zip(multiplier.tolist(), shift.tolist(), strict=True))) == 1:
        multiplier, shift = multiplier[:1], shift[:1]
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    if (np.maximum(-low, high) << np.maximum(shift, 0)).max() >= 2**31:
        raise UnsuitableError("the reference's own arithmetic overflows")
    zero_point, clamp = workload.output_zero_point, workload.clamp
    steps = output_steps(multiplier, shift, zero_point, clamp, workload.rounding)
    scale = multiplier * 2.0 ** (shift - 31)
    return bias, Channels(weight, bias, low, high, steps, clamp[0] + 1, scale)


def _solve(workload: FullyConnected, channels: Channels) -> Vector:
    signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
    return solve_vector(channels, workload.output_zero_point if signed else None)


def _derive(workload: FullyConnected, constants: Constants) -> dict[str, int]:
    _, channels = _fold(workload, constants)
    return {
        "fraction": _solve(workload, channels).fraction,
        "scales": len(channels.scale),
    }


def _pack(workload: FullyConnected, constants: Constants) -> Constants:
    """Biases, weights pass by pass, then the constants of requantization."""
    bias, channels = _fold(workload, constants)
    found = _solve(workload, channels)
    parts: list[NDArray[np.signedinteger]] = [bias]
    groups = workload.output_size // _GROUP * _GROUP
    weights = []
    for part in _passes(workload.input_size):
        weight = constants["weight"][:, part.begin : part.end].astype(np.int8)
        whole = (part.end - part.begin) // VECTOR * VECTOR
        eights = weight[:groups].reshape(-1, _GROUP, part.end - part.begin)
        vectors = eights[:, :, :whole].reshape(len(eights), _GROUP, whole // VECTOR, VECTOR)
        for group, rest in zip(vectors.transpose(0, 2, 1, 3), eights[:, :, whole:], strict=True):
            weights += [group.reshape(-1), rest.reshape(-1)]
        weights.append(weight[groups:].reshape(-1))
    parts += [as_words(np.concatenate(weights)), found.head(workload.clamp)]
    columns = [found.factor, found.offset, found.correction]
    if len(channels.scale) == 1:
        parts.append(np.concatenate(columns))
    else:
        signed = found.zero_point is not None
        rows = np.stack(columns if signed else columns[:2])
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
        parts.append(rows.reshape(len(rows), -1, 4).transpose(1, 0, 2).reshape(-1))
    words = np.concatenate([part.astype(np.int64) for part in parts]) & 0xFFFFFFFF
    return {"stream": words.astype(np.uint32).view(np.int32)}


@rule(FullyConnected, features={"dsp", "mve"}, derive=_derive)
def fully_connected(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """Eight outputs at a time, pass by pass over the inputs."""
    batch, inputs, outputs = workload.batch, workload.input_size, workload.output_size
    passes = _passes(inputs)
    groups, singles = divmod(outputs, _GROUP)
    signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
    kind = "flat" if decisions["scales"] == 1 else "lanes"
    requantize = f"requantize_{kind}{form(signed, workload.clamp, decisions['fraction'])}"
    constants_begin = outputs + -(-inputs * outputs // 4)
    per_output = (3 if signed else 2) * round_up(outputs, 4)
    sums = round_up(outputs, VECTOR)
    stream_words = constants_begin + 4 + (3 if kind == "flat" else per_output)

    def multiply(acc: Buffer, stream: Buffer, x: Buffer, n: Expr) -> None:
        """All sums of a row of the batch."""
        for part in passes:
            start = at(acc) if part.begin else at(stream)
            # Passes begin at multiples of sixteen inputs: at words.
            weights = at(stream, outputs + part.begin * outputs // 4)
            source = at(x, n * inputs + part.begin)
            arguments = [at(acc), start, weights, source, part.tail, groups, singles]
            T.evaluate(call(part.function, *arguments))

    @T.prim_func
    def fully_connected(
        x: T.Buffer((batch * inputs,), "int8"),
        stream: T.Buffer((stream_words,), "int32"),
        y: T.Buffer((batch * outputs,), "int8"),
    ):
        acc = T.alloc_buffer((sums,), "int32")
        for n in T.serial(batch):
            multiply(acc, stream, x, n)
            call(requantize, at(acc), at(stream, constants_begin), at(y, n * outputs), outputs)

    return Kernel(fully_connected, lambda constants: _pack(workload, constants), _HEADERS)
