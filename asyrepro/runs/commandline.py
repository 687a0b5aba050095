"""The commands that a study's runs come from, as ``results/<study>/commands.txt`` lists them.

One line a command, in the order in which they began. What belongs to the machine is left out: where
results go, runtime.* and Hydra's launchers, as in a run's config.yaml. A run notes the command when
it begins, so that one that is refused, or finds everything finished, is not listed.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asyrepro.system import files, locks

FILE = "commands.txt"
VARIABLE = "ASYREPRO_COMMAND"  # the line, for the processes that carry out a command's runs
MACHINE = re.compile(r"[+~]*(results=|runtime[.=/]|hydra[./](?!searchpath))")


@contextmanager
def carrying_out(command: str, arguments: Iterable[str]) -> Iterator[None]:
    """Within this, runs that begin here or in child processes come from this command line.

    Or from the one around it: the runs of ``asyrepro reproduce``'s ``train`` come from the former.
    """
    if VARIABLE in os.environ:
        yield
        return
    kept = [each for each in arguments if not MACHINE.match(each)]
    os.environ[VARIABLE] = shlex.join(["asyrepro", command, *kept])
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def note(study: Path) -> None:
    """List the command of a run that begins, unless it is listed; without a command, nothing."""
    if (command := os.environ.get(VARIABLE)) is None:
        return
    with locks.locked(study, wait=True):
        known = noted(study)
        if command not in known:
            files.write_text(study / FILE, "".join(f"{each}\n" for each in [*known, command]))


def noted(study: Path) -> list[str]:
    """The commands of a study in the order of their beginning; [] where none are listed."""
    path = study / FILE
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
