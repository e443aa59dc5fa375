"""What the tests share: settings that keep them reproducible, and the models they run on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

DIFFERS_FROM_ONNX_RUNTIME = "differs from ONNX Runtime"
"""Name under which tests record what they found, such as `3 of 300`."""

# The same examples every time, and no failure because the machine is busy.
settings.register_profile("tinyaot", derandomize=True, deadline=None)
settings.load_profile("tinyaot")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many values each comparison with ONNX Runtime found different."""
    lines = [
        f"{value:>16}  {report.nodeid}"
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == DIFFERS_FROM_ONNX_RUNTIME
    ]
    if lines:
        terminalreporter.section(DIFFERS_FROM_ONNX_RUNTIME)
        terminalreporter.write("\n".join(sorted(lines)) + "\n")


@pytest.fixture(scope="session")
def mlperf_tiny() -> Callable[[str], Path]:
    """The path of a model of the MLPerf Tiny benchmark, such as `kws_int8.tflite`.

    They lie beside the repository, or where TINYAOT_MLPERF_TINY says; without them the test skips.
    """
    default = ROOT.parent / "shared" / "models" / "mlperf_tiny"
    folder = Path(os.environ.get("TINYAOT_MLPERF_TINY", default))

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"no {path}; TINYAOT_MLPERF_TINY names the folder of the models")
        return path

    return find
