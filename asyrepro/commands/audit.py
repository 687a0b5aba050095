"""``asyrepro audit``: what the paper's numbers show about themselves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asyrepro.system.errors import UserError, exit_status


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="asyrepro audit",
        description="Audit the paper's printed tables: the RMSE column, the test images behind "
        "Tables 4 and 5, the noise level, the abstract's percentages. Uses the data sets in "
        "ASYREPRO_DATA or data/ and says which parts it had to leave out without them.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("audit"), metavar="FOLDER",
        help="where to write Markdown, CSV and figures (default: audit)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    return exit_status(_audit, options.output)


def _audit(output: Path) -> None:
    from asyrepro.paper.audit import write

    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; give a folder with --output")
    print(write(output, log=lambda line: print(line, file=sys.stderr)))
    print(f"Written to {output}")
