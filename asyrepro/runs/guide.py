"""The help of train and reproduce: the settings in configs/, from the YAML files alone."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from asyrepro.runs import config

WIDTH = 96


def train_help(about: str) -> str:
    """``about`` and below it the options of each group, and every setting with its comment."""
    chosen = config.read_yaml(config.CONFIGS / "train.yaml")["defaults"]
    groups = [group for item in chosen if isinstance(item, dict) for group in item]
    groups = [group for group in groups if group != "runtime" and "hydra" not in group]
    listed = "\n\n".join(map(_options, groups))
    text = (config.CONFIGS / "train.yaml").read_text(encoding="utf-8")
    own = text[text.index("_self_") :].partition("\n\n")[2].partition("\nhydra:")[0]
    runtime = (config.CONFIGS / "runtime" / "default.yaml").read_text(encoding="utf-8").splitlines()
    return "\n\n".join(
        [
            about.strip(),
            "Groups, given as group=option; the first line of each option's file:",
            textwrap.indent(listed, "  "),
            "Settings, with their defaults:",
            textwrap.indent(own.strip(), "  "),
            "Settings of runtime, given as runtime.device=cpu:",
            textwrap.indent("\n".join(line for line in runtime if line[:1] != "#").strip(), "  "),
            "Settings of the groups are given as task.sigma=50; --cfg job shows them.",
        ]
    )


def reproduce_help(about: str) -> str:
    """``about`` and below it the profiles."""
    return f"{about.strip()}\n\nProfiles:\n\n{textwrap.indent(_options('profile'), '  ')}"


def _options(group: str) -> str:
    """A group's options, each with the first sentence of its file's comment."""
    names = sorted(path.stem for path in (config.CONFIGS / group).glob("*.yaml"))
    width = max(map(len, names)) + 2
    lines = [f"{group}="]
    for name in names:
        about = _comment(config.CONFIGS / group / f"{name}.yaml")
        start = f"  {name:{width}}"
        lines += textwrap.wrap(
            about, WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
        )
    return "\n".join(lines)


def _comment(path: Path) -> str:
    """The first sentence of the comment at the head of a YAML file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(lines))[0].rstrip(".")
