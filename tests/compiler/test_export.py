"""Exports: each is built or checked by its ecosystem's own tools, as far as they can be had."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.export.export import FORMATS, export_files, export_model
from tinyaot.targets import TinyaotError

needs_cc = pytest.mark.skipif(
    None in (shutil.which("cc"), shutil.which("c++")), reason="needs cc and c++"
)
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
needs_emulator = pytest.mark.skipif(
    None in (shutil.which("arm-none-eabi-gcc"), shutil.which("qemu-system-arm")),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)
STRICT = ("-Wall", "-Wextra", "-Werror", "-Wconversion")


def network() -> bytes:
    """Two inputs and two outputs."""
    rng = np.random.default_rng(2)
    b = TFLiteBuilder()
    x = b.input((1, 6, 6, 3), 0.05, -3)
    y = b.input((1, 6, 6, 4), 0.1, 5)
    weight = rng.integers(-127, 128, (4, 3, 3, 3), np.int8)
    x = b.conv2d(x, weight, weight_scale=0.01, scale=0.3, zero_point=1, padding="SAME")
    x = b.add(x, y, scale=0.4, zero_point=2)
    b.output(x)
    b.output(b.average_pool2d(x, (6, 6)))
    return b.build()


def delay() -> bytes:
    """A model with state: puts out the input of the inference before."""
    b = TFLiteBuilder()
    x = b.input((1, 8), 0.5, 3)
    initial = np.arange(8, dtype=np.int8).reshape(1, 8)
    handle = b.variable("kept", (initial, x))
    b.output(b.read_variable(handle, x))
    b.assign_variable(handle, x)
    return b.build()


@functools.cache
def compiled(target: str) -> CompiledModel:
    return compile_model(network(), target, name="pair")


def export(format_name: str, folder: Path, target: str = "host") -> Path:
    export_model(compiled(target), format_name, folder)
    return folder


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(one) for one in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources_named(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".c", ".h")
    }


@needs_cmake
@needs_emulator
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55"])
def test_the_cmake_package_runs_under_qemu(target: str, tmp_path: Path) -> None:
    folder = export("cmake", tmp_path / "package", target)
    build = tmp_path / "build"
    toolchain = folder / "cmake" / f"{target}.cmake"
    flags = f"-DCMAKE_C_FLAGS={' '.join(STRICT)}"
    run("cmake", "-S", folder, "-B", build, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", flags)
    run("cmake", "--build", build)
    said = run("ctest", "--test-dir", build, "--verbose")
    assert "pair: status 0" in said
    assert ": as expected" in said
    assert "1 tests failed" not in said
    assert said.count("output ") == 2


@needs_cmake
@needs_cc
def test_the_cmake_package_links_into_a_project(tmp_path: Path) -> None:
    """Found twice, as by two libraries of a project, and added once more."""
    folder = export("cmake", tmp_path / "package")
    found = f"find_package(tinyaot_pair 1.0 CONFIG REQUIRED PATHS {folder})\n"
    app = tmp_path / "app"
    app.mkdir()
    shutil.copy(folder / "example" / "main.c", app)
    (app / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\n"
        f"{found}{found}add_subdirectory({folder} pair)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE tinyaot::model_pair)\n"
    )
    run("cmake", "-S", app, "-B", app / "build")
    run("cmake", "--build", app / "build")
    assert ": as expected" in run(app / "build" / "app")


@needs_cmake
def test_the_cmake_package_refuses_an_older_version(tmp_path: Path) -> None:
    folder = export("cmake", tmp_path / "package")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app NONE)\n"
        f"find_package(tinyaot_pair 2.0 CONFIG REQUIRED PATHS {folder})\n"
    )
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "compatible with requested version" in done.stderr


@needs_cc
def test_the_example_notices_wrong_outputs(tmp_path: Path) -> None:
    folder = export("cmake", tmp_path / "package")
    weights = folder / "src" / "tinyaot_pair_weights.c"
    numbers = re.sub(r"^    (-?\d+),", r"    99,", weights.read_text(), flags=re.MULTILINE)
    weights.write_text(numbers)
    sources = [*(folder / "src").glob("*.c"), folder / "example" / "main.c"]
    include = ("-I", folder / "include", "-I", folder / "src")
    run("cc", *include, "-o", tmp_path / "main", *sources)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "NOT as expected" in done.stdout


def test_the_zephyr_module_is_what_zephyr_reads(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="pip install PyYAML")
    kconfiglib = pytest.importorskip("kconfiglib", reason="pip install kconfiglib")
    folder = export("zephyr", tmp_path / "module", "cortex-m4")
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    # The keys of the schema in Zephyr's scripts/zephyr_module.py, and what it checks.
    assert set(module) <= {"name", "build", "samples"}
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (folder / module["build"]["kconfig"]).is_file()
    (samples,) = module["samples"]
    sample = yaml.safe_load((folder / samples / "pair" / "sample.yaml").read_text())
    assert set(sample) == {"sample", "common", "tests"}
    (pattern,) = sample["common"]["harness_config"]["regex"]

    (tmp_path / "Kconfig").write_text(
        "config ARMV7_M_ARMV8_M_MAINLINE\n\tbool\n\tdefault y\n"
        'config PRINTK\n\tbool "printk"\n'
        f'source "{folder / module["build"]["kconfig"]}"\n'
    )
    settings = kconfiglib.Kconfig(str(tmp_path / "Kconfig"), warn_to_stderr=False)
    settings.load_config(str(folder / samples / "pair" / "prj.conf"))
    assert settings.syms["TINYAOT_MODEL_PAIR"].str_value == "y"
    assert not settings.warnings
    if shutil.which("cc"):
        assert re.search(pattern, _zephyr_sample(folder, tmp_path))


def _zephyr_sample(folder: Path, scratch: Path) -> str:
    """Builds the sample's sources for this machine, with a kernel.h of one function."""
    kernel = scratch / "include" / "zephyr" / "kernel.h"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("#include <stdio.h>\n#define printk printf\n")
    portable = export("zephyr", scratch / "host")
    sources = [*(portable / "src").glob("*.c"), folder / "samples" / "pair" / "src" / "main.c"]
    include = ("-I", portable / "include", "-I", portable / "src", "-I", scratch / "include")
    run("cc", *STRICT, *include, "-o", scratch / "sample", *sources)
    return run(scratch / "sample")


@needs_cmake
@needs_cc
def test_zephyrs_cmake_builds_the_module(tmp_path: Path) -> None:
    """Against the few functions of Zephyr's build system that the module calls."""
    folder = export("zephyr", tmp_path / "module")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(stand_in C)\n"
        "set(CONFIG_TINYAOT_MODEL_PAIR y)\n"
        "macro(zephyr_library_named name)\n  add_library(${name} STATIC)\n"
        "  set(library ${name})\nendmacro()\n"
        "macro(zephyr_library_sources)\n  foreach(one ${ARGN})\n"
        "    target_sources(${library} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${one})\n"
        "  endforeach()\nendmacro()\n"
        "macro(zephyr_library_include_directories)\n"
        "  target_include_directories(${library} PRIVATE ${ARGN})\nendmacro()\n"
        "macro(zephyr_include_directories)\nendmacro()\n"
        "macro(zephyr_library_compile_options)\n"
        "  target_compile_options(${library} PRIVATE ${ARGN})\nendmacro()\n"
        f"add_subdirectory({folder / 'zephyr'} module)\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")


def test_west_takes_the_module(tmp_path: Path) -> None:
    pytest.importorskip("west", reason="pip install west")
    from west.manifest import Manifest

    folder = export("zephyr", tmp_path / "module", "cortex-m4")
    readme = (folder / "README.md").read_text()
    (entry,) = re.findall(r"^    (- name:.*(?:\n      .*)+)", readme, re.MULTILINE)
    text = "\n".join(f"    {line}" for line in entry.replace("\n    ", "\n").splitlines())
    manifest = Manifest.from_data(f"manifest:\n  projects:\n{text}\n")
    (project,) = manifest.get_projects(["tinyaot_pair"])
    assert project.path == "modules/lib/tinyaot_pair"


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_the_arduino_library_follows_the_specification(target: str, tmp_path: Path) -> None:
    """Arduino's library specification, format 1.5: names, required fields, folders."""
    folder = export("arduino", tmp_path / "tinyaot_pair", target)
    lines = (folder / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    assert set(fields) >= {"name", "version", "author", "maintainer", "sentence", "paragraph",
                           "category", "url", "architectures"}  # fmt: skip
    assert all(fields.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", fields["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", fields["version"])
    assert fields["category"] in {
        "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing",
        "Data Storage", "Data Processing", "Other",
    }  # fmt: skip
    assert fields["sentence"].endswith(".")
    assert (folder / "src" / fields["includes"]).is_file()
    for sketch in (folder / "examples").iterdir():
        assert (sketch / f"{sketch.name}.ino").is_file()
    for line in (folder / "keywords.txt").read_text().splitlines():
        assert re.fullmatch(r"\w+\t(KEYWORD[123]|LITERAL1)", line)
    # The IDE builds only what lies under src/, and no other C file may lie at the top.
    assert all(name.startswith("src/") for name in sources_named(folder))


@needs_cc
@pytest.mark.parametrize(("model", "outputs"), [(network, 2), (delay, 1)])
def test_the_sketch_runs(model: Any, outputs: int, tmp_path: Path) -> None:
    """As C++, as Arduino's builder makes it: Arduino.h first, main calls setup, and loop for ever;
    a state starts anew each time."""
    folder = tmp_path / "tinyaot_pair"
    export_model(compile_model(model(), "host", name="pair"), "arduino", folder)
    (tmp_path / "Arduino.h").write_text(
        "#include <stdint.h>\n#include <iostream>\n"
        "enum { HEX = 16 };\n"
        "inline unsigned long micros() { return 0; }\ninline void delay(unsigned long) {}\n"
        "struct Port {\n    void begin(long) {}\n"
        "    template <class T> void print(T value) { std::cout << value; }\n"
        "    void print(unsigned long value, int) { std::cout << std::hex << value << std::dec; }\n"
        "    template <class T> void println(T value) { std::cout << value << '\\n'; }\n"
        "} Serial;\n"
    )
    sketch = (folder / "examples" / "RunOnce" / "RunOnce.ino").read_text()
    (tmp_path / "sketch.cpp").write_text(
        f'#include "Arduino.h"\n{sketch}\nint main() {{ setup(); loop(); loop(); }}\n'
    )
    objects = []
    for source in (folder / "src").glob("*.c"):
        objects.append(tmp_path / f"{source.stem}.o")
        run("cc", "-c", source, "-o", objects[-1])
    run("c++", *STRICT, "-I", folder / "src", "-I", tmp_path, "-o", tmp_path / "sketch",
        tmp_path / "sketch.cpp", *objects)  # fmt: skip
    said = run(tmp_path / "sketch")
    assert said.startswith("pair: status 0")
    assert said.count(": as expected") == 2
    assert said.count("output ") == 2 * outputs


@pytest.mark.campaign
@pytest.mark.skipif(
    shutil.which("arduino-builder") is None,
    reason="apt-get install arduino-builder arduino-core-avr",
)
def test_arduinos_builder_takes_the_library(tmp_path: Path) -> None:
    """Debian has Arduino's builder for AVR only: it finds the library and builds the sketch."""
    folder = export("arduino", tmp_path / "libraries" / "tinyaot_pair")
    for name in ("tools", "build"):
        (tmp_path / name).mkdir()
    said = run(
        "arduino-builder", "-compile", "-verbose",
        *("-hardware", "/usr/share/arduino/hardware", "-hardware", "/usr/share/arduino-builder"),
        *("-tools", tmp_path / "tools", "-libraries", folder.parent),
        *("-fqbn", "arduino:avr:mega:cpu=atmega2560", "-build-path", tmp_path / "build"),
        "-prefs=runtime.tools.avr-gcc.path=/usr", "-prefs=runtime.tools.ctags.path=/usr/bin",
        "-prefs=tools.ctags.path=/usr/bin",
        # Debian's WString.cpp does not compile without.
        "-prefs=compiler.cpp.extra_flags=-DDECIMAL_DIG=17",
        folder / "examples" / "RunOnce" / "RunOnce.ino",
    )  # fmt: skip
    assert "Using library tinyaot_pair at version 1.0.0" in said
    assert "Sketch uses" in said


@pytest.mark.parametrize("target", ["host", "cortex-m0plus", "cortex-m33", "cortex-m55"])
def test_the_pack_description_follows_the_schema(target: str, tmp_path: Path) -> None:
    """The rules of PACK.xsd 1.7 for the elements in use; no registry has the schema itself."""
    folder = export("cmsis-pack", tmp_path / "pack", target)
    (path,) = folder.glob("*.pdsc")
    package = ET.parse(path).getroot()
    assert package.tag == "package"
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", package.attrib["schemaVersion"])
    children = [child.tag for child in package]
    assert len(children) == len(set(children))
    assert set(children) >= {"vendor", "name", "description", "url", "releases", "keywords"}
    assert set(children) <= {"vendor", "name", "description", "url", "releases", "keywords",
                             "conditions", "components"}  # fmt: skip
    assert path.name == f"{package.findtext('vendor')}.{package.findtext('name')}.pdsc"
    assert re.fullmatch(r"[\-_A-Za-z0-9]+", package.findtext("name") or "")
    (release,) = package.iterfind("releases/release")
    conditions = {one.attrib["id"]: one for one in package.iterfind("conditions/condition")}
    for condition in conditions.values():
        for rule in condition:
            if rule.tag == "require":
                assert rule.attrib["Dcore"] in {"Cortex-M0+", "Cortex-M33", "Cortex-M55"}
    (component,) = package.iterfind("components/component")
    assert {child.tag for child in component} == {"description", "RTE_Components_h", "files"}
    assert {"Cclass", "Cgroup", "Cversion"} <= set(component.attrib)
    assert component.attrib["Cversion"] == release.attrib["version"]
    assert component.attrib.get("condition") in {None, *conditions}
    assert bool(conditions) == (target != "host")
    listed = set()
    for file in component.iterfind("files/file"):
        assert file.attrib["category"] in {"doc", "header", "include", "source"}
        place = folder / file.attrib["name"]
        assert place.is_dir() if file.attrib["category"] == "include" else place.is_file()
        listed.add(file.attrib["name"])
    assert sources_named(folder) <= listed
    (template,) = (
        file for file in component.iterfind("files/file") if file.attrib.get("attr") == "template"
    )
    assert template.attrib["select"]


@needs_emulator
@pytest.mark.parametrize("format_name", ["zephyr", "arduino", "cmsis-pack"])
def test_the_sources_compile_for_the_core(format_name: str, tmp_path: Path) -> None:
    folder = export(format_name, tmp_path / "export", "cortex-m55")
    flags = compiled("cortex-m55").target.flags
    include = [f"-I{folder / name}" for name in ("include", "src")]
    for source in (folder / "src").glob("*.c"):
        run("arm-none-eabi-gcc", *flags, "-std=c99", *STRICT, "-O2", *include, "-c", source,
            "-o", tmp_path / "object.o")  # fmt: skip


@needs_emulator
@pytest.mark.parametrize(("target", "lesser"), [("cortex-m55", "m33"), ("cortex-m4", "m3"),
                                                ("cortex-m3", "m0")])  # fmt: skip
def test_a_lesser_core_is_an_error_in_words(target: str, lesser: str, tmp_path: Path) -> None:
    folder = export("arduino", tmp_path / "export", target)
    done = subprocess.run(
        ["arm-none-eabi-gcc", f"-mcpu=cortex-{lesser}", "-mthumb", "-E", "tinyaot_pair.c"],
        cwd=folder / "src", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "export the model for yours" in done.stderr


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_export_is_repeatable_and_replaces_itself(format_name: str, tmp_path: Path) -> None:
    first = export_files(compiled("cortex-m4"), format_name, "1.0.0")
    assert first == export_files(compiled("cortex-m4"), format_name, "1.0.0")
    folder = export(format_name, tmp_path / "export", "cortex-m4")
    export(format_name, folder, "cortex-m4")
    written = {
        str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*")
        if path.is_file()
    }  # fmt: skip
    assert written == first
    for name, text in written.items():
        assert not re.search(r"\{\{|\{%|\}\}\}", text), name
        assert "README" in name or name.endswith((".c", ".h")) or text.endswith("\n")


@needs_cmake
@needs_emulator
def test_a_model_for_an_npu_is_linked_with_its_driver(tmp_path: Path) -> None:
    pytest.importorskip("ethosu.vela", reason="pip install 'tinyaot[ethos-u]'")
    model = compile_model(network(), "cortex-m55+ethos-u55-128", name="pair")
    assert model.program.npu
    folder = tmp_path / "package"
    export_model(model, "cmake", folder)
    headers = Path(__file__).parents[2] / "targets" / "ethos_u" / "driver"
    text = (
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\n{driver}"
        f"find_package(tinyaot_pair CONFIG REQUIRED PATHS {folder})\n"
    )
    driver = (
        "add_library(ethosu_core_driver INTERFACE)\n"
        f"target_include_directories(ethosu_core_driver INTERFACE {headers})\n"
    )
    flags = " ".join(model.target.flags)
    configure = ["cmake", "-S", tmp_path, "-DCMAKE_SYSTEM_NAME=Generic", f"-DCMAKE_C_FLAGS={flags}",
                 "-DCMAKE_C_COMPILER=arm-none-eabi-gcc",
                 "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"]  # fmt: skip
    (tmp_path / "CMakeLists.txt").write_text(text.format(driver=driver))
    run(*configure, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    (tmp_path / "CMakeLists.txt").write_text(text.format(driver=""))
    done = subprocess.run(
        [*configure, "-B", tmp_path / "other"], capture_output=True, text=True, check=False
    )
    assert "add ethos-u-core-driver" in done.stderr
    with pytest.raises(TinyaotError, match="Arduino has no driver"):
        export_model(model, "arduino", tmp_path / "arduino")


def test_mistakes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("important")
    with pytest.raises(TinyaotError, match=r"holds mine\.txt, which is no part"):
        export_model(compiled("host"), "cmake", tmp_path)
    with pytest.raises(TinyaotError, match="is not a folder"):
        export_model(compiled("host"), "cmake", tmp_path / "mine.txt")
    with pytest.raises(TinyaotError, match="unknown format 'cmak'"):
        export_model(compiled("host"), "cmak", tmp_path / "new")
    with pytest.raises(TinyaotError, match=r"not of the form 1\.2\.3"):
        export_model(compiled("host"), "cmake", tmp_path / "new", version="1.0")
    assert not (tmp_path / "new").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tinyaot.tools.main import main

    path = tmp_path / "pair.tflite"
    path.write_bytes(network())
    arguments: list[Any] = ["export", path, "--format", "cmsis-pack", "-o", tmp_path / "out"]
    assert main([*map(str, arguments), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "tinyaot.pair.pdsc" in document["files"]
    assert (tmp_path / "out" / "tinyaot.pair.pdsc").is_file()
    assert main([*map(str, arguments)]) == 0
    assert "a CMSIS-Pack" in capsys.readouterr().out
    assert main(["export", str(path), "-o", str(tmp_path / "other")]) == 2
