"""Unusual inputs, outputs and names become C that compiles, and keep their meaning."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import build_image, get_target

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")

NAMES = [
    "with space",
    'quote " and \\ backslash',
    "ends a comment */ int x;",
    "/* begins one",
    "line\nbreak and \ttab",
    "größe/日本",
    "right-to-left \u202e mark",
    "%s {{ name }} ??/",
    "0digit",
    "",
    # Words of C and C++, and names that the header itself gives to macros.
    "int",
    "float",
    "class",
    "arena",
    "size",
    "weights",
    # Equal names once they are identifiers.
    "a b",
    "a-b",
    "A_B",
    "workspace",
    "memcpy",
    "inputs",
    "outputs",
]


def differing(compiled: CompiledModel, path: Path, on: str = "host") -> int:
    inputs = random_inputs(compiled.inputs, 6)
    got = compiled.measure(inputs, on=on).outputs
    expected = compiled.reference(path, inputs)
    return sum(
        int(np.count_nonzero(a != b))
        for one, other in zip(got, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def compiled(builder: TFLiteBuilder, path: Path, target: str = "host") -> CompiledModel:
    path.write_bytes(builder.build())
    return compile_model(path, target)


def image(builder: TFLiteBuilder) -> object:
    return builder.input((1, 4, 3, 2), 0.1, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    return tmp_path / "1-weird näme.tflite"


@pytest.mark.parametrize(
    ("target", "tools"),
    [("host", ("cc",)), ("cortex-m3", ("arm-none-eabi-gcc", "qemu-system-arm"))],
)
def test_any_name(target: str, tools: tuple[str, ...], path: Path) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    b = TFLiteBuilder()
    for name in NAMES:
        x = b.input((1, 4), 0.1, 3)
        y = b.relu(x, scale=0.05)
        b.rename(x, name)
        b.rename(y, f"{name}:0")
        b.output(y)
    model = compiled(b, path, target)
    assert model.name == "_1_weird_n_me"
    assert len({port.name for port in (*model.inputs, *model.outputs)}) == 2 * len(NAMES)
    # The graph and the interface keep the model's own names; C gets identifiers.
    assert {name for name in NAMES if name} <= {port.name for port in model.inputs}
    ports = (*model.program.inputs, *model.program.outputs)
    assert all(re.fullmatch(r"[a-z_]\w*", port.name, re.ASCII) for port in ports)
    assert differing(model, path, "host" if target == "host" else "qemu") == 0
    header = model.program.files[f"tinyaot_{model.name}.h"]
    assert "ends a comment * / int x;" in header


@needs_cc
def test_the_header_serves_cplusplus(path: Path, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or pytest.skip("no c++ on the PATH")
    b = TFLiteBuilder()
    for name in NAMES:
        x = b.input((1, 4), 0.1, 3)
        b.rename(x, name)
        b.output(b.relu(x, scale=0.05))
    model = compiled(b, path)
    for name, text in model.program.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    user = tmp_path / "user.cpp"
    user.write_text(f'#include "tinyaot_{model.name}.h"\nint main() {{ return 0; }}\n')
    subprocess.run(
        [compiler, "-std=c++98", "-Wall", "-Werror", "-c", user], cwd=tmp_path, check=True
    )


def output_read_inside(b: TFLiteBuilder) -> None:
    first = b.relu(image(b), scale=0.05)
    b.output(first)
    b.output(b.relu(first, scale=0.02))


def the_same_output_twice(b: TFLiteBuilder) -> None:
    y = b.relu(image(b), scale=0.05)
    b.output(y)
    b.output(y)


def a_reshaped_input(b: TFLiteBuilder) -> None:
    x = image(b)
    b.output(b.reshape(x, (1, 24)))
    b.output(b.relu(x, scale=0.05))


def a_reshape_of_a_reshaped_input(b: TFLiteBuilder) -> None:
    b.output(b.reshape(b.reshape(image(b), (1, 24)), (2, 12)))


def an_output_and_its_reshape(b: TFLiteBuilder) -> None:
    y = b.relu(image(b), scale=0.05)
    b.output(y)
    b.output(b.reshape(y, (1, 24)))


def a_reshape_and_what_it_reshapes(b: TFLiteBuilder) -> None:
    y = b.relu(image(b), scale=0.05)
    b.output(b.reshape(y, (1, 24)))
    b.output(y)


def a_reshape_read_inside(b: TFLiteBuilder) -> None:
    y = b.relu(image(b), scale=0.05)
    b.output(b.reshape(y, (1, 24)))
    b.output(b.softmax(b.reshape(y, (4, 6))))


def in_place_chain_to_an_output(b: TFLiteBuilder) -> None:
    """Element-wise operators that could all share one buffer, two of which are outputs."""
    y = b.relu(image(b), scale=0.05)
    z = b.relu(y, scale=0.02)
    b.output(z)
    b.output(b.add(z, b.relu(y, scale=0.1), scale=0.07))


def a_sum_of_one_tensor(b: TFLiteBuilder) -> None:
    y = b.relu(image(b), scale=0.05)
    b.output(b.relu(b.add(y, y, scale=0.2), scale=0.1))


def an_input_that_is_not_used(b: TFLiteBuilder) -> None:
    b.input((1, 5), 0.1, 0)
    b.output(b.relu(image(b), scale=0.05))


@needs_cc
@pytest.mark.parametrize(
    "build",
    [
        output_read_inside,
        the_same_output_twice,
        a_reshaped_input,
        a_reshape_of_a_reshaped_input,
        an_output_and_its_reshape,
        a_reshape_and_what_it_reshapes,
        a_reshape_read_inside,
        in_place_chain_to_an_output,
        a_sum_of_one_tensor,
        an_input_that_is_not_used,
    ],
    ids=lambda build: build.__name__,
)
def test_inputs_and_outputs(build: Callable[[TFLiteBuilder], None], path: Path) -> None:
    b = TFLiteBuilder()
    build(b)
    assert differing(compiled(b, path), path) == 0


@needs_cc
def test_a_constant_output(path: Path) -> None:
    b = TFLiteBuilder()
    b.output(b.relu(image(b), scale=0.05))
    b.output(b.constant(np.array([[5, -7, 9]], np.int8), 0.1))
    model = compiled(b, path)
    _, constant = model.run(random_inputs(model.inputs, 1)[0], on="host")
    assert constant.tolist() == [[5, -7, 9]]


@needs_cc
def test_a_model_without_operators(path: Path) -> None:
    b = TFLiteBuilder()
    b.output(b.reshape(image(b), (1, 24)))
    model = compiled(b, path)
    assert model.report().arena_bytes == 0
    assert differing(model, path) == 0


@needs_cc
def test_null_pointers_are_refused(path: Path, tmp_path: Path) -> None:
    b = TFLiteBuilder()
    b.output(b.relu(image(b), scale=0.05))
    model = compiled(b, path)
    build_image(model.program, get_target("host"), directory=tmp_path / "build")
    main = tmp_path / "main.c"
    main.write_text(
        f"""#include "tinyaot_{model.name}.h"
int main(void)
{{
    static int8_t x[24], y[24];
    struct tinyaot_{model.name}_inputs in = {{x}};
    struct tinyaot_{model.name}_outputs out = {{y}};
    const int ok = tinyaot_{model.name}_run(&in, &out) == 0;
    out.{model.program.outputs[0].name} = 0;
    return ok && tinyaot_{model.name}_run(&in, &out) < 0 ? 0 : 1;
}}
""",
        encoding="utf-8",
    )
    objects = (tmp_path / "build" / "model").glob("*.o")
    sources = tmp_path / "build" / "model"
    subprocess.run(["cc", f"-I{sources}", main, *objects, "-o", tmp_path / "main"], check=True)
    subprocess.run([tmp_path / "main"], check=True)
