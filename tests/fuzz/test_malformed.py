"""A sample of the campaign of damaged files, and that the campaign notices what it looks for."""

from __future__ import annotations

import importlib.util

import pytest
from fuzz import malformed

from tinyaot.targets import TinyaotError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime"
)


# Found by the campaign: a file of floats where a quantized tensor belongs.
_ONCE_FAILED = (108368,)


def test_damaged_files_are_refused_or_compile() -> None:
    assert malformed.examine((*range(80), *_ONCE_FAILED)) == []


def test_a_traceback_and_an_empty_refusal_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: bytes, target: str) -> None:
        raise KeyError(len(data))

    monkeypatch.setattr("tinyaot.compiler.compile_model", fails)
    assert malformed.handled(b"12345", check=False).startswith("KeyError in test_malformed.py")

    def says_nothing(data: bytes, target: str) -> None:
        raise TinyaotError("\n")

    monkeypatch.setattr("tinyaot.compiler.compile_model", says_nothing)
    assert malformed.handled(b"12345", check=False) == "a refusal without a word"


@pytest.mark.parametrize("seed", [3, 4])
def test_changes_come_one_after_the_other(seed: int) -> None:
    files = malformed.originals(malformed.form_of(seed))
    assert malformed.damaged(seed, 0, files) in files
    assert malformed.damaged(seed, None, files) == malformed.damaged(
        seed, malformed.MOST_CHANGES, files
    )
