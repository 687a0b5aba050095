"""Fetch data sets: ``asyrepro data bsd300 set12``; ``--list`` shows what is here."""

from __future__ import annotations

import argparse

from asyrepro.data import catalogue
from asyrepro.system.errors import exit_status


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 2 where a data set cannot be had."""
    parser = argparse.ArgumentParser(prog="asyrepro data", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="data sets, as --list names them")
    parser.add_argument(
        "--root",
        help="folder to look in and to download to (default: look in ASYREPRO_DATA and data/, "
        "download to data/)",
    )
    parser.add_argument(
        "--list", action="store_true", help="print each data set, where it is, its size and source"
    )
    options = parser.parse_args(arguments)
    if not options.names and not options.list:
        parser.error("name at least one data set, or ask for --list")
    done = [exit_status(_fetch, name, options.root) for name in options.names]
    if options.list:
        done.append(exit_status(lambda: print(catalogue.listing(options.root))))
    return max(done)


def _fetch(name: str, root: str | None) -> None:
    print(f"{name}: {catalogue.provide(name, root)}")
