"""Texts from Jinja templates, in which a name that is not given is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, **values: object) -> str:
    """The template ``templates/<name>.j2`` of a package, filled in.

    The filter ``f`` formats as Python does: ``{{ 0.5 | f(".2f") }}``.
    """
    environment = Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["f"] = format
    return environment.get_template(f"{name}.j2").render(**values)
