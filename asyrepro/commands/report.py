"""Make a study's tables, figures and page again, and the front page over all studies.

    asyrepro report                       # the front page, results/index.html, alone
    asyrepro report study=quick
    asyrepro report study=quick,seeds results=FOLDER pdf=true
    asyrepro report between=short,long    # side by side, results/long/against_short.html

Everything is made from the study's metrics.csv (rebuilt from its run folders where these are
there) and from its kept crops and learning curves. New crops also need the trained weights and the
test images.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.errors import DataError, say
from asyrepro.system.options import setting


@dataclass(kw_only=True)
class Options:
    study: list[str] = setting([], "one or more studies, by name", shown="NAME,NAME")
    results: Path = setting(Path("results"), "folder of all studies", shown="FOLDER")
    between: list[str] = setting([], "two studies to set side by side", shown="NAME,NAME")
    pdf: bool = setting(False, "write each figure as PDF, too")
    data: str | None = setting(
        None, "folder of data sets (default: ASYREPRO_DATA, then data/)", shown="FOLDER"
    )


def run(options: Options) -> None:
    gc.disable()  # a tenth of the time would go into looking for cycles, which free 6 MB
    try:
        _report(options)
    finally:
        gc.enable()


def _report(options: Options) -> None:
    from asyrepro.report import between, front, study

    if options.between:
        if len(options.between) != 2:
            raise DataError(f"between= takes two studies, not {','.join(options.between)}")
        print(between.write(*(options.results / name for name in options.between)))
        return
    for name in options.study:
        study.build(options.results / name, pdf=options.pdf, data=options.data)
    if front.write(options.results, say, pdf=options.pdf) is None and not options.study:
        raise DataError(f"no study in {options.results} has a report: give study=NAME")
