"""Tensors that no model for a microcontroller has are refused by name."""

from __future__ import annotations

import pytest
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.targets import TinyaotError


def refused(builder: TFLiteBuilder, result: Tensor, message: str) -> None:
    builder.output(result)
    with pytest.raises(TinyaotError, match=message):
        compile_model(builder.build(), "host")


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 128), ("int16", -40000)])
def test_zero_points_outside_the_type(dtype: str, zero_point: int) -> None:
    b = TFLiteBuilder()
    x = b.input((1, 4), 0.1, zero_point, dtype=dtype)
    refused(b, b.reshape(x, (4,)), f'"input_0" of {dtype} has the zero point {zero_point}')


def test_shapes_beyond_all_memory() -> None:
    b = TFLiteBuilder()
    shape = (1, 1 << 16, 1 << 16)
    x = b.input(shape, 0.1)
    refused(b, b.operator("RELU", [x], shape, **x.quantization), '"input_0" has the shape')


def test_an_operator_without_inputs() -> None:
    b = TFLiteBuilder()
    b.input((1, 4), 0.1)
    refused(b, b.operator("LOGISTIC", [], (1, 4), scale=1 / 256, zero_point=-128), "no input 0")


def test_shapes_that_do_not_broadcast() -> None:
    b = TFLiteBuilder()
    first, second = b.input((1, 3, 4), 0.1), b.input((1, 2, 4), 0.1)
    product = b.operator(
        "MUL", [first, second], (1, 3, 4), scale=0.2, zero_point=0, options="MulOptions"
    )
    refused(b, product, r"combines shapes \[1, 3, 4\], \[1, 2, 4\]")


def test_an_operator_without_its_second_input() -> None:
    b = TFLiteBuilder()
    x = b.input((1, 4), 0.1)
    refused(b, b.operator("SQUARED_DIFFERENCE", [x], (1, 4), scale=0.2), "SQUARED_DIFFERENCE #0")


def test_an_error_is_one_printable_line() -> None:
    assert TinyaotError("a\x00b\nc  d").message == "a\N{REPLACEMENT CHARACTER}b c d"
