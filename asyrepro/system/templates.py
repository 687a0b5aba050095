"""Texts and pages from Jinja templates, in which a name that is not given is an error."""

from __future__ import annotations

from functools import cache
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, **values: object) -> str:
    """The template ``templates/<name>.j2`` of a package, filled in.

    The filter ``f`` formats as Python does: ``{{ 0.5 | f(".2f") }}``; ``path`` is for links. In
    HTML, values are escaped.
    """
    return _environment(package, name.endswith(".html")).get_template(f"{name}.j2").render(**values)


@cache
def _environment(package: str, html: bool) -> Environment:
    made = Environment(
        loader=PackageLoader(package),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"f": format, "path": lambda path: quote(str(path))}
    return made
