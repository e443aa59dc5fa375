"""Boards from Python: open one, flash a model, run it as often as you like."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from tinyaot.compiler.bundle import Bundle, bundle_of
from tinyaot.targets import Board, Image, TinyaotError, get_board
from tinyaot.targets.cortex_m.mailbox import COUNTERS
from tinyaot.targets.cortex_m.toolchain import build_for_debugger
from tinyaot.targets.runners import Runner, Session, get_runner, runner_for

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import Array, CompiledModel, Inputs
    from tinyaot.compiler.profiling.profile import Profile
    from tinyaot.compiler.report import Measurement

_DEFAULT_BOARD = "mps2-an386"


def find_device(
    where: str, board: str | Board | None = None, runner: str | None = None
) -> tuple[Board, Runner]:
    """The board and the way to it that the user means.

    Args:
        where: name or file of a board, `gdb:HOST:PORT`, or the name of a runner.
        board: the board, if `where` does not say it.
        runner: the way to it; the first that can reach it if None.

    Raises:
        TinyaotError: a name is unknown, or the two contradict each other.
    """
    if where.startswith("gdb:") or where in ("gdb", "qemu", "pyocd", "openocd", "west"):
        if runner is not None:
            raise TinyaotError(f"'{where}' already says how to reach the board", "leave out one")
        if board is None and where != "qemu":
            raise TinyaotError(f"{where}: which board is it?", "name it with --board")
        return _board(board or _DEFAULT_BOARD), get_runner(where)
    chosen = get_board(where)
    if board is not None:
        named = _board(board)
        if named.name != chosen.name:
            raise TinyaotError(
                f"two boards are named, {chosen.name} and {named.name}", "leave out one"
            )
        chosen = named
    return chosen, runner_for(chosen) if runner is None else get_runner(runner)


def _board(board: str | Board) -> Board:
    return get_board(board) if isinstance(board, str) else board


class Device:
    """An open connection to a board, emulated or not; a context manager.

    with Device.open("nucleo_l4r5zi") as device:
        device.flash(compile_model("kws.tflite", "cortex-m4"))
        scores = device.run(features)[0]
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bundle: Bundle | None = None
        self._model: CompiledModel | None = None
        self._image: Image | None = None
        self._place: Mapping[str, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="tinyaot-device-")

    @classmethod
    def open(
        cls,
        where: str,
        *,
        board: str | Board | None = None,
        runner: str | None = None,
        timeout: float = 60.0,
    ) -> Device:
        """Connect to a board.

        Args:
            where: name or file of a board, such as `nucleo_l4r5zi` or `mps2-an386`, which QEMU
                emulates, or `gdb:HOST:PORT` for a GDB server that runs already.
            board: the board behind the GDB server.
            runner: `qemu`, `pyocd`, `openocd`, `west`; the first that can reach it if None.
            timeout: seconds that one inference may take.

        Raises:
            TinyaotError: a program is missing, nothing answers, or another core does.
        """
        chosen, way = find_device(where, board, runner)
        return cls(Session(way, chosen, timeout))

    @property
    def board(self) -> Board:
        """What is at the other end."""
        return self._session.board

    @property
    def counter(self) -> str:
        """What counts are, in words."""
        return COUNTERS[self._session.counter]

    def flash(
        self,
        model: CompiledModel | str | Path,
        *,
        place: Mapping[str, str] | None = None,
        profile: bool = False,
        attach: bool = False,
    ) -> None:
        """Link a model for the board, write it there and start it.

        Args:
            model: a compiled model, or the tar that it was saved as.
            place: which memory holds `weights`, `arena`, `code`, `data`, `stack`.
            profile: with the hooks that count operators, which cost some instructions each.
            attach: the board is expected to hold this image already: do not write it.

        Raises:
            TinyaotError: it does not fit, which is told before anything is written; the board
                cannot be written, or does not start; with `attach`, it runs something else.
        """
        self._bundle, self._place = bundle_of(model), place or {}
        self._model = None if isinstance(model, (str, Path)) else model
        self._load(profile, attach)

    def _load(self, profile: bool, attach: bool = False) -> None:
        bundle = self._flashed
        # A program that is one stream keeps its state: its initial one is set by the start.
        self._image = build_for_debugger(
            bundle.program,
            bundle.target,
            self.board.placed(self._place),
            Path(self._folder.name),
            profile=profile,
            optimize=(bundle.optimize,),
            counter=self._session.counter,
        )
        if attach:
            self._session.attach(self._image)
        else:
            self._session.load(self._image)

    @property
    def _flashed(self) -> Bundle:
        if self._bundle is None:
            raise TinyaotError("no model has been flashed", "call flash(model) first")
        return self._bundle

    def run(self, inputs: Inputs) -> list[Array]:
        """One inference of the flashed model.

        Args:
            inputs: as for `CompiledModel.run`.

        Returns:
            The quantized outputs in the model's order.

        Raises:
            TinyaotError: nothing is flashed, the inputs do not fit, the program faults, or the
                board no longer answers.
        """
        return self.measure([inputs]).outputs[0]

    def measure(
        self, inputs: Sequence[Inputs], *, profile: bool = False, runs: int = 1
    ) -> Measurement:
        """Several inferences without flashing in between, measured as `CompiledModel.measure` does.

        Args:
            inputs: for each inference as for `run`.
            profile: count each operator of the first; flashes again if there are no hooks.
            runs: how often the first is made; the least count of each is told.

        Raises:
            TinyaotError: as `run`.
        """
        from tinyaot.compiler.compiled import order_inputs
        from tinyaot.compiler.report import Measurement

        bundle = self._flashed
        data = [[array.tobytes() for array in order_inputs(one, bundle.inputs)] for one in inputs]
        assert self._image is not None
        if profile and not self._image.profile:
            self._load(profile=True)
        result, counter = self._session.run(data, profile=profile, runs=runs)
        return Measurement(
            outputs=[_arrays(one, bundle) for one in result.outputs],
            board=self.board.name,
            instructions=result.instructions,
            operator_instructions=result.operator_instructions,
            stack_bytes=result.stack_bytes,
            flash_code_bytes=self._image.size.flash_code,
            flash_weight_bytes=self._image.size.flash_weights,
            counter=counter or "",
        )

    def profile(self, inputs: Inputs, *, runs: int = 1) -> Profile:
        """One inference with the cost of every operator, memory over time and flash by layer.

        The whole is counted without hooks, the operators then by an image that has them.

        Args:
            inputs: as for `run`.
            runs: inferences of each image; the least count of each is told.

        Raises:
            TinyaotError: what is flashed was not compiled here but is a file, the board counts
                nothing, or as `run`.
        """
        from tinyaot.compiler.profiling.measure import device_profile
        from tinyaot.targets.code_size import code_of

        if self._model is None:
            raise TinyaotError(
                "a model library file holds no layers to profile", "give the model file itself"
            )
        if self._image is None or self._image.profile:
            self._load(profile=False)
        whole = self.measure([inputs] * runs)
        assert self._image is not None
        functions = code_of(self._image.elf, f"tinyaot_{self._model.name}.c")
        operators = self.measure([inputs], profile=True, runs=runs).operator_instructions
        return device_profile(self._model, whole, operators, functions, self.counter)

    def close(self) -> None:
        """End the connection. A board keeps the model; an emulated one is gone."""
        self._session.close()
        self._folder.cleanup()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _arrays(outputs: Sequence[bytes], bundle: Bundle) -> list[Array]:
    return [
        np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
        for data, tensor in zip(outputs, bundle.outputs, strict=True)
    ]
