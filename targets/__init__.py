"""What a device is, as data, and how to build for it and run on it."""

from tinyaot.targets.cortex_m.board import Board, get_board, list_boards, parse_place
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.image import (
    Image,
    build_image,
    compiler_version,
    estimate_cycles,
    run_image,
)
from tinyaot.targets.program import ImageSize, Port, Program, RunResult
from tinyaot.targets.target import FEATURES, Target, get_target, list_targets

__all__ = [
    "FEATURES",
    "Board",
    "Image",
    "ImageSize",
    "Port",
    "Program",
    "RunResult",
    "Target",
    "TinyaotError",
    "build_image",
    "compiler_version",
    "estimate_cycles",
    "get_board",
    "get_target",
    "list_boards",
    "list_targets",
    "parse_place",
    "run_image",
]
