"""Proves of emitted C what the compiler promises: integers only, nothing but its own functions.

The check reads the text that is shipped, so it holds for every compiler that builds it: no
floating-point type or constant, no include or call beyond what a freestanding program has (so no
allocation and no mathematical library), and no recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tinyaot.targets import Program

_INCLUDES = frozenset({"stdint.h", "stddef.h", "string.h", "arm_acle.h", "arm_mve.h"})
_LIBRARY = frozenset({"memcpy", "memmove", "memset"})
# Arm's driver, for programs with an NPU.
_DRIVER_HEADER = "ethosu_driver.h"
_DRIVER = frozenset({"ethosu_reserve_driver", "ethosu_invoke_v3", "ethosu_release_driver"})
_KEYWORDS = frozenset("if for while switch return sizeof volatile".split())
# Compiler built-ins, ACLE intrinsics and attributes; the intrinsics of arm_mve.h.
_INTRINSIC = re.compile(r"__\w+|v[a-z]\w*_\w+|vctp\d+q")

_COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_FOR_CPLUSPLUS = re.compile(r"^#ifdef __cplusplus$.*?^#endif$", re.DOTALL | re.MULTILINE)
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)((?:\\\n|[^\n])*)", re.MULTILINE)
_FLOAT = re.compile(
    r"\b(?:float|double|float\d+(?:x\d+){0,2}_t|_Float\d+x?|__fp16|_Complex|_Imaginary)\b"
    r"|(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?[fFlL]?"
    r"|\b0[xX][\da-fA-F.]*[pP]"
)
# The scales of inputs and outputs are there for the caller; no code of ours uses them.
_SCALE_MACRO = re.compile(r"TINYAOT_\w+_SCALE")
_TOKEN = re.compile(r"(\b[A-Za-z_]\w*)?\s*(\()|(\))(\s*\{)?|([{}])")


class VerifyError(AssertionError):
    """Emitted code breaks a promise: a bug in tinyaot."""


@dataclass(frozen=True)
class _Source:
    """A file's text without comments, strings and directives, and its directives."""

    name: str
    code: str
    macros: Mapping[str, str]
    includes: tuple[str, ...]


def verify_program(program: Program) -> None:
    """Checks every source file of a program.

    Raises:
        VerifyError: a file breaks a promise; names file and line or function.
    """
    sources = [_read(name, text) for name, text in program.files.items()]
    for source in sources:
        _check_includes(source, program)
        _check_integers(source)
    _check_calls(sources, _LIBRARY | _DRIVER if program.npu else _LIBRARY)


def _read(name: str, text: str) -> _Source:
    # What is left out keeps its line ends, so that lines can be counted.
    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n") or " "

    includes = re.findall(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^">]+)[">]', text, re.MULTILINE)
    text = _COMMENT_OR_STRING.sub(blank, _FOR_CPLUSPLUS.sub(blank, text))
    text = _ATTRIBUTE.sub(blank, text)
    macros: dict[str, str] = {}
    for directive in _DIRECTIVE.finditer(text):
        if directive[1] == "define":
            macro = re.match(r"\s*(\w+)", directive[2])
            if macro is not None:
                macros[macro[1]] = macros.get(macro[1], "") + directive[2]
    return _Source(name, _DIRECTIVE.sub(blank, text), macros, tuple(includes))


def _check_includes(source: _Source, program: Program) -> None:
    for header in source.includes:
        if header == _DRIVER_HEADER and program.npu:
            continue
        if header not in _INCLUDES and header not in program.files:
            raise VerifyError(f"{source.name} includes {header}: code must be freestanding")


def _check_integers(source: _Source) -> None:
    found = _FLOAT.search(source.code) or _SCALE_MACRO.search(source.code)
    if found:
        line = source.code[: found.start()].count("\n") + 1
        raise VerifyError(f"{source.name}:{line} uses {found[0]}: code must be integer-only")
    for macro, text in source.macros.items():
        found = None if _SCALE_MACRO.fullmatch(macro) else _FLOAT.search(text)
        if found:
            raise VerifyError(f"{source.name}: {macro} uses {found[0]}: code must be integer-only")


def _check_calls(sources: list[_Source], library: frozenset[str]) -> None:
    """Calls lead to functions and macros of the program, those of the library, or intrinsics."""
    calls: dict[str, set[str]] = {}
    for source in sources:
        for caller, callee in _calls(source.code):
            calls.setdefault(caller, set()).add(callee)
        for macro, text in source.macros.items():
            callees = set(_names_before_parenthesis(text)) - {macro}
            calls.setdefault(macro, set()).update(callees)
    hooks = {"tinyaot_operator_begin", "tinyaot_operator_end"}
    for caller, callees in calls.items():
        for name in sorted(callees):
            known = name in calls or name in library or name in hooks
            if not known and _INTRINSIC.fullmatch(name) is None:
                raise VerifyError(f"{caller} calls {name}, which is not part of the program")
    cycle = _cycle(calls)
    if cycle:
        raise VerifyError(f"{' -> '.join(cycle)}: code must not be recursive")


def _names_before_parenthesis(text: str) -> Iterator[str]:
    for match in re.finditer(r"\b([A-Za-z_]\w*)\s*\(", text):
        if match[1] not in _KEYWORDS:
            yield match[1]


def _calls(code: str) -> Iterator[tuple[str, str]]:
    """Pairs of caller and callee; a function that calls nothing is paired with memcpy."""
    depth = nesting = 0
    function = candidate = ""
    for match in _TOKEN.finditer(code):
        name, opened, closed, body, brace = match.groups()
        if opened:
            if depth == 0 and nesting == 0:
                candidate = name or ""
            elif depth > 0 and name and name not in _KEYWORDS:
                yield function, name
            nesting += 1
        if closed:
            nesting -= 1
        if body or brace == "{":
            if depth == 0:
                function = candidate if body else ""
                yield function, "memcpy"
            depth += 1
        if brace == "}":
            depth -= 1


def _cycle(calls: Mapping[str, set[str]]) -> list[str]:
    """A chain of calls that comes back to its start; empty if there is none."""
    finished: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished or name not in calls:
            return []
        path.append(name)
        for callee in sorted(calls[name]):
            found = visit(callee)
            if found:
                return found
        path.pop()
        finished.add(name)
        return []

    for name in calls:
        found = visit(name)
        if found:
            return found
    return []
