"""Progress of long work on standard error: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm.auto import tqdm

SECONDS = 60  # between two lines of a log
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} so far, {remaining} to go{postfix}"


def bar(items: Iterable | None = None, *, lines: bool = False, **options) -> tqdm:
    """A tqdm bar with its ``options``; where standard error is no terminal there is none.

    ``lines``: where there is no terminal print a line a minute instead.
    """
    if sys.stderr.isatty() or not lines:
        return tqdm(items, **{"disable": None, **options})
    log = {"file": _Lines(), "delay": SECONDS, "mininterval": SECONDS, "miniters": 1}
    return tqdm(items, **{**options, **log, "bar_format": LINE, "leave": False})


class _Lines:
    """Standard error for tqdm, which writes over its last line: here every line stays."""

    def write(self, text: str) -> None:
        if line := text.replace("\r", "").strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
