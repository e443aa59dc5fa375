"""Proves of emitted C what the compiler promises: no float, no allocation, no libc calls."""

from __future__ import annotations

import re

from tinyaot.targets import Program

_FORBIDDEN = re.compile(
    r"\b(float|double|malloc|calloc|realloc|free|alloca|printf|expf?|powf?|sqrtf?|roundf?)\b"
)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_MACRO = re.compile(r"^\s*#\s*(define|include).*$", re.MULTILINE)


class VerifyError(AssertionError):
    """Emitted code breaks a promise: a bug in tinyaot."""


def verify_program(program: Program) -> None:
    """Checks every source file of a program.

    Raises:
        VerifyError: a file mentions floating point, allocation or libm; names file and word.
    """
    for name, text in program.files.items():
        code = _MACRO.sub("", _COMMENT.sub("", text))
        found = _FORBIDDEN.search(code)
        if found:
            line = code[: found.start()].count("\n") + 1
            raise VerifyError(f"{name} uses {found[0]} near line {line}: code must be integer-only")
