"""What generated code promises is checked in its text and in the objects that compilers make."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.codegen.verify import VerifyError, verify_program
from tinyaot.targets import Program, build_image, get_target, list_targets

CORES = [name for name in list_targets() if name != "host"]

# The integer helpers of the run-time ABI for the Arm architecture, and the library's three.
INTEGER_HELPERS = re.compile(
    r"mem(cpy|move|set)|__aeabi_(mem(cpy|move|set|clr)[48]?"
    r"|u?idiv(mod)?|lmul|lls[lr]|lasr|u?ldivmod|u?lcmp|idiv0|ldiv0|[iul]?(read|write)[48])"
    r"|__gnu_thumb1_case_\w+|__(clz|popcount)[sd]i2"
)

PLANTS = {
    "a float variable": "static float gain;",
    "a double cast": "int twice(int x) { return (int)((double)x * 2); }",
    "a float constant": "int half(int x) { return (int)(x * 0.5f); }",
    "a constant with an exponent": "int large(int x) { return x * (int)1e3; }",
    "a constant without digits after the point": "int one(void) { return (int)1.; }",
    "a float vector": "void add(float16x8_t *x);",
    "a float macro": "#define GAIN 1.5f",
    "a macro over two lines": "#define GAIN \\\n    (double)1",
    "a scale used in code": "int one(void) { return TINYAOT_MODEL_INPUT_0_SCALE > 0; }",
    "an allocation": "void *get(void) { return malloc(8); }",
    "an allocation on the stack": "int *get(int n) { return alloca(n); }",
    "a mathematical function": "int root(int x) { return sqrt(x); }",
    "an output": 'void say(void) { printf("0"); }',
    "a call in a macro": "#define SAY(x) puts(x)",
    "an include": "#include <math.h>",
    "recursion": "int f(int x) { return x ? f(x - 1) : 0; }",
    "recursion over two functions":
        "int g(int x);\nint f(int x) { return g(x); }\nint g(int x)\n{\n    return f(x);\n}",
    "recursion through a macro": "#define AGAIN(x) f(x)\nint f(int x) { return AGAIN(x); }",
}  # fmt: skip

HARMLESS = {
    "words in comments": "/* no float, malloc() or 1.5 */ // sqrt(2.0)\n",
    "words in strings": '__asm volatile ("vadd.f32 s0, s0, s0 @ float 1.5" ::: "memory");',
    "hexadecimal constants": "static const int mask = 0x1e5 + 0xF3e1;",
    "names with such words": "static int float_input, double_buffer, x1e5;",
    "member access": "int first(struct s *x) { return x->a.b; }",
    "library calls": "void copy(void *x, void *y) { memcpy(x, y, 8); memset(x, 0, 8); }",
    "built-ins": "int zeros(unsigned x) { return __builtin_clz(x); }",
    "a diamond of calls":
        "int a(void) { return 1; }\nint b(void) { return a(); }\nint c(void) { return a() + b(); }",
}  # fmt: skip


@pytest.fixture(scope="module")
def program(all_operators: Path) -> Program:
    return compile_model(all_operators, "cortex-m0plus", name="model").program


@pytest.fixture(scope="module")
def all_operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with every family of kernels, softmax's division among them."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape, np.int8)

    b = TFLiteBuilder()
    x = b.input((1, 9, 7, 4), 0.1, -3)
    y = b.conv2d(x, weight(6, 3, 3, 4), weight_scale=0.01, scale=0.2, zero_point=5)
    y = b.depthwise_conv2d(y, weight(1, 3, 3, 6), weight_scale=0.01, scale=0.3, padding="SAME")
    y = b.add(y, b.max_pool2d(y, (1, 1)), scale=0.4)
    y = b.average_pool2d(b.pad(y, [(0, 0), (1, 1), (1, 0), (0, 0)]), (2, 3), strides=(1, 1))
    y = b.transpose(y, (0, 2, 1, 3))
    y = b.mean(y, (1, 2), scale=0.2, zero_point=1)
    y = b.relu(y, scale=0.1)
    y = b.fully_connected(y, weight(5, 6), weight_scale=0.01, scale=0.1)
    b.output(b.softmax(y))
    path = tmp_path_factory.mktemp("models") / "all.tflite"
    path.write_bytes(b.build())
    return path


def planted(program: Program, text: str) -> Program:
    return replace(program, files={**program.files, "planted.c": text + "\n"})


@pytest.mark.parametrize("plant", PLANTS)
def test_a_broken_promise_is_found(plant: str, program: Program) -> None:
    with pytest.raises(VerifyError):
        verify_program(planted(program, PLANTS[plant]))


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_code_passes(text: str, program: Program) -> None:
    verify_program(planted(program, HARMLESS[text]))


def test_errors_name_file_and_line(program: Program) -> None:
    with pytest.raises(VerifyError, match=r"planted\.c:3 uses float"):
        verify_program(planted(program, "/* two\nlines */\nstatic float x;"))


def undefined_symbols(objects: list[Path]) -> set[str]:
    """Names that the objects use and none of them defines."""
    used: set[str] = set()
    defined: set[str] = set()
    for path in objects:
        with path.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            for symbol in table.iter_symbols():
                (used if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    return used - defined - {""}


def external(objects: list[Path]) -> set[str]:
    return {name for name in undefined_symbols(objects) if not INTEGER_HELPERS.fullmatch(name)}


@pytest.fixture
def arm_gcc() -> str:
    path = shutil.which("arm-none-eabi-gcc")
    if path is None:
        pytest.skip("no arm-none-eabi-gcc on the PATH")
    return path


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    "optimize",
    [
        pytest.param("-O0", marks=pytest.mark.campaign),
        pytest.param("-O1 -fno-omit-frame-pointer", marks=pytest.mark.campaign),
        "-O3",
    ],
)
def test_objects_need_integer_helpers_only(
    core: str, optimize: str, all_operators: Path, tmp_path: Path, arm_gcc: str
) -> None:
    """Soft-float routines would be undefined symbols; so would any library function."""
    compiled = compile_model(all_operators, core, name="model")
    # A stack frame of unknown size means a variable-length array or alloca.
    flags = (*optimize.split(), "-Wvla", "-fstack-usage")
    build_image(compiled.program, get_target(core), directory=tmp_path, optimize=flags)
    assert external(list((tmp_path / "model").glob("*.o"))) == set()
    usage = "".join(path.read_text() for path in (tmp_path / "model").glob("*.su"))
    assert "tinyaot_model_run" in usage
    assert set(re.findall(r"\t([a-z,]+)$", usage, re.MULTILINE)) == {"static"}


def test_the_check_of_objects_sees_soft_float(tmp_path: Path, arm_gcc: str) -> None:
    source = tmp_path / "planted.c"
    source.write_text("int f(int x) { return (int)((float)x * 0.3f) + (int)((double)x / 7); }\n")
    target = tmp_path / "planted.o"
    flags = get_target("cortex-m0plus").flags
    subprocess.run([arm_gcc, *flags, "-c", source, "-o", target], check=True)
    assert {"__aeabi_fmul", "__aeabi_ddiv", "__aeabi_i2f"} <= external([target])


@pytest.mark.parametrize(
    "model",
    [
        "kws",
        *(
            pytest.param(name, marks=pytest.mark.campaign)
            for name in ("ad01", "resnet8", "streaming_wakeword", "vww_96")
        ),
    ],
)
def test_models_need_integer_helpers_only(
    model: str, mlperf_tiny: Callable[[str], Path], tmp_path: Path, arm_gcc: str
) -> None:
    core = get_target("cortex-m0plus")
    program = compile_model(mlperf_tiny(f"{model}_int8.tflite"), core.name).program
    build_image(program, core, directory=tmp_path)
    assert external(list((tmp_path / "model").glob("*.o"))) == set()
