"""Write requirements.lock, the exact set of packages that is installed here: ``make lock``.

    python scripts/lock.py [EXTRA ...]      # by default what `pip install .[dev]` needs

Takes the requirements from pyproject.toml, follows them through what is installed, and pins every
package met. A package that is needed on some platforms only keeps that condition. Builds of the
same version (torch 2.10.0+cpu) are pinned without the part behind the plus, which PyPI lacks.
Needs Python 3.11 or newer.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asyrepro.system import files

ROOT = Path(__file__).parents[1]
PLATFORM = ("platform_system", "sys_platform", "os_name", "platform_machine")
HEADER = """\
# The exact set of packages last tested: Python {python}, {system}. Written by `make lock`.
#     pip install -r requirements.lock && pip install --no-deps -e .
"""


def main(extras: list[str]) -> None:
    conditions = needed(wanted(extras or ["dev"]))
    lines = []
    for name in sorted(conditions):
        pin = f"{name}=={distribution(name).version.partition('+')[0]}"
        found = sorted(conditions[name])
        lines.append(pin if "" in found else f"{pin} ; {' or '.join(found)}")
    system = f"{platform.system()} {platform.machine()}"
    text = HEADER.format(python=platform.python_version(), system=system)
    text += "".join(f"{line}\n" for line in lines)
    path = files.write_text(ROOT / "requirements.lock", text)
    print(f"{path}: {len(lines)} packages")


def wanted(extras: list[str]) -> list[Requirement]:
    """The project's own requirements, with those of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [*project["dependencies"]]
    for extra in extras:
        found += project["optional-dependencies"][extra]
    return [Requirement(item) for item in found]


def needed(first: list[Requirement]) -> dict[str, set[str]]:
    """Every package that the requirements lead to, and the platforms' conditions on it.

    The conditions of a package are those on the ways to it; "" is a way without a condition.
    """
    conditions: dict[str, set[str]] = {}
    ways = [(item, "") for item in first]
    seen = set()
    while ways:
        item, inherited = ways.pop()
        name = canonicalize_name(item.name)
        if (name, frozenset(item.extras), inherited) in seen:
            continue
        seen.add((name, frozenset(item.extras), inherited))
        conditions.setdefault(name, set()).add(inherited)
        try:
            further = distribution(name).requires or []
        except PackageNotFoundError:
            sys.exit(f"error: {name} is not installed; run make setup first")
        for text in further:
            child = Requirement(text)
            if applies(child, item.extras):
                ways.append((child, inherited or condition(child)))
    return conditions


def applies(item: Requirement, extras: set[str]) -> bool:
    """Whether a package that was asked for with these extras needs the requirement here."""
    if item.marker is None:
        return True
    return any(item.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def condition(item: Requirement) -> str:
    """A requirement's marker as far as it is about the platform; "" if it is not."""
    parts = [part.strip() for part in str(item.marker or "").split(" and ")]
    if any(" or " in part for part in parts):  # rare; pinning more than is needed does no harm
        return ""
    return " and ".join(part for part in parts if part.startswith(PLATFORM))


if __name__ == "__main__":
    main(sys.argv[1:])
