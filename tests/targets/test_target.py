"""The list of cores and boards: complete, consistent, and helpful when a name is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyaot.targets import (
    FEATURES,
    TinyaotError,
    get_board,
    get_target,
    list_boards,
    list_targets,
    parse_place,
)
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


@pytest.mark.parametrize("name", list_boards())
def test_boards_say_where_their_numbers_come_from(name: str) -> None:
    board = get_board(name)
    assert all(region.source for region in board.regions.values())
    assert board.machine or board.pyocd
    assert board.machine or board.clock_hz


def test_a_board_is_found_by_either_spelling_or_by_its_file() -> None:
    assert get_board("mps3_an547") == get_board("mps3-an547")
    assert get_board(str(BOARDS / "rpi_pico.toml")) == get_board("rpi_pico")
    with pytest.raises(TinyaotError, match=r"cannot read nowhere/mine\.toml"):
        get_board("nowhere/mine.toml")


def test_parts_are_placed_by_the_names_of_memories() -> None:
    board = get_board("nucleo_h743zi2")
    place = board.placed(parse_place("weights=dtcm, arena=axi_sram,code=itcm")).place
    assert place == {
        "code": "itcm", "weights": "dtcm", "data": "ram", "arena": "ram", "stack": "dtcm"
    }  # fmt: skip
    for text, message in (
        ("weights", "cannot read the placement 'weights'"),
        ("weight=dtcm", "unknown part to place 'weight'"),
        ("weights=dctm", "unknown memory of board nucleo_h743zi2: 'dctm'"),
        ("arena=flash", "arena cannot be placed in flash"),
    ):
        with pytest.raises(TinyaotError, match=message):
            board.placed(parse_place(text))


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


@pytest.mark.parametrize(
    ("core", "target"),
    [("cortex-m0", "cortex-m0plus"), ("cortex-m23", "cortex-m0plus"), ("cortex-m85", "cortex-m55")],
)
def test_a_core_that_runs_the_code_of_another(core: str, target: str) -> None:
    with pytest.raises(TinyaotError, match=f"{core} is no target") as caught:
        get_target(f"{core}+ethos-u55-128")
    assert f"take {target}: " in caught.value.hints[0]
    assert core not in list_targets()


def test_unknown_board_lists_all() -> None:
    with pytest.raises(TinyaotError, match="unknown board 'nucleo'") as caught:
        get_board("nucleo")
    assert all(name in caught.value.hints[-2] for name in list_boards())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Arm', 'titel = "Arm', "'title' is missing"),
        ('machine = "mps2-an386"', "", "'clock_hz' is missing"),
        ("systick_hz = 25_000_000", "", "'systick_hz' is missing"),
        ("cores = [", "cores = []\ncoros = [", "must list the names of targets"),
        ("stack_bytes", 'processor = "cortex-m99"\nstack_bytes', "unknown processor 'cortex-m99'"),
        ("[memories.psram]", "[memories.PSRAM]", "must be of a-z, 0-9 and _"),
        ("0x2100_0000", "0x2010_0000", r"\[ram\] and \[psram\] overlap"),
        ("[memories.psram]", '[memories.psram]\nname = "ram"', "have the same name"),
        ("[memories.psram]", "[memories.psram]\nsise = 1", r"\[memories.psram\]: unknown key"),
        ("[flash]", '[place]\narena = "dtcm"\n[flash]', r"\[place\]: unknown memory of board mine"),
        ("[flash]", '[place]\narena = "flash"\n[flash]', "it is not RAM"),
        ("[flash]", '[probe]\njlink = "x"\n[flash]', r"\[probe\]: unknown key 'jlink'"),
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
