"""Rendering the harnesses and linker scripts."""

from __future__ import annotations

from pathlib import Path

import jinja2


def render(template: Path, **values: object) -> str:
    """Fill in one jinja2 template; a value that it needs and does not get is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(**values)
