"""What newcomers run first: the demo and the firmware example."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="pip install 'tinyaot[demo]'")
pytest.importorskip("sklearn", reason="pip install 'tinyaot[demo]'")

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
FIRMWARE = ROOT / "examples" / "firmware"
TEST_IMAGES = 450


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def demo(folder: Path, path: str | None = None) -> str:
    """What the demo prints; `path` replaces the variable PATH."""
    command = [sys.executable, str(DIGITS / "demo.py"), str(folder)]
    env = None if path is None else {"PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def path_of_a_pc(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with this machine's C compiler only."""
    folder = tmp_path_factory.mktemp("bin")
    for tool in ("cc", "as", "ld"):
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"needs {tool}")
        (folder / tool).symlink_to(found)
    return str(folder)


@needs("arm-none-eabi-gcc", "qemu-system-arm")
def test_the_demo_reads_the_digits_on_both_cores_as_the_oracle_does(tmp_path: Path) -> None:
    output = demo(tmp_path)
    for core in ("Cortex-M4", "Cortex-M55"):
        row = re.search(rf"emulated {core} .* (\d+) \(.* (\d+) of (\d+) .* (\d+) of (\d+) ", output)
        assert row, output
        correct, labels, images, scores, all_scores = map(int, row.groups())
        assert labels == images == TEST_IMAGES
        assert all_scores == 10 * TEST_IMAGES
        assert correct >= 0.98 * TEST_IMAGES
        # To the bit but for values within rounding of a tie.
        assert scores >= 0.999 * all_scores
        assert (tmp_path / core.lower() / "digits.tar").is_file()
    assert not re.search(r"instructions.*not counted", output)


def test_the_demo_without_the_cross_compiler_says_so_and_runs_here(
    tmp_path: Path, path_of_a_pc: str
) -> None:
    output = demo(tmp_path, path_of_a_pc)
    assert output.startswith("arm-none-eabi-gcc is not installed")
    assert "sudo apt-get install gcc-arm-none-eabi" in output
    assert re.search(r"int8, this machine .* 450 of 450", output)
    assert (tmp_path / "host" / "digits.tar").is_file()


@pytest.fixture(scope="module")
def int8_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's quantized network."""
    model = tmp_path_factory.mktemp("model") / "digits.onnx"
    script = "import sys, quantize; quantize.quantize(*sys.argv[1:])"
    command = [sys.executable, "-c", script, str(DIGITS / "digits_float.onnx"), str(model)]
    subprocess.run(command, cwd=DIGITS, check=True)
    return model


def make_firmware(goal: str, model: Path, build: Path) -> str:
    tinyaot = f"{sys.executable} -m tinyaot.tools.main"
    command = ["make", "-C", str(FIRMWARE), goal]
    command += [f"MODEL={model}", f"BUILD={build}", f"TINYAOT={tinyaot}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs("make", "cc")
def test_the_firmware_example_reads_its_digit_on_this_machine(
    int8_model: Path, tmp_path: Path
) -> None:
    assert "the model reads 2" in make_firmware("run", int8_model, tmp_path)


@needs("make", "arm-none-eabi-gcc")
def test_the_firmware_example_compiles_for_a_cortex_m4(int8_model: Path, tmp_path: Path) -> None:
    make_firmware("firmware", int8_model, tmp_path)
    objects = {path.name for path in (tmp_path / "cortex-m4").glob("*.o")}
    assert objects == {"main.o", "tinyaot_digits.o", "tinyaot_digits_weights.o"}
