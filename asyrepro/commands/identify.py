"""Search a folder of images for the test sets of the paper's tables.

    asyrepro identify photos/ recursive=true tables=4,5 output=matches.csv

The tables give away the RMS brightness of each test image. Searched are the whole image and its
modulo and centre crops, as RGB, RGB with alpha, grey and luma. Every match comes with its
probability by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyrepro.system import files
from asyrepro.system.errors import DataError
from asyrepro.system.options import argument, check_output, setting


@dataclass(kw_only=True)
class Options:
    folder: Path = argument("a folder of images")
    recursive: bool = setting(False, "also the folders inside it")
    tables: list[int] = setting(
        [2, 3, 4, 5],
        "whose test sets to search for (default: all, 2,3,4,5)",
        shown="N,N",
        choices=(2, 3, 4, 5),
    )
    jobs: int | None = setting(None, "processes (default: all cores)", at_least=1)
    output: Path | None = setting(None, "also write the matches there", shown="FILE.csv")


def run(options: Options) -> None:
    from asyrepro.paper.identify import default_jobs, describe, scan, search

    check_output(options.output, [".csv"])
    if options.output and not options.output.absolute().parent.is_dir():
        raise DataError(f"the folder of {options.output} does not exist; create it first")
    jobs = options.jobs or default_jobs()
    found = scan(options.folder, recursive=options.recursive, jobs=jobs, progress=True)
    sets, matches = search(found, options.tables)
    if options.output:
        columns = ["tables", "variant", "crop", "images", "hits", "tries", "p_corrected"]
        files.write_csv(options.output, matches.merge(sets[columns], on="tables"), numbers=None)
    print(describe(found, sets, matches))
