"""The compiler's public interface: a model file in, a compiled model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import CompiledModel
    from tinyaot.compiler.report import Measurement, Report
    from tinyaot.schedules.registry import Decisions
    from tinyaot.schedules.workload import Workload

__all__ = ["OPTIMIZE", "CompiledModel", "Measurement", "Report", "compile_model"]


OPTIMIZE = {"speed": "-O3", "balanced": "-O2", "size": "-Os"}
"""The C compiler's flag for each kind of optimization. The kernels are the same: their inner loops
are fixed, and the flag decides about the loops around them and the operators without such."""


def compile_model(
    model: str | Path | bytes,
    target: str = "cortex-m4",
    *,
    name: str | None = None,
    optimize: str = "balanced",
    decisions: Mapping[Workload, Decisions] | None = None,
    tuning_logs: Sequence[str | Path] = (),
    tuned: bool = True,
    npu: Mapping[str, Any] | None = None,
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> CompiledModel:
    """Compiles a quantized model to static C for a core.

    Args:
        model: path of a `.tflite` or `.onnx` file, or its bytes.
        target: a name from `tinyaot targets`, or a core and an accelerator such as
            `cortex-m55+ethos-u55-128`.
        name: C identifier for functions and files; from the file name if None.
        optimize: `speed`, `balanced` or `size`: how the C is to be compiled, see `OPTIMIZE`.
        decisions: schedule sizes by workload, before what tuning has found.
        tuning_logs: files that `tinyaot tune` has written, beside the log that ships for the core.
        tuned: whether tuning records are used at all; else every size is its rule's default.
        npu: options for the target's accelerator: the keywords of
            `tinyaot.targets.ethos_u.accelerator.configure`.
        dump_ir: a folder that receives the form after each step as text.
        progress: called with the name of each step before it runs.

    Returns:
        The compiled model: save it, run it, or read its report.

    Raises:
        TinyaotError: a file is missing, damaged or unsupported, or the target or the kind of
            optimization unknown.
    """
    from tinyaot.compiler.codegen.module import identifier
    from tinyaot.compiler.compiled import CompiledModel
    from tinyaot.compiler.pipeline import lower
    from tinyaot.compiler.tuning.lookup import load_records
    from tinyaot.targets import TinyaotError, get_target
    from tinyaot.targets.ethos_u.accelerator import configure

    chosen = get_target(target)
    if npu:
        if chosen.npu is None:
            raise TinyaotError(
                f"{target} has no NPU to set {', '.join(npu)} for",
                f"name one, such as {target}+ethos-u55-128",
            )
        chosen = replace(chosen, npu=configure(chosen.npu, **npu))
    if optimize not in OPTIMIZE:
        raise TinyaotError(
            f"unknown optimization {optimize!r}", f"choose one of {', '.join(OPTIMIZE)}"
        )
    if isinstance(model, bytes):
        data, stem = model, "model"
    else:
        path = Path(model)
        stem = path.stem
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TinyaotError(
                f"cannot read the model {path}: {error.strerror}", "check the path"
            ) from error
    records = None
    if tuned:
        logs = [Path(log) for log in tuning_logs]
        records = load_records(chosen.core, logs, optimize=OPTIMIZE[optimize])
    lowered = lower(
        data,
        identifier(name or stem).lower(),
        chosen,
        decisions=decisions,
        records=records,
        dump=None if dump_ir is None else Path(dump_ir),
        progress=progress,
    )
    return CompiledModel(lowered, chosen, OPTIMIZE[optimize])


def __getattr__(attribute: str) -> object:
    """The result types, imported when asked for: they bring TVM with them."""
    if attribute in ("CompiledModel", "Measurement", "Report"):
        from tinyaot.compiler import compiled

        return getattr(compiled, attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
