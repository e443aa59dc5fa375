"""What users install: complete, under one name, and quick to import."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("compiler", "schedules", "targets", "tools")


def package_files() -> set[str]:
    """The files of our packages that git has or would take, relative to the root."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("git tells which files belong to the packages; this is no git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the wheel, built from a copy, as what an earlier build left would go into it."""
    source = tmp_path_factory.mktemp("source")
    for name in [*package_files(), "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(source)]
    built = subprocess.run(command, cwd=source, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(source / built.stdout.splitlines()[-1]) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_every_module_and_data_file(wheel_files: set[str]) -> None:
    missing = {name for name in package_files() if f"tinyaot/{name}" not in wheel_files}
    assert not missing, "add its package or its suffix to [tool.setuptools] in pyproject.toml"


def test_the_wheel_holds_nothing_else(wheel_files: set[str]) -> None:
    """A top-level package such as `tools` or `tests` would clash with other people's."""
    code = {name for name in wheel_files if not PurePosixPath(name).parts[0].endswith(".dist-info")}
    assert code <= {f"tinyaot/{name}" for name in package_files()}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    """People type commands all day: TVM alone takes half a second to import."""
    heavy = {"tvm", "onnx", "onnxruntime", "tflite_micro", "scipy", "sklearn"}
    script = f"import sys, tinyaot.{package}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert f"tinyaot.{package}" in loaded
    assert heavy.isdisjoint(loaded)
