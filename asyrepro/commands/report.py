"""Make the tables, figures and verdicts of a study: ``asyrepro report study=NAME``.

``study`` may be given several times; ``results=FOLDER`` is where studies are kept. Everything is
made from the study's metrics.csv (rebuilt from its run folders where these are there); the
pictures also need the trained weights and the test images, and stay as they are without.
"""

from __future__ import annotations

from pathlib import Path

from asyrepro.report import study
from asyrepro.system.errors import ConfigError, command


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, _build, arguments)


def _build(arguments: list[str]) -> None:
    results, studies = Path("results"), []
    for item in arguments:
        key, _, value = item.partition("=")
        if key == "results":
            results = Path(value)
        elif key == "study" and value:
            studies.append(value)
        else:
            raise ConfigError(f"{item!r} is not understood: give study=NAME")
    if not studies:
        raise ConfigError("no study is named: give study=NAME")
    for name in studies:
        study.build(results / name)
