"""A compiled model: its C, a place to save it, a way to run it, and what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.codegen.model_library import constant_bytes, write_model_library
from tinyaot.compiler.codegen.module import emit_program
from tinyaot.compiler.graph import Graph, Tensor
from tinyaot.compiler.layers import (
    LayerValues,
    compared_layers,
    interpreted,
    observed_parts,
    values_of,
)
from tinyaot.compiler.memory.layout import plan_memory
from tinyaot.compiler.npu.partition import partition
from tinyaot.compiler.pipeline import Lowered
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.report import Measurement, OperatorReport, Report
from tinyaot.compiler.scheduling import schedule_graph
from tinyaot.targets import (
    Board,
    Program,
    RunResult,
    Target,
    TinyaotError,
    build_image,
    estimate_cycles,
    get_board,
    get_target,
    run_image,
)

if TYPE_CHECKING:
    from tinyaot.compiler.npu.report import NpuReport
    from tinyaot.compiler.profiling.profile import Profile

Array = NDArray[Any]
Inputs = Mapping[str, Array] | Sequence[Array] | Array

_RUNNERS = ("qemu", "host", "reference", "ethosu-model")


class CompiledModel:
    """The result of `compile_model`."""

    def __init__(self, lowered: Lowered, target: Target, optimize: str = "-O2") -> None:
        self._lowered = lowered
        self.target = target
        self.optimize = optimize

    @property
    def name(self) -> str:
        """C identifier of the model."""
        return self._lowered.graph.name

    @property
    def program(self) -> Program:
        """The generated C."""
        return self._lowered.program

    @property
    def graph(self) -> Graph:
        """The integer graph that the C computes."""
        return self._lowered.graph

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Input tensors: name, shape, dtype, scale and zero point."""
        return tuple(self.graph.tensors[name] for name in self.graph.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Output tensors."""
        return tuple(self.graph.tensors[name] for name in self.graph.outputs)

    @property
    def lowered(self) -> Lowered:
        """What the compiler made, for those who look into it."""
        return self._lowered

    @property
    def memory_map(self) -> str:
        """The arena as text: offset, size, lifetime and name of each tensor."""
        return self._lowered.layout.format()

    def save(self, path: str | Path) -> Path:
        """Writes the Model Library Format tar.

        Args:
            path: the file; a folder gets `<name>.tar`.

        Returns:
            The path of the file.

        Raises:
            TinyaotError: the file cannot be written.
        """
        path = Path(path)
        if path.is_dir():
            path = path / f"{self.name}.tar"
        lowered = self._lowered
        write_model_library(
            path,
            lowered.graph,
            lowered.operators,
            lowered.layout,
            lowered.program,
            self.target,
            self.optimize,
        )
        return path

    def run(self, inputs: Inputs, on: str = "qemu") -> list[Array]:
        """Runs one inference.

        Args:
            inputs: arrays by input name, in the model's order, or one array for a single input;
                quantized, or float to be quantized with the input's scale and zero point.
            on: `qemu` emulates the target's core, `host` runs the model here with portable
                kernels, `reference` interprets its integer graph in numpy, `ethosu-model` is `host`
                with the NPU's part in the functional model; any other name is that of a device,
                see `Device.open`.

        Returns:
            The quantized outputs in the model's order.

        Raises:
            TinyaotError: the inputs do not fit the model, or building or running failed.
        """
        return self.measure([inputs], on=on).outputs[0]

    def measure(
        self,
        inputs: Sequence[Inputs],
        on: str = "qemu",
        *,
        board: str | Board | None = None,
        profile: bool = False,
        directory: Path | None = None,
        keep_state: bool = False,
    ) -> Measurement:
        """Runs several inferences in one go and measures them.

        Args:
            inputs: for each inference as for `run`.
            on: as for `run`.
            board: the emulated board, a name, file or object; the target's default if None.
            profile: count the instructions of each operator.
            directory: keeps sources, objects and image there; a temporary one if None.
            keep_state: the inferences are one stream: each starts from the state that the one
                before left, and not from the model's initial state.

        Raises:
            TinyaotError: as `run`.
        """
        if on not in _RUNNERS:
            return self._on_device(inputs, on, board, profile, keep_state)
        tensors = [self._ordered(one) for one in inputs]
        if on == "reference":
            return self._interpreted(tensors, keep_state)
        data = [[array.tobytes() for array in one] for one in tensors]
        target = self.target if on == "qemu" else get_target("host")
        if on == "ethosu-model" and self._lowered.partition is None:
            raise TinyaotError(
                f"{self.target.name} has no NPU", f"name one: {self.target.name}+ethos-u55-128"
            )
        # What the NPU computes is computed by portable kernels on the host, unless it is modelled.
        graph = self.graph if on == "ethosu-model" else None
        chosen = get_board(board) if isinstance(board, str) else board
        with tempfile.TemporaryDirectory(prefix="tinyaot-") as scratch:
            folder = directory if directory is not None else Path(scratch)
            program = self.program if target == self.target else self._program_for(target, graph)
            program = replace(program, resets=program.resets and not keep_state)
            image = build_image(
                program,
                target,
                chosen,
                directory=folder,
                profile=profile,
                optimize=(self.optimize,),
            )
            result: RunResult = run_image(image, data)
        return Measurement(
            outputs=[self._arrays(one) for one in result.outputs],
            board=image.board.name if image.board is not None else "host",
            instructions=result.instructions,
            operator_instructions=result.operator_instructions,
            stack_bytes=result.stack_bytes,
            flash_code_bytes=image.size.flash_code,
            flash_weight_bytes=image.size.flash_weights,
        )

    def profile(
        self,
        inputs: Inputs,
        *,
        runs: int = 1,
        board: str | Board | None = None,
        on: str = "qemu",
    ) -> Profile:
        """Runs one input and counts every operator, memory over time and flash by layer.

        Args:
            inputs: as for `run`.
            runs: inferences of the whole; the profile's total is the least.
            board: the emulated board; the target's default if None.
            on: `qemu`, or a device; see `Device.open`.

        Raises:
            TinyaotError: the target counts nothing, or as `run`.
        """
        from tinyaot.compiler.profiling.measure import measure_profile

        if on != "qemu":
            from tinyaot.compiler.device import Device

            with Device.open(on, board=board) as device:
                device.flash(self)
                return device.profile(inputs, runs=runs)
        data = [array.tobytes() for array in self._ordered(inputs)]
        chosen = get_board(board) if isinstance(board, str) else board
        return measure_profile(self._lowered, self.target, self.optimize, data, runs, chosen)

    def _on_device(
        self,
        inputs: Sequence[Inputs],
        on: str,
        board: str | Board | None,
        profile: bool,
        keep: bool,
    ) -> Measurement:
        from tinyaot.compiler.device import Device

        program = replace(self.program, resets=self.program.resets and not keep)
        model = CompiledModel(replace(self._lowered, program=program), self.target, self.optimize)
        with Device.open(on, board=board) as device:
            device.flash(model, profile=profile)
            return device.measure(inputs, profile=profile)

    def _interpreted(self, inputs: Sequence[Sequence[Array]], keep_state: bool) -> Measurement:
        outputs, states = [], None
        for one in inputs:
            values = evaluate(self._lowered.portable, one, states)
            outputs.append([values[name] for name in self._lowered.portable.outputs])
            if keep_state:
                states = {
                    state.tensor: values[state.tensor] for state in self._lowered.portable.states
                }
        return Measurement(outputs, "reference", None, None, None, None, None)

    def _program_for(self, target: Target, graph: Graph | None = None) -> Program:
        """The C of the same or another graph for a target, whose instructions it uses."""
        graph = graph or self._lowered.portable
        # Sizes are of the rules that this target has.
        decisions = self._lowered.decisions if target == self.target else None
        operators = schedule_graph(graph, target, decisions)
        return emit_program(graph, operators, plan_memory(graph, operators), target)

    def layers(
        self,
        model: str | Path,
        inputs: Sequence[Inputs],
        on: str = "qemu",
        *,
        board: str | None = None,
    ) -> list[LayerValues]:
        """Every tensor of the model that the compiled model has too, as both compute it.

        Each inference starts from the initial state.

        Args:
            model: the `.tflite` or `.onnx` file that this was compiled from.
            inputs, on, board: as for `measure`.

        Raises:
            TinyaotError: as `measure` and `reference`.
        """
        if on not in _RUNNERS:
            raise TinyaotError(f"cannot run on {on!r}", f"choose one of {', '.join(_RUNNERS)}")
        tensors = [self._ordered(one) for one in inputs]
        if on == "reference":
            got = [interpreted(self._lowered.portable, one) for one in tensors]
        else:
            found: list[dict[str, Array]] = [{} for _ in tensors]
            target = self.target if on == "qemu" else get_target("host")
            for part in observed_parts(self._lowered.portable):
                split = part
                if on == "ethosu-model" and self.target.npu is not None:
                    split = partition(part, self.target.npu).graph
                program = self._program_for(target, split)
                lowered = replace(self._lowered, graph=split, program=program)
                measured = CompiledModel(lowered, target, self.optimize).measure(
                    inputs, on, board=board
                )
                for values, outputs in zip(found, measured.outputs, strict=True):
                    values.update(zip(part.outputs, outputs, strict=True))
            got = [
                values_of(self._lowered.portable, one, values)
                for one, values in zip(tensors, found, strict=True)
            ]
        return compared_layers(model, self._lowered.portable, self._as_declared(inputs), got)

    def estimate_cycles(self, inputs: Inputs, *, flash_wait_states: int = 0) -> int | None:
        """Estimated processor cycles of one inference; a model of the core, not silicon.

        Args:
            inputs: as for `run`.
            flash_wait_states: what a taken branch and the load of a literal cost more.

        Returns:
            None for a target without a model of its timing.

        Raises:
            TinyaotError: as `run`.
        """
        data = [array.tobytes() for array in self._ordered(inputs)]
        with tempfile.TemporaryDirectory(prefix="tinyaot-") as scratch:
            image = build_image(
                self.program, self.target, directory=Path(scratch), optimize=(self.optimize,)
            )
            return estimate_cycles(image, data, flash_wait_states=flash_wait_states)

    def reference(
        self, model: str | Path, inputs: Sequence[Inputs], *, keep_state: bool = False
    ) -> list[list[Array]]:
        """What the model's own reference runtime computes; see `reference_outputs`.

        Args:
            model: the `.tflite` or `.onnx` file that this was compiled from.
            inputs: for each inference as for `run`.
            keep_state: as for `measure`.

        Returns:
            For each inference the outputs as `run` returns them: what is float in the file is
            quantized with the output's scale and zero point.

        Raises:
            TinyaotError: the inputs do not fit the model, or the runtime is missing or failed.
        """
        from tinyaot.compiler.oracle import quantize, reference_outputs

        given = self._as_declared(inputs)
        return [
            [
                quantize(array, tensor) if array.dtype.kind == "f" else array
                for array, tensor in zip(one, self.outputs, strict=True)
            ]
            for one in reference_outputs(model, given, keep_state=keep_state)
        ]

    def _as_declared(self, inputs: Sequence[Inputs]) -> list[list[Array]]:
        """Inputs in the types of the model file: those that are float there are dequantized."""
        from tinyaot.compiler.oracle import dequantize

        declared = [port.dtype for port in self._lowered.inputs]
        return [
            [
                dequantize(array, tensor) if dtype == "float32" else array
                for array, tensor, dtype in zip(
                    self._ordered(one), self.inputs, declared, strict=True
                )
            ]
            for one in inputs
        ]

    def npu_report(self) -> NpuReport | None:
        """What the NPU does and costs, operation by operation; None if the target has none."""
        if self._lowered.partition is None or self.target.npu is None:
            return None
        from tinyaot.compiler.npu.report import npu_report

        return npu_report(self._lowered.partition, self.target.npu)

    def report(self) -> Report:
        """What the model costs in MACs and memory; nothing is built or run."""
        graph, operators = self._lowered.graph, self._lowered.operators
        plan = self._lowered.layout.plan
        return Report(
            model=self.name,
            target=self.target.name,
            macs=self._lowered.macs,
            executed_macs=sum(operator.node.workload.macs for operator in operators),
            arena_bytes=plan.size,
            arena_lower_bound_bytes=plan.lower_bound,
            state_bytes=sum(graph.tensors[state.tensor].nbytes for state in graph.states),
            io_bytes=sum(tensor.nbytes for tensor in (*self.inputs, *self.outputs)),
            flash_weight_bytes=constant_bytes(graph, operators),
            operators=tuple(
                OperatorReport(
                    node=operator.node.origin,
                    kind=operator.node.workload.kind,
                    rule=operator.rule,
                    decisions=operator.decisions,
                    source=operator.source,
                    macs=operator.node.workload.macs,
                    weight_bytes=sum(array.nbytes for array in operator.constants.values()),
                    workspace_bytes=operator.function.workspace,
                )
                for operator in operators
            ),
            notes=(*graph.notes, *self._lowered.notes, *self._fallbacks()),
        )

    def _fallbacks(self) -> tuple[str, ...]:
        """A note for each operator that the NPU leaves to the CPU."""
        parts = self._lowered.partition
        return () if parts is None else parts.notes(str(self.target.npu and self.target.npu.name))

    def _ordered(self, inputs: Inputs) -> list[Array]:
        return order_inputs(inputs, self.inputs)

    def _arrays(self, outputs: Sequence[bytes]) -> list[Array]:
        return [
            np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
            for data, tensor in zip(outputs, self.outputs, strict=True)
        ]


def order_inputs(inputs: Inputs, tensors: Sequence[Tensor]) -> list[Array]:
    """One set of inputs in the model's order, quantized and of the right shape.

    Raises:
        TinyaotError: they do not fit.
    """
    names = [tensor.name for tensor in tensors]
    if isinstance(inputs, np.ndarray):
        inputs = [inputs]
    if isinstance(inputs, Mapping):
        unknown = sorted(set(inputs) - set(names))
        missing = [name for name in names if name not in inputs]
        if unknown or missing:
            raise TinyaotError(
                f"inputs do not match: unknown {unknown}, missing {missing}",
                f"the model's inputs are {', '.join(names)}",
            )
        inputs = [inputs[name] for name in names]
    if len(inputs) != len(tensors):
        raise TinyaotError(
            f"{len(inputs)} inputs given for {len(tensors)}",
            f"the model's inputs are {', '.join(names)}",
        )
    return [
        _as_tensor(np.asarray(array), tensor) for array, tensor in zip(inputs, tensors, strict=True)
    ]


def _as_tensor(array: Array, tensor: Tensor) -> Array:
    from tinyaot.compiler.oracle import quantize

    if array.dtype.kind == "f" and tensor.scale is not None:
        array = quantize(array, tensor)
    if array.dtype != np.dtype(tensor.dtype) or array.shape != tensor.shape:
        raise TinyaotError(
            f'input "{tensor.name}" is {array.dtype} {list(array.shape)}',
            f"it must be {tensor.dtype} (or float) of shape {list(tensor.shape)}",
        )
    return np.ascontiguousarray(array)
