"""What the README and the pages of docs/ show works and is up to date."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.tools.main import main

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")), DIGITS / "README.md")


def load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


refresh: Any = load(ROOT / "docs" / "refresh.py")


def example(language: str) -> str:
    """The README's example in a language; there is one of each."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model where the demo leaves it, which the examples start from."""
    for module in ("onnxruntime", "sklearn"):
        pytest.importorskip(module, reason="pip install 'tinyaot[demo]'")
    folder = tmp_path_factory.mktemp("demo")
    model = folder / "build" / "digits" / "digits.onnx"
    model.parent.mkdir(parents=True)
    script = "import sys, quantize; quantize.quantize(*sys.argv[1:])"
    command = [sys.executable, "-c", script, str(DIGITS / "digits_float.onnx"), str(model)]
    subprocess.run(command, cwd=DIGITS, check=True)
    return folder


@pytest.fixture(scope="module")
def digits(demo_folder: Path) -> CompiledModel:
    return compile_model(demo_folder / "build" / "digits" / "digits.onnx", target="host")


@pytest.mark.parametrize("name", refresh.PARTS)
def test_the_lists_are_those_of_the_registries(name: str) -> None:
    pages = [page.read_text("utf-8") for page in PAGES]
    (shown,) = [part for page in pages if (part := refresh.part(page, name)) is not None]
    assert shown == refresh.PARTS[name](), "run .venv/bin/python docs/refresh.py"


@pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)
def test_the_python_example_runs(demo_folder: Path) -> None:
    code = example("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=demo_folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"read as 1\n\d+ bytes of RAM, \d+ of weights\n", done.stdout)
    assert (demo_folder / "build" / "digits.tar").is_file()


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc")
def test_the_c_example_links_with_the_model_and_reads_digits(
    digits: CompiledModel, tmp_path: Path
) -> None:
    data = load(DIGITS / "data.py")
    images = (data.load()[2][:20] * 255 - 128).round().astype(np.int8)
    for name, text in digits.program.files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "example.c").write_text(example("c"))
    # The images lie in memory one after the other.
    (tmp_path / "main.c").write_text(
        "#include <stdint.h>\n#include <stdio.h>\n"
        "int read_digit(const int8_t *image);\n"
        f"static int8_t images[{images.size}] __attribute__((aligned(4))) = "
        f"{{{', '.join(map(str, images.flat))}}};\n"
        "int main(void)\n{\n"
        f"    for (int i = 0; i < {images.size}; i += 64) {{\n"
        '        printf("%d\\n", read_digit(images + i));\n'
        "    }\n    return 0;\n}\n"
    )
    sources = [path.name for path in tmp_path.glob("*.c")]
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", "main", *sources]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    read = [int(line) for line in done.stdout.split()]
    outputs = digits.measure([image[np.newaxis] for image in images], on="host").outputs
    assert read == [int(scores.argmax()) for (scores,) in outputs]


def shown_commands() -> list[str]:
    """Every `tinyaot ...` that a page shows, in a console block, indented, or in backticks."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text("utf-8"))
        blocks = re.findall(r"^(?:    |\$ )(.*)$", text, re.MULTILINE)
        inline = re.findall(r"`([^`\n]+)`", text)
        for command in (*blocks, *inline):
            match = re.match(r"(?:\.venv/bin/)?tinyaot ([a-z]+ .*)", command)
            if match:
                found[match[1]] = None
    return list(found)


def test_the_pages_show_commands() -> None:
    assert len(shown_commands()) >= 5


@pytest.mark.parametrize("command", shown_commands())
def test_commands_have_the_options_that_the_pages_give_them(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` at the end keeps a command from running, but not its options from being read."""
    assert main([*shlex.split(command), "--help"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if link.startswith("http"):
            continue
        name, _, heading = link.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert heading in anchors, link
