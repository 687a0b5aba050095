"""The one door: ``asyrepro COMMAND name=value ...``, or ``python -m asyrepro COMMAND ...``."""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from pathlib import Path

from asyrepro import __version__
from asyrepro.system.options import command, no_such_choice

GROUPS = {
    "A study": ("reproduce", "report", "verify", "data"),
    "One network": ("train", "evaluate", "convert"),
    "Your own pictures": ("restore", "compare"),
    "Your own numbers": ("judge", "radar"),
    "The paper": ("audit", "identify"),
}
COMMANDS = [name for group in GROUPS.values() for name in group]


def overview() -> str:
    """All commands in groups, each with the first sentence and example of its docstring."""
    lines = ["usage: asyrepro COMMAND name=value ...", ""]
    for title, group in GROUPS.items():
        lines.append(f"{title}:")
        for name in group:
            source = Path(__file__).with_name("commands") / f"{name}.py"  # not imported: faster
            what, _, example, *_ = ast.get_docstring(ast.parse(source.read_text())).splitlines()
            lines.append(f"  {name:10} {what}")
            lines.append(f"  {'':10}   {example.partition('#')[0].strip()}")
        lines.append("")
    return "\n".join([*lines, "asyrepro COMMAND --help explains a command's settings."])


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status. A command's imports load only when it runs.

    Code of your own in the working folder is found, however the program was started.
    """
    if (here := os.getcwd()) not in sys.path:  # as under python -m, but behind what is installed
        sys.path.append(here)
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("", "-h", "--help"):
        print(overview())
        return 0 if name else 2
    if name == "--version":
        print(f"asyrepro {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"error: {no_such_choice('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    module = import_module(f"asyrepro.commands.{name}")
    if hasattr(module, "main"):  # of train and reproduce, whose settings are Hydra's
        return module.main(rest)
    return command(module.__doc__, module.Options, module.run, rest)


if __name__ == "__main__":
    sys.exit(main())
