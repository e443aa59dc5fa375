"""Configuring an accelerator: what its files say, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu, configure, get_npu

CONFIG = """
[System_Config.Board]
core_clock=500e6
[Memory_Mode.Base]
arena_cache_size={size}
[Memory_Mode.Own]
inherit=Memory_Mode.Base
[Memory_Mode.None]
inherit=Memory_Mode.Loop
[Memory_Mode.Loop]
inherit=Memory_Mode.None
"""


def configured(folder: Path, text: str, memory: str = "Own") -> Npu:
    path = folder / "board.ini"
    path.write_text(text, encoding="utf-8")
    return configure(get_npu("ethos-u65-256"), system="Board", memory=memory, config=path)


def test_the_size_of_the_sram_is_inherited_and_given(tmp_path: Path) -> None:
    npu = configured(tmp_path, CONFIG.format(size=4096))
    assert npu.sram_limit == 4096
    given = configure(npu, system="Board", memory="Own", config=npu.config, arena_size=100)
    assert given.sram_limit == 100
    assert configured(tmp_path, CONFIG.format(size=1), "Loop").sram_limit is None


@pytest.mark.parametrize("size", ["4 KiB", "-1", "50%", "²"])
def test_a_size_that_is_no_number_is_named(tmp_path: Path, size: str) -> None:
    with pytest.raises(TinyaotError, match=r"arena_cache_size of Memory_Mode\.Base") as caught:
        _ = configured(tmp_path, CONFIG.format(size=size)).sram_limit
    assert caught.value.hints


@pytest.mark.parametrize(
    ("text", "memory", "problem"),
    [
        ("no section", "Own", "is not a configuration file"),
        ("", "Own", "has no system configuration"),
        (CONFIG, "Owns", "unknown memory mode 'Owns'"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    tmp_path: Path, text: str, memory: str, problem: str
) -> None:
    with pytest.raises(TinyaotError, match=problem) as caught:
        configured(tmp_path, text, memory)
    assert caught.value.hints


@pytest.mark.parametrize("name", ["ethos-u65-256", "ethos-u85-256"])
def test_a_value_that_vela_cannot_read_is_told(tmp_path: Path, name: str) -> None:
    pytest.importorskip("ethosu.vela", reason="needs the extra ethos-u")
    builder = TFLiteBuilder()
    builder.output(builder.max_pool2d(builder.input((1, 4, 4, 8), 0.1), (2, 2)))
    npu = configured(tmp_path, CONFIG.format(size=4096).replace("500e6", "50%"))
    options = {"system": npu.system, "memory": npu.memory, "config": npu.config}
    with pytest.raises(TinyaotError, match=f"the configuration of {name} is not valid"):
        compile_model(builder.build(), f"cortex-m55+{name}", npu=options)
