"""Where tensors and workspaces lie in RAM: lifetimes in, arena offsets out."""

from __future__ import annotations

from tinyaot.compiler.memory.check import PlanError, check_plan, format_map
from tinyaot.compiler.memory.planner import ArenaPlan, Buffer, InPlace, plan_arena

__all__ = [
    "ArenaPlan",
    "Buffer",
    "InPlace",
    "PlanError",
    "check_plan",
    "format_map",
    "plan_arena",
]
