"""A profile as one self-contained page: HTML, style and script in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import CLexer

from tinyaot.compiler.profiling.table import facts_of

if TYPE_CHECKING:
    from tinyaot.compiler.profiling.profile import Profile

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
# The user coordinates of the drawing of the arena.
_WIDTH, _HEIGHT = 1000.0, 320.0


def html_page(profile: Profile) -> str:
    """The page. It loads nothing, and says so in its Content-Security-Policy."""
    operators = profile.operators
    largest = {
        "count": max((one.count for one in operators), default=0) or 1,
        "flash": max((one.weight_bytes + (one.code_bytes or 0) for one in operators), default=0)
        or 1,
    }
    return _TEMPLATES.get_template("page.html.j2").render(
        profile=profile,
        facts=facts_of(profile),
        largest=largest,
        total=max(1, profile.operator_total),
        sources={name: _highlight(text) for name, text in profile.sources.items()},
        memory=_memory(profile),
        known_code=all(one.code_bytes is not None for one in operators),
    )


def _highlight(source: str) -> Markup:
    return Markup(highlight(source, CLexer(), HtmlFormatter(nowrap=True)))


def _memory(profile: Profile) -> dict[str, Any]:
    """The blocks as rectangles: an operator is a step to the right, a byte a step down."""
    step = _WIDTH / max(1, len(profile.operators))
    scale = _HEIGHT / max(1, profile.arena_bytes)
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "step": step,
        "blocks": [
            {
                "block": block,
                "x": block.first * step,
                "y": block.offset * scale,
                "width": (block.last - block.first + 1) * step,
                "height": block.size * scale,
                "workspace": not block.shape,
                "hue": index * 47 % 360,
            }
            for index, block in enumerate(profile.blocks)
        ],
    }
