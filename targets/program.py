"""What a target builds and runs: the C of one compiled model, and the result of running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """One input or output of a model as the C interface shows it.

    Attributes:
        name: C identifier of the field in `struct tinyaot_<model>_inputs` or `_outputs`.
        ctype: element type in C, such as `int8_t`.
        nbytes: size of the whole tensor in bytes.
    """

    name: str
    ctype: str
    nbytes: int


@dataclass(frozen=True)
class Program:
    """The C sources of one compiled model and what a harness must know to call it.

    Attributes:
        name: C identifier of the model; the entry is `int32_t tinyaot_<name>_run(
            const struct tinyaot_<name>_inputs *, const struct tinyaot_<name>_outputs *)`,
            declared in `tinyaot_<name>.h`.
        files: file name (no folders; `.c` or `.h`) to text.
        inputs: in the order of the model's inputs.
        outputs: in the order of the model's outputs.
        operators: names in execution order; the index is the number that the entry hands to
            `tinyaot_operator_begin` and `tinyaot_operator_end` when it is compiled with
            `TINYAOT_PROFILE` defined.
        functions: for each operator the C function in `tinyaot_<name>.c` that computes it.
        resets: whether `void tinyaot_<name>_reset(void)` is to be called before each inference, so
            that all of them start from the model's initial state.
        npu: name of the accelerator whose driver it calls; None for none.
    """

    name: str
    files: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[str, ...]
    resets: bool = False
    functions: tuple[str, ...] = ()
    npu: str | None = None


@dataclass(frozen=True)
class ImageSize:
    """Bytes of a linked image, without the start-up code and the test harness.

    Attributes:
        flash_code: code and read-only data that is not weights.
        flash_weights: weights, biases, quantization parameters and look-up tables.
        ram: statically allocated RAM of the model, arena included.
    """

    flash_code: int
    flash_weights: int
    ram: int


@dataclass(frozen=True)
class RunResult:
    """What came back from running a program on one or more inputs.

    Attributes:
        outputs: for each inference, the bytes of every output tensor.
        instructions: for each inference, the instructions executed by the entry function;
            None where the target cannot count them.
        operator_instructions: instructions of each operator in the first inference, in the
            order of `Program.operators`; None unless built for profiling.
        stack_bytes: the most stack that an inference used, from painting; None on the host.
    """

    outputs: tuple[tuple[bytes, ...], ...]
    instructions: tuple[int, ...] | None
    operator_instructions: tuple[int, ...] | None
    stack_bytes: int | None
