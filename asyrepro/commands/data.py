"""Download data sets, or list those that are known.

    asyrepro data                   # each data set, where it is, its size and source
    asyrepro data bsd300 set12      # download what is not here

They are looked for in ASYREPRO_DATA, then in data/.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyrepro.system.errors import exit_status
from asyrepro.system.options import argument, setting


@dataclass(kw_only=True)
class Options:
    names: list[str] = argument("data sets to download", shown="NAME ...", default=[])
    root: str | None = setting(
        None,
        "folder to look in and to download to (default: look in ASYREPRO_DATA and data/, download "
        "to data/)",
        shown="FOLDER",
    )


def run(options: Options) -> int:
    """The exit status: 2 where a data set is not available."""
    from asyrepro.data import catalogue

    if not options.names:
        print(catalogue.listing(options.root))
        return 0

    def fetch(name: str) -> None:
        print(f"{name}: {catalogue.provide(name, options.root)}")

    return max([exit_status(fetch, name) for name in options.names])
