"""``python -m asyrepro.audit``: what the paper's numbers show about themselves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asyrepro.errors import UserError, reaching


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m asyrepro.audit",
        description="Audit the paper's printed tables: the RMSE column, the test images behind "
        "Tables 4 and 5, the noise level, the abstract's percentages. Uses the data sets in "
        "ASYREPRO_DATA or data/ and says which parts it had to leave out without them.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/audit"), metavar="FOLDER",
        help="where to write Markdown, CSV and figures (default: results/audit)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        from asyrepro.paper.audit_report import write

        with reaching():
            if options.output.exists() and not options.output.is_dir():
                raise UserError(f"{options.output} is a file; give a folder with --output")
            text = write(options.output, log=lambda line: print(line, file=sys.stderr))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    print(f"Written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
