"""Which rule computes a workload, and which sizes it may be given."""

from __future__ import annotations

from typing import Any

import pytest
from tvm.script import tirx as T

from tinyaot.schedules import registry
from tinyaot.schedules.registry import Kernel, Rule, UnsuitableError, choose, find_rules, schedule
from tinyaot.schedules.workload import Add, Softmax, Workload

WORKLOAD = Softmax(rows=2, depth=8)


def kernel(name: str) -> Any:
    @T.prim_func
    def func(x: T.Buffer((16,), "int8"), y: T.Buffer((16,), "int8")):
        y[0] = x[0]

    return lambda workload, decisions: Kernel(func.with_attr("made_by", name))


def rule(name: str, *features: str, **changes: Any) -> Rule:
    fields: dict[str, Any] = {
        "name": name,
        "workload": Softmax,
        "features": frozenset(features),
        "applies": lambda workload: True,
        "space": lambda workload: {"tile": (4, 2, 1), "unroll": (1, 2)},
        "derive": lambda workload, constants: {},
        "build": kernel(name),
    }
    return Rule(**(fields | changes))


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> list[Rule]:
    """The registry's rules, to be filled by the test."""
    known: list[Rule] = []
    monkeypatch.setattr(registry, "_load_rules", lambda: tuple(known))
    return known


def chosen(*features: str, **arguments: Any) -> str:
    return choose(WORKLOAD, frozenset(features), **arguments).rule.name


def test_the_most_specific_rule_wins(rules: list[Rule]) -> None:
    rules += [rule("mve", "dsp", "mve"), rule("any"), rule("dsp", "dsp")]
    assert chosen() == "any"
    assert chosen("dsp") == "dsp"
    assert chosen("dsp", "mve", "fpu") == "mve"
    assert chosen("mve") == "any"
    assert [one.name for one in find_rules(WORKLOAD, frozenset({"dsp"}))] == ["dsp", "any"]


def test_among_equals_the_later_rule_wins(rules: list[Rule]) -> None:
    rules += [rule("first", "dsp"), rule("second", "dsp")]
    assert chosen("dsp") == "second"


def test_rules_for_other_workloads_are_passed_over(rules: list[Rule]) -> None:
    rules += [
        rule("any"),
        rule("small", "dsp", applies=lambda workload: workload.depth < 8),
        rule("other", "dsp", workload=Add),
    ]
    assert chosen("dsp") == "any"


def test_a_rule_that_constants_do_not_suit_gives_way(rules: list[Rule]) -> None:
    def derive(workload: Softmax, constants: Any) -> dict[str, int]:
        if constants["limit"] > 10:
            raise UnsuitableError
        return {"shift": constants["limit"]}

    rules += [rule("any"), rule("bounded", "dsp", derive=derive)]
    assert chosen("dsp", constants={"limit": 11}) == "any"
    choice = choose(WORKLOAD, frozenset({"dsp"}), {"tile": 2}, {"limit": 7})
    assert (choice.rule.name, choice.values) == ("bounded", {"tile": 2, "unroll": 1, "shift": 7})


def test_a_knob_takes_its_first_value_unless_told(rules: list[Rule]) -> None:
    rules.append(rule("any"))
    assert choose(WORKLOAD, frozenset()).values == {"tile": 4, "unroll": 1}
    assert choose(WORKLOAD, frozenset(), {"unroll": 2}).values == {"tile": 4, "unroll": 2}


@pytest.mark.parametrize("decisions", [{"depth": 1}, {"tile": 3}, {"tile": 4, "unroll": 0}])
def test_what_a_rule_cannot_take_is_an_error(rules: list[Rule], decisions: dict[str, int]) -> None:
    rules.append(rule("any"))
    with pytest.raises(ValueError, match=r"any cannot take .*=.*valid are"):
        schedule(WORKLOAD, frozenset(), decisions)


def test_equal_keys_are_equal_kernels(rules: list[Rule]) -> None:
    rules += [rule("any"), rule("dsp", "dsp")]
    same = [choose(WORKLOAD, frozenset(), tile) for tile in (None, {"tile": 4})]
    assert same[0].key == same[1].key
    others = [
        choose(WORKLOAD, frozenset(), {"tile": 2}),
        choose(WORKLOAD, frozenset({"dsp"})),
        choose(Softmax(1, 8), frozenset()),
    ]
    assert len({one.key for one in (*others, same[0])}) == 4


def test_a_workload_without_a_rule(rules: list[Rule]) -> None:
    with pytest.raises(LookupError, match="no schedule rule computes Softmax"):
        schedule(WORKLOAD, frozenset({"dsp"}))


def _leaves(kind: type[Workload]) -> set[type[Workload]]:
    below = kind.__subclasses__()
    return set().union(*map(_leaves, below)) if below else {kind}


def test_every_workload_has_a_rule_for_any_core() -> None:
    portable = {one.workload for one in registry._load_rules() if not one.features}
    # Names for bytes that are there, and what the compiler calls an NPU for or tunes on it.
    without_rule = {"Constant", "NpuOperation", "NpuRegion", "Reshape"}
    assert {kind.__name__ for kind in _leaves(Workload) - portable} <= without_rule


def test_names_of_rules_differ() -> None:
    names = [one.name for one in registry._load_rules()]
    assert len(names) == len(set(names))
