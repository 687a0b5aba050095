"""``asyrepro identify FOLDER``: is a table's test set among these images?"""

from __future__ import annotations

import argparse
from pathlib import Path

from asyrepro.paper.identify import default_jobs, describe, scan, search
from asyrepro.system import files
from asyrepro.system.errors import DataError, exit_status


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="asyrepro identify",
        description="Search a folder of images for the test sets of the paper's tables, by the "
        "RMS brightness that the tables give away. Whole image, modulo and centre crops; RGB, "
        "RGB with alpha, grey and luma. Every match comes with its probability by chance.",
    )
    parser.add_argument("folder", type=Path, help="a folder of images")
    parser.add_argument("--recursive", action="store_true", help="also the folders inside it")
    parser.add_argument(
        "--tables", type=int, nargs="+", choices=(2, 3, 4, 5), default=(2, 3, 4, 5), metavar="N",
        help="whose test sets to search for (default: 2 3 4 5)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs",
        type=int,
        default=default_jobs(),
        metavar="N",
        help="processes (default: all cores)",
    )
    parser.add_argument("--output", type=Path, metavar="CSV", help="also write the matches here")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs must be 1 or more")
    return exit_status(_identify, options)


def _identify(options: argparse.Namespace) -> None:
    if options.output and not options.output.absolute().parent.is_dir():
        raise DataError(f"the folder of {options.output} does not exist; create it first")
    found = scan(options.folder, recursive=options.recursive, jobs=options.jobs, progress=True)
    sets, matches = search(found, options.tables)
    if options.output:
        columns = ["tables", "variant", "crop", "images", "hits", "tries", "p_corrected"]
        files.write_csv(options.output, matches.merge(sets[columns], on="tables"), numbers=None)
    print(describe(found, sets, matches))
