"""Make the tables, figures and verdicts of a study again.

    asyrepro report study=quick
    asyrepro report study=quick,seeds results=FOLDER

Everything is made from the study's metrics.csv (rebuilt from its run folders where these are
there); the pictures also need the trained weights and the test images, and stay as they are
without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.options import command, setting


@dataclass(kw_only=True)
class Options:
    study: list[str] = setting(about="one or more studies, by name", shown="NAME,NAME")
    results: Path = setting(Path("results"), "folder of all studies", shown="FOLDER")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, Options, _build, arguments)


def _build(options: Options) -> None:
    from asyrepro.report import study

    for name in options.study:
        study.build(options.results / name)
