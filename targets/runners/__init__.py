"""Ways to reach a board: each gives a GDB server, and one session talks to all of them."""

from tinyaot.targets.runners.base import Attached, Capabilities, Runner
from tinyaot.targets.runners.registry import get_runner, list_runners, runner_for
from tinyaot.targets.runners.session import Session

__all__ = [
    "Attached",
    "Capabilities",
    "Runner",
    "Session",
    "get_runner",
    "list_runners",
    "runner_for",
]
