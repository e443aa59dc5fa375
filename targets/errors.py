"""The one error type that users see."""

from __future__ import annotations


class TinyaotError(Exception):
    """A problem the user can act on: one line that says what and where, and things to try.

    Args:
        message: what is wrong and where, in one line without a trailing full stop.
        hints: things to try, one short sentence each.

    The command line prints the message and the hints and exits with status 2; every other
    exception is a bug in tinyaot.
    """

    def __init__(self, message: str, *hints: str) -> None:
        # Names in damaged files hold anything; a terminal should not.
        line = " ".join(message.split())
        self.message = "".join(one if one.isprintable() else "\ufffd" for one in line)
        super().__init__(self.message)
        self.hints = hints


class MissingError(TinyaotError):
    """Something of this machine is missing, such as a program or space on a disk: the same goes
    wrong whatever is compiled or run."""


class TimeLimitError(TinyaotError):
    """What was run did not end within its time limit."""
