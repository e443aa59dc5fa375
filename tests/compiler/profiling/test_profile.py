"""Profiles: counts that add up, instrumentation that costs nothing when off, valid files."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.compiler.profiling.bound import Bound, rates
from tinyaot.compiler.profiling.profile import Profile
from tinyaot.compiler.profiling.trace import chrome_trace, speedscope
from tinyaot.targets import TinyaotError, get_target
from tinyaot.targets.compile import C_FLAGS

DATA = Path(__file__).parents[2] / "data"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(
    None in (shutil.which("arm-none-eabi-gcc"), shutil.which("qemu-system-arm")),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


def network() -> bytes:
    """Two equal convolutions, which share a function, an addition, a pool, a dense layer."""
    rng = np.random.default_rng(1)

    def weight(*shape: int) -> Any:
        return rng.integers(-127, 128, shape, np.int8)

    b = TFLiteBuilder()
    x = b.input((1, 12, 12, 8), 0.05, -3)
    for _ in range(2):
        x = b.conv2d(x, weight(8, 3, 3, 8), weight_scale=0.002, scale=0.05, zero_point=-3,
                     padding="SAME")  # fmt: skip
    x = b.add(x, x, scale=0.1, zero_point=2)
    y = b.depthwise_conv2d(x, weight(1, 3, 3, 8), weight_scale=0.01, scale=0.9, padding="SAME")
    y = b.average_pool2d(y, (4, 4), strides=(4, 4))
    y = b.reshape(y, (1, 72))
    y = b.fully_connected(y, weight(10, 72), weight_scale=0.01, scale=1.5, zero_point=4)
    b.output(b.softmax(y))
    return b.build()


@functools.cache
def compiled(target: str) -> CompiledModel:
    return compile_model(network(), target, name="net")


@functools.cache
def profile(target: str) -> Profile:
    model = compiled(target)
    return model.profile(random_inputs(model.inputs, 1, 0)[0], runs=2)


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_the_operators_are_the_inference(target: str) -> None:
    one = profile(target)
    assert one.quantity.name == "instructions"
    assert len(one.runs) == 2
    assert one.total == min(one.runs)
    assert [operator.node for operator in one.operators] == [
        operator.node for operator in compiled(target).report().operators
    ]
    assert all(operator.count > 0 for operator in one.operators)
    assert abs(one.total - one.operator_total) <= 0.01 * one.total
    assert one.stack_bytes


def test_the_operators_of_a_real_model_are_the_inference(
    mlperf_tiny: Callable[[str], Path],
) -> None:
    model = compile_model(mlperf_tiny("kws_int8.tflite"), "cortex-m33")
    one = model.profile(random_inputs(model.inputs, 1, 0)[0])
    assert abs(one.total - one.operator_total) <= 0.01 * one.total
    assert one.document()["macs"] == model.report().executed_macs


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m55"])
def test_instrumentation_costs_nothing_when_off(target: str, tmp_path: Path) -> None:
    """The object without TINYAOT_PROFILE is that of sources which never heard of it."""
    model = compiled(target)
    source = model.program.files["tinyaot_net.c"]
    plain = re.sub(r"#ifdef TINYAOT_PROFILE\n.*?#endif\n", "", source, flags=re.DOTALL)
    plain = re.sub(r"TINYAOT_OPERATOR\(\d+, (.*)\);", r"\1;", plain)
    assert "TINYAOT_OPERATOR" in source
    assert "TINYAOT_OPERATOR" not in plain
    objects = {}
    for name, text, flags in (
        ("off", source, []),
        ("plain", plain, []),
        ("on", source, ["-DTINYAOT_PROFILE"]),
        ("debug", source, ["-g"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for file, content in {**model.program.files, "tinyaot_net.c": text}.items():
            (folder / file).write_text(content)
        command = ["arm-none-eabi-gcc", *model.target.flags, *C_FLAGS, "-O2", *flags]
        subprocess.run([*command, "-c", "tinyaot_net.c"], cwd=folder, check=True)
        # The profile measures code sizes in an image with debug information.
        strip = ["arm-none-eabi-objcopy", "--strip-debug", "tinyaot_net.o"]
        subprocess.run(strip, cwd=folder, check=True)
        copy = ["arm-none-eabi-objcopy", "-O", "binary", "tinyaot_net.o", "code"]
        subprocess.run(copy, cwd=folder, check=True)
        objects[name] = (folder / "tinyaot_net.o").read_bytes(), (folder / "code").read_bytes()
    assert objects["off"] == objects["plain"]
    assert objects["off"][1] == objects["debug"][1]
    assert objects["off"][1] != objects["on"][1]


def test_flash_adds_up() -> None:
    one = profile("cortex-m4")
    code = [operator.code_bytes for operator in one.operators]
    first, second = one.operators[:2]
    assert first.function == second.function
    assert first.code_bytes
    assert second.code_bytes == 0
    assert all(size is not None for size in code)
    known = sum(size or 0 for size in code)
    # What is left is the entry, with its constants, and what it takes to start.
    assert 0.7 * one.flash_code_bytes < known <= one.flash_code_bytes
    weights = sum(operator.weight_bytes for operator in one.operators)
    assert 0 <= one.flash_weight_bytes - weights < 16


def test_memory_is_the_plan() -> None:
    one = profile("cortex-m4")
    assert max(block.offset + block.size for block in one.blocks) == one.arena_bytes
    assert max(operator.arena_bytes for operator in one.operators) <= one.arena_bytes
    assert all(operator.workspace_bytes <= operator.arena_bytes for operator in one.operators)
    report = compiled("cortex-m4").report()
    assert one.arena_bytes == report.arena_bytes
    assert one.io_bytes == 12 * 12 * 8 + 10


def test_every_operator_has_its_source() -> None:
    one = profile("cortex-m4")
    for operator in one.operators:
        source = one.sources[operator.function]
        assert source.startswith(f"/* {operator.kind}")
        assert f"static void {operator.function}(" in source
        assert source.count("\nstatic") == 1
        assert source.endswith("\n}\n")
        assert operator.call.startswith(f"{operator.function}(")


def test_bounds_are_named_by_what_takes_longest() -> None:
    assert Bound(100, 50, 20).name(120) == "compute"
    assert Bound(10, 50, 20).name(60) == "load"
    assert Bound(10, 5, 20).name(60) == "requantize"
    assert Bound(10, 5, 20).name(600) == "other"
    assert Bound(0, 0, 0).name(0) == "other"
    speeds = [rates(get_target(f"cortex-{core}")).macs for core in ("m0plus", "m3", "m4", "m55")]
    assert speeds == sorted(set(speeds))


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_no_kernel_beats_its_bounds(target: str) -> None:
    """Each estimate is of the least work: more than what was measured would be a wrong rate."""
    for operator in profile(target).operators:
        for kind, least in operator.bound.parts().items():
            assert least <= operator.count, (operator.node, kind)


def test_the_chrome_trace_follows_the_format() -> None:
    """The rules of the Trace Event Format for the phases used: X, C and M."""
    one = profile("cortex-m4")
    trace = json.loads(json.dumps(chrome_trace(one)))
    assert trace["displayTimeUnit"] in ("ms", "ns")
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
        elif event["ph"] == "X":
            assert isinstance(event["tid"], int)
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            assert isinstance(event["cat"], str)
        else:
            assert event["ph"] == "C"
            assert all(isinstance(value, int) for value in event["args"].values())
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == len(one.operators)
    for before, after in itertools.pairwise(slices):
        assert before["ts"] + before["dur"] == after["ts"]
    assert slices[-1]["ts"] + slices[-1]["dur"] == one.operator_total
    assert "instructions" in trace["otherData"]["quantity"]


def test_the_speedscope_file_follows_its_schema() -> None:
    schema = json.loads((DATA / "speedscope" / "file-format-schema.json").read_text())
    document = json.loads(json.dumps(speedscope(profile("cortex-m4"))))
    jsonschema.validate(document, schema)
    (shown,) = document["profiles"]
    assert shown["endValue"] == profile("cortex-m4").operator_total
    # Beyond the schema: events in order of time, and every frame closed inside its opener.
    stack: list[int] = []
    at = [event["at"] for event in shown["events"]]
    assert at == sorted(at)
    for event in shown["events"]:
        if event["type"] == "O":
            stack.append(event["frame"])
        else:
            assert stack.pop() == event["frame"]
    assert stack == []


def test_the_page_holds_all_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "profile.html"
    one = profile("cortex-m4")
    odd = replace(one.operators[0], node='<script>alert(1)</script> & "quotes"')
    replace(one, operators=(odd, *one.operators[1:])).save_html(path)
    page = path.read_text("utf-8")
    assert not re.search(r"""(?:src|href)\s*=|url\((?!#)|@import|https?://""", page)
    assert "default-src 'none'" in page
    assert "<script>alert" not in page


@pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    """A click on a bar, the second operator's, brings its source and marks its tensor."""
    path = tmp_path / "profile.html"
    one = profile("cortex-m4")
    one.save_html(path)
    assert BROWSER is not None
    click = "<script>document.querySelectorAll('tr[data-operator]')[1].click()</script></body>"
    path.write_text(path.read_text("utf-8").replace("</body>", click), "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
               f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    page = done.stdout
    assert page.count('<rect class="block') == len(one.blocks)
    (chosen,) = re.findall(r'<article id="operator-(\d+)">', page)
    assert chosen == "1"
    assert page.count('<article id="operator-') == len(one.operators)
    (shown,) = re.findall(r'<div class="source"[^>]*><pre>(.*?)</pre>', page, re.DOTALL)
    text = re.sub(r"<[^>]+>", "", shown)
    assert f"static void {one.operators[1].function}(" in text
    rows = re.findall(r'<tr data-operator="(\d+)"[^>]*class="chosen"', page)
    assert rows == ["1", "1"]


def test_the_npus_own_work_is_not_counted() -> None:
    pytest.importorskip("ethosu.vela", reason="pip install 'tinyaot[ethos-u]'")
    one = profile("cortex-m55+ethos-u55-128")
    regions = [operator for operator in one.operators if operator.on_npu]
    for region in regions:
        assert region.limit == "npu"
        assert region.macs_per_count is None
        assert f"static int32_t {region.function}(" in one.sources[region.function]
        assert region.call.startswith(f"{region.function}(")
    assert any(region.macs for region in regions)
    assert "on the ethos-u55-128: instructions are the core's" in one.notes[0]


def test_the_host_counts_nothing() -> None:
    model = compiled("host")
    with pytest.raises(TinyaotError, match="nothing is counted on host"):
        model.profile(random_inputs(model.inputs, 1, 0)[0])


def test_a_board_for_other_cores_is_refused() -> None:
    model = compiled("cortex-m4")
    with pytest.raises(TinyaotError, match="does not run code for cortex-m4"):
        model.profile(random_inputs(model.inputs, 1, 0)[0], board="mps3-an547")
