"""The list of cores and boards: complete, consistent, and helpful when a name is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyaot.targets import FEATURES, TinyaotError, get_board, get_target, list_boards, list_targets
from tinyaot.targets.cortex_m.board import BOARDS, load_board
from tinyaot.targets.target import FAMILIES


def test_all_promised_targets_are_there() -> None:
    assert list_targets() == (
        "host",
        "cortex-m0plus",
        "cortex-m3",
        "cortex-m4",
        "cortex-m7",
        "cortex-m33",
        "cortex-m55",
    )


@pytest.mark.parametrize("name", list_targets())
def test_targets_speak_of_known_things(name: str) -> None:
    """A misspelt feature would silently switch off the schedules that ask for it."""
    target = get_target(name)
    assert target.features <= set(FEATURES)
    assert target.family in FAMILIES
    assert target.board is None or name in get_board(target.board).cores


@pytest.mark.parametrize("name", list_boards())
def test_boards_serve_known_cores(name: str) -> None:
    assert set(get_board(name).cores) <= set(list_targets())


def test_what_cores_can_do() -> None:
    """Schedules choose by these: one wrong word and a core gets code that it cannot run."""
    with_feature = {
        feature: [name for name in list_targets() if feature in get_target(name).features]
        for feature in ("dsp", "mve", "smull")
    }
    assert with_feature["dsp"] == ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
    assert with_feature["mve"] == ["cortex-m55"]
    assert "cortex-m0plus" not in with_feature["smull"]


def test_unknown_target_names_the_closest_and_lists_all() -> None:
    with pytest.raises(TinyaotError) as caught:
        get_target("cortex-m44")
    assert caught.value.message == "unknown target 'cortex-m44'"
    assert caught.value.hints[0] == "did you mean cortex-m4?"
    assert all(name in caught.value.hints[1] for name in list_targets())


def test_unknown_board_lists_all() -> None:
    with pytest.raises(TinyaotError, match="unknown board 'nucleo'") as caught:
        get_board("nucleo")
    assert all(name in caught.value.hints[-1] for name in list_boards())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('machine = "mps2-an386"', "", "'machine' is missing"),
        ("stack_bytes", "stak_bytes", "'stack_bytes' is missing"),
        ('machine = "mps2-an386"', "machine = 386", "'machine' must be of type str"),
        ("[flash]", "colour = 1\n[flash]", "unknown key 'colour'"),
        ("[flash]\n", "[flash]\nbanks = 2\n", r"\[flash\]: unknown key 'banks'"),
        ("0x2000_0000", "0x0020_0000", "overlap"),
        ("0x2000_0000", "0xFFFF_0000", "not a range of 32-bit addresses"),
        ("16384", "16380", "multiple of 8"),
        ("[flash]", "[flash", "not valid TOML"),
    ],
)
def test_a_wrong_board_file_is_explained(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (BOARDS / "mps2-an386.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(TinyaotError, match=message) as caught:
        load_board(path)
    assert str(path) in caught.value.message
