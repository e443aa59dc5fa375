"""NCHW models are stored NHWC: bytes move only where their order matters and differs."""

from __future__ import annotations

import numpy as np
import pytest

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import (
    NCHW_TO_NHWC,
    GraphBuilder,
    Value,
    identity,
    same_bytes,
)

SHAPE = (1, 3, 4, 5)  # NCHW


@pytest.fixture
def builder() -> GraphBuilder:
    return GraphBuilder()


def nchw(builder: GraphBuilder, shape: tuple[int, ...] = SHAPE) -> Value:
    tensor = builder.add_tensor(Tensor("x", shape, "int8", 0.5, 3))
    return Value(tensor, identity(len(shape)))


def nhwc(builder: GraphBuilder, shape: tuple[int, ...] = SHAPE) -> Value:
    """An activation of that NCHW shape, stored NHWC."""
    stored = tuple(shape[axis] for axis in NCHW_TO_NHWC)
    return Value(builder.add_tensor(Tensor("y", stored, "int8", 0.5, 3)), NCHW_TO_NHWC)


def kinds(builder: GraphBuilder) -> list[str]:
    return [node.workload.kind for node in builder.nodes]


def test_names_stay_apart(builder: GraphBuilder) -> None:
    names = [builder.add_tensor(Tensor("a", (1,), "int8")).name for _ in range(3)]
    assert names == ["a", "a_2", "a_3"]
    assert set(builder.tensors) == set(names)


def test_the_shape_of_a_value_is_the_models(builder: GraphBuilder) -> None:
    value = nhwc(builder)
    assert value.tensor.shape == (1, 4, 5, 3)
    assert value.shape == SHAPE


def test_a_transpose_is_made_once_and_where_it_is_needed(builder: GraphBuilder) -> None:
    value = nchw(builder)
    first = builder.store_as(value, NCHW_TO_NHWC, "")
    assert first.shape == (1, 4, 5, 3)
    assert builder.store_as(value, NCHW_TO_NHWC, "") == first
    assert builder.store_as(value, value.stored, "") == value.tensor
    assert builder.store_as(nhwc(builder), NCHW_TO_NHWC, "").shape == (1, 4, 5, 3)
    assert kinds(builder) == ["transpose"]


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 3, 1, 1)])
def test_where_no_byte_moves_it_is_a_reshape(builder: GraphBuilder, shape: tuple[int, ...]) -> None:
    builder.store_as(nchw(builder, shape), NCHW_TO_NHWC, "")
    assert kinds(builder) == ["reshape"]


def test_a_transpose_of_the_model_only_renames(builder: GraphBuilder) -> None:
    axes = (0, 2, 3, 1)
    renamed = builder.rename_axes(nhwc(builder), axes, "")
    assert renamed.shape == tuple(SHAPE[axis] for axis in axes)
    assert renamed.stored == identity(4)
    assert kinds(builder) == []
    back = builder.rename_axes(renamed, (0, 3, 1, 2), "")
    assert (back.shape, back.stored) == (SHAPE, NCHW_TO_NHWC)


def test_renaming_agrees_with_numpy(builder: GraphBuilder) -> None:
    """The stored bytes, read in the value's order, are the model's transposed array."""
    rng = np.random.default_rng(0)
    model = np.arange(60).reshape(SHAPE)
    value, bytes_ = nhwc(builder), model.transpose(NCHW_TO_NHWC)
    for _ in range(6):
        axes = tuple(int(axis) for axis in rng.permutation(4))
        model = model.transpose(axes)
        value = builder.rename_axes(value, axes, "")
        read = bytes_.transpose(np.argsort(value.stored))
        np.testing.assert_array_equal(read, model)
        assert value.shape == model.shape
    assert kinds(builder) == []


def test_a_flattened_image_remembers_its_order(builder: GraphBuilder) -> None:
    flat = builder.flatten(nhwc(builder), (1, 60), "")
    assert kinds(builder) == ["reshape"]
    model = np.arange(60).reshape(SHAPE)
    stored = model.transpose(NCHW_TO_NHWC).reshape(-1)
    assert flat.flat_order is not None
    np.testing.assert_array_equal(stored[flat.flat_order], model.reshape(-1))


def test_a_flattened_image_is_put_in_order_for_who_asks(builder: GraphBuilder) -> None:
    flat = builder.flatten(nhwc(builder), (1, 60), "")
    ordered = builder.in_model_order(flat, "")
    assert ordered.shape == (1, 60)
    # The reshape that nothing reads is dead; the transpose is of the image, not of the vector.
    assert kinds(builder) == ["reshape", "transpose", "reshape"]
    assert builder.nodes[1].inputs == ("y",)
    assert builder.in_model_order(flat, "").shape == (1, 60)
    assert kinds(builder).count("transpose") == 1


def test_flattening_what_is_in_order_is_free(builder: GraphBuilder) -> None:
    for value in (nchw(builder), nhwc(builder, (1, 60, 1, 1))):
        flat = builder.flatten(value, (1, 60), "")
        assert flat.flat_order is None
    assert kinds(builder) == ["reshape", "reshape"]


def test_other_reshapes_need_the_models_order(builder: GraphBuilder) -> None:
    reshaped = builder.flatten(nhwc(builder), (1, 12, 5), "")
    assert (reshaped.shape, reshaped.stored) == ((1, 12, 5), identity(3))
    assert kinds(builder) == ["transpose", "reshape"]


def test_a_reshape_to_the_same_shape_is_nothing(builder: GraphBuilder) -> None:
    value = nhwc(builder)
    assert builder.flatten(value, SHAPE, "") == value
    assert kinds(builder) == []


def test_a_copy_shares_its_bytes_with_what_it_reshapes(builder: GraphBuilder) -> None:
    value = nchw(builder)
    twice = builder.reshape(builder.reshape(value.tensor, (3, 20), ""), (60,), "")
    assert builder.before_reshapes(twice) == value.tensor
    assert builder.before_reshapes(value.tensor) == value.tensor


@pytest.mark.parametrize(
    ("shape", "axes", "same"),
    [
        ((1, 3, 4, 5), (0, 2, 3, 1), False),
        ((1, 3, 1, 1), (0, 2, 3, 1), True),
        ((1, 1, 4, 5), (0, 2, 3, 1), True),
        ((2, 1, 1, 5), (1, 0, 3, 2), True),
        ((2, 1, 1, 5), (3, 1, 2, 0), False),
        ((7,), (0,), True),
    ],
)
def test_same_bytes(shape: tuple[int, ...], axes: tuple[int, ...], same: bool) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    in_place = bool((array.transpose(axes).reshape(-1) == array.reshape(-1)).all())
    assert same_bytes(shape, axes) == same == in_place
