"""A conversation with one board through a GDB server: load an image, run it, read what it did."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence

from tinyaot.targets.cortex_m.board import CPUID_PARTS, Board
from tinyaot.targets.cortex_m.faults import WORDS, fault_error, read_fault
from tinyaot.targets.cortex_m.mailbox import (
    MAGIC,
    NBYTES,
    PROFILE,
    RUN,
    Counts,
    Mailbox,
    Symbols,
    board_counter,
    count,
    read_mailbox,
    read_stamps,
    read_symbols,
)
from tinyaot.targets.errors import TimeLimitError, TinyaotError
from tinyaot.targets.image import Image
from tinyaot.targets.program import RunResult
from tinyaot.targets.runners.base import Runner, Server
from tinyaot.targets.runners.client import Client, DisconnectedError, GdbError

_log = logging.getLogger(__name__)

_CPUID = 0xE000ED00
_STAMP_PAIR = 32
LOAD_SECONDS, START_SECONDS = 120.0, 20.0


class Session:
    """An open connection to a board.

    Attributes:
        counter: what images for it count with, a key of `mailbox.COUNTERS`.
    """

    def __init__(self, runner: Runner, board: Board, timeout: float = 60.0) -> None:
        """Start or find the server, connect, and check what is behind it.

        Args:
            timeout: seconds that an inference may take.

        Raises:
            TinyaotError: a program is missing, nothing answers, or it is another kind of core.
        """
        self.runner, self.board, self._timeout = runner, board, timeout
        self._image: Image | None = None
        self._symbols: Symbols | None = None
        self._stack = contextlib.ExitStack()
        self._client: Client | None = None
        self._server: Server | None = None
        self.counter = ""
        self._open()

    @property
    def where(self) -> str:
        """The place, in running text."""
        emulated = "the emulated " if self.runner.capabilities.emulated else ""
        return f"{emulated}{self.board.name}"

    @property
    def server(self) -> Server | None:
        """The GDB server, if it is ours."""
        return self._server

    def _open(self) -> None:
        try:
            # The client first: when it is closed, the server still answers.
            self._host, self._port, self._server = self._stack.enter_context(
                self.runner.serve(self.board)
            )
            self._client = Client()
            self._stack.callback(self._client.close)
            self._connect()
            self._check_target()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End GDB and, if it is ours, the server. The board keeps the image."""
        self._stack.close()
        self._stack = contextlib.ExitStack()
        self._client = None

    @property
    def _gdb(self) -> Client:
        if self._client is None:
            raise TinyaotError("the device is closed", "open it again")
        return self._client

    def _connect(self) -> None:
        place = f"{self._host}:{self._port}"
        try:
            self._gdb.command(f"-target-select extended-remote {place}", 10)
        except GdbError as error:
            text = str(error)
            if self._server is not None and self._server.process.poll() is not None:
                raise self._server.failure() from None
            if "refused" in text:
                raise TinyaotError(
                    f"no GDB server listens at {place}", "start it first, or check the port"
                ) from None
            if re.search(r"timed? ?out|no answer|closed|rejected|reset", text, re.I):
                raise TinyaotError(
                    f"what listens at {place} does not answer as a GDB server: {text}",
                    "another debugger may be connected to it: end that first",
                ) from None
            raise TinyaotError(f"GDB cannot connect to {place}: {text}") from None

    def _check_target(self) -> None:
        """It must be a Cortex-M, and of the board's kind."""
        try:
            names = self._gdb.command("-data-list-register-names")["register-names"]
            if not {"xpsr", "r0", "pc"} <= set(names):
                raise TinyaotError(
                    f"what answers at {self._host}:{self._port} is not a Cortex-M",
                    "check that the port is that of the board's GDB server",
                )
            part = self._gdb.word(_CPUID) >> 4 & 0xFFF
            sstep = self._gdb.console("maintenance packet qqemu.sstepbits")
        except GdbError as error:
            raise TinyaotError(
                f"what answers at {self._host}:{self._port} is not a Cortex-M: {error}",
                "check that the port is that of the board's GDB server",
            ) from None
        expected = CPUID_PARTS[self.board.processor]
        if part != expected:
            known = {number: name for name, number in CPUID_PARTS.items()}
            raise TinyaotError(
                f"board {self.board.name} has a {self.board.processor}, but a "
                f"{known.get(part, f'core with part number {part:#x}')} answers at "
                f"{self._host}:{self._port}",
                "name the board that is connected with --board",
            )
        emulated = "ENABLE=" in sstep and self.board.machine is not None
        self.counter = "instructions" if emulated else board_counter(self.board)

    def load(self, image: Image) -> None:
        """Write an image to the board and start it; returns when it waits for commands.

        Raises:
            TinyaotError: it cannot be written, does not start, or faults.
        """
        self._image, self._symbols = image, read_symbols(image.elf)
        try:
            self._gdb.command(f'-file-exec-and-symbols "{image.elf}"')
            self._reset()
            self._gdb.command("-target-download", LOAD_SECONDS)
            if self._gdb.read(self._symbols["tinyaot_build_id"], 36) != self._symbols.build_id:
                raise TinyaotError(
                    f"{self.where} does not hold what was written to it",
                    "its memory may be protected, or the board file wrong about where flash is",
                )
            self._start()
        except DisconnectedError as error:
            raise self._gone(error) from None
        except GdbError as error:
            raise TinyaotError(f"{self.where} cannot be programmed: {error}") from None

    def attach(self, image: Image) -> None:
        """Use an image that the board holds already.

        Raises:
            TinyaotError: it holds, or is running, something else.
        """
        self._image, self._symbols = image, read_symbols(image.elf)
        try:
            self._gdb.command(f'-file-exec-and-symbols "{image.elf}"')
            held = self._gdb.read(self._symbols["tinyaot_build_id"], 36)
            magic = self._gdb.word(self._symbols["tinyaot_mailbox"])
            if held != self._symbols.build_id or magic != MAGIC:
                raise TinyaotError(
                    f"{self.where} is running something else than {image.program.name}",
                    "flash the model first: tinyaot flash",
                )
            self._breakpoints()
            self._resume()
        except DisconnectedError as error:
            raise self._gone(error) from None
        except GdbError as error:
            raise TinyaotError(f"{self.where}: {error}") from None

    def run(
        self, inputs: Sequence[Sequence[bytes]], *, profile: bool = False, runs: int = 1
    ) -> tuple[RunResult, str | None]:
        """Make one inference for each set of inputs.

        Args:
            inputs: as for `run_image`.
            profile: record the operators of the first inference; the image must have hooks.
            runs: how often the first inference is made; the least of each count is what is told.

        Returns:
            the result, and what its counts are, a key of `mailbox.COUNTERS`; None if it is not
            counted.

        Raises:
            TinyaotError: the program faults, fails, or does not answer; or the server is gone.
        """
        assert self._image is not None
        outputs, totals, stack = [], [], 0
        operators: tuple[int, ...] | None = None
        counted = True
        for index, tensors in enumerate(inputs):
            recording = profile and index == 0
            least: int | None = None
            for _ in range(runs if index == 0 else 1):
                mailbox, results, counts = self._inference(index, tensors, recording)
                stack = max(stack, mailbox.stack_bytes)
                if counts is None:
                    counted = False
                    continue
                least = counts.total if least is None else min(least, counts.total)
                if counts.operators is not None:
                    operators = tuple(map(min, counts.operators, operators or counts.operators))
            outputs.append(results)
            totals.append(least or 0)
        result = RunResult(tuple(outputs), tuple(totals) if counted else None, operators, stack)
        return result, self.counter if counted else None

    def _inference(
        self, index: int, tensors: Sequence[bytes], recording: bool
    ) -> tuple[Mailbox, tuple[bytes, ...], Counts | None]:
        try:
            return self._try_inference(index, tensors, recording)
        except DisconnectedError as error:
            image = self._image
            assert image is not None
            if self._server is None or (image.program.resets is False and _has_state(image)):
                raise self._gone(error) from None
            _log.warning(
                "the GDB server of %s ended: it is started again, and inference %d repeated",
                self.where, index,
            )  # fmt: skip
            self.close()
            self._open()
            self.load(image)
            try:
                return self._try_inference(index, tensors, recording)
            except DisconnectedError as again:
                raise self._gone(again) from None

    def _try_inference(
        self, index: int, tensors: Sequence[bytes], recording: bool
    ) -> tuple[Mailbox, tuple[bytes, ...], Counts | None]:
        image, symbols, gdb = self._image, self._symbols, self._gdb
        assert image is not None
        assert symbols is not None
        program = image.program
        box = symbols["tinyaot_mailbox"]
        try:
            before = read_mailbox(gdb.read(box, NBYTES))
            if before.magic != MAGIC:
                raise TinyaotError(
                    f"{self.where} no longer runs {program.name}", "flash the model again"
                )
            for port, tensor in zip(program.inputs, tensors, strict=True):
                gdb.write(symbols[f"input_{port.name}"], tensor)
            command = PROFILE if recording else RUN
            gdb.write(box + 4, command.to_bytes(4, "little") + bytes(4))
            gdb.write(box + 12, bytes(4))
            self._resume()
            after = read_mailbox(gdb.read(box, NBYTES))
            if after.failed:
                raise TinyaotError(
                    f"{program.name} on {self.where}: the stack overflowed",
                    f"the inference needs more than {self.board.stack_bytes:,} bytes: give it more "
                    "by 'stack_bytes' of a board file of your own",
                )
            if after.status != 0:
                raise TinyaotError(f"{program.name} returned {after.status} on inference {index}")
            results = tuple(
                gdb.read(symbols[f"output_{port.name}"], port.nbytes) for port in program.outputs
            )
            stamps = None
            if recording:
                data = gdb.read(symbols["operators"], _STAMP_PAIR * len(program.operators))
                stamps = read_stamps(data)
        except DisconnectedError:
            raise
        except GdbError as error:
            raise TinyaotError(f"{program.name} on {self.where}: {error}") from None
        counts = count(after, stamps, program, self.board, self.counter, image.profile)
        return after, results, counts

    def _reset(self) -> None:
        for command in self.runner.resets:
            with contextlib.suppress(GdbError):
                said = self._gdb.console(f"monitor {command}")
                if "unknown command" not in said.lower():
                    break
        self._gdb.stopped(0.05)
        self._gdb.forget_stops()

    def _start(self) -> None:
        """Begin at the image's reset handler, however the core itself would start."""
        symbols = self._symbols
        assert symbols is not None
        self._reset()
        self._breakpoints()
        self._gdb.write(symbols["tinyaot_mailbox"], bytes(4))
        for register, value in (
            ("xpsr", 1 << 24),
            ("sp", symbols["tinyaot_stack_top"]),
            ("pc", symbols.entry & ~1),
        ):
            self._gdb.console(f"set ${register} = {value:#x}")
        self._resume(START_SECONDS)

    def _breakpoints(self) -> None:
        symbols = self._symbols
        assert symbols is not None
        with contextlib.suppress(GdbError):
            self._gdb.command("-break-delete")
        for name in ("tinyaot_mailbox_stop", "tinyaot_mailbox_fault"):
            self._gdb.command(f"-break-insert -h *{symbols[name]:#x}")

    def _resume(self, timeout: float | None = None) -> None:
        """Let the core go on until it waits for a command again.

        Raises:
            TinyaotError: it faults, or does not stop in time.
        """
        image, symbols = self._image, self._symbols
        assert image is not None
        assert symbols is not None
        self._gdb.forget_stops()
        self._gdb.command("-exec-continue")
        seconds = timeout or self._timeout
        stop = self._gdb.stopped(seconds)
        if stop is None:
            raise self._silent(seconds)
        pc = int(str(stop.get("frame", {}).get("addr", "0")), 0)
        if pc == symbols["tinyaot_mailbox_fault"]:
            record = self._gdb.word(symbols["tinyaot_mailbox_fault_record"])
            data = self._gdb.read(record, 4 * WORDS)
            words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
            where = f"{image.program.name} on {self.where}"
            raise fault_error(read_fault(words), image.elf, image.program, where)
        if pc != symbols["tinyaot_mailbox_stop"]:
            reason = stop.get("signal-meaning") or stop.get("reason") or "for no known reason"
            raise TinyaotError(
                f"{image.program.name} on {self.where} stopped at {pc:#010x} ({reason})",
                "another debugger may have halted it",
            )

    def _silent(self, seconds: float) -> TinyaotError:
        """The core does not stop: halt it and see where it is."""
        place = ""
        with contextlib.suppress(GdbError):
            self._gdb.command("-exec-interrupt")
            stop = self._gdb.stopped(5) or {}
            frame = stop.get("frame", {})
            place = f"; it is in {frame.get('func', 'no function')} ({frame.get('addr', '?')})"
        return TimeLimitError(
            f"{self.where} gives no answer within {seconds:g} s{place}",
            "give it more time with --timeout, or flash it again",
        )

    def _gone(self, error: GdbError) -> TinyaotError:
        if self._server is not None and self._server.process.poll() is not None:
            return self._server.failure()
        return TinyaotError(
            f"the GDB server of {self.where} at {self._host}:{self._port} is gone: {error}",
            "start it again, and check the cable if it serves a probe",
        )


def _has_state(image: Image) -> bool:
    header = image.program.files[f"tinyaot_{image.program.name}.h"]
    return f"tinyaot_{image.program.name}_reset" in header
