"""Where a model is to run: what `--on`, `--board`, `--runner` and `--place` say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyaot.targets import Board, TinyaotError, get_board, get_target, parse_place

if TYPE_CHECKING:
    from tinyaot.compiler.device import Device

WITHOUT_DEVICE = ("qemu", "host", "reference", "ethosu-model")
_DEFAULT_TARGET = "cortex-m4"


class Placement:
    """Checked before anything is compiled.

    Attributes:
        device: whether it runs on a device, by a debugger.
        board: the board, with its memories as placed; None for the default of the target.
        target: the core to compile for.

    Raises:
        TinyaotError: a name is unknown, or two options contradict each other.
    """

    def __init__(
        self,
        on: str,
        board: str | None,
        runner: str | None,
        place: str | None,
        target: str | None,
    ) -> None:
        choices = parse_place(place) if place else {}
        self.device = on not in WITHOUT_DEVICE or runner is not None
        self.target = target or _DEFAULT_TARGET
        self.board: Board | None = None
        if self.device:
            from tinyaot.compiler.device import find_device

            where = on
            if on in WITHOUT_DEVICE:
                if board is None:
                    raise TinyaotError("--runner reaches a board: which one?", "add --board BOARD")
                where = board
            chosen, self._runner = find_device(where, board, runner)
            self.board = chosen.placed(choices)
            self.target = target or chosen.cores[0]
            if get_target(self.target).core not in chosen.cores:
                raise TinyaotError(
                    f"board {chosen.name} does not run code for {self.target}",
                    f"it runs: {', '.join(chosen.cores)}",
                )
        elif board is not None:
            self.board = get_board(board).placed(choices)
        elif choices:
            default = get_target(_DEFAULT_TARGET).board
            assert default is not None
            raise TinyaotError("--place is of a board's memories", f"add --board, as {default}")

    def open(self, timeout: float) -> Device:
        """Open the device.

        Args:
            timeout: seconds that one inference may take.
        """
        from tinyaot.compiler.device import Device
        from tinyaot.targets.runners import Session

        assert self.board is not None
        return Device(Session(self._runner, self.board, timeout))
