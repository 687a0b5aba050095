"""Audit the paper's printed tables: what do its numbers show about themselves?

    asyrepro audit
    asyrepro audit output=results/audit

The RMSE column, the test images behind Tables 4 and 5, the noise level, the abstract's percentages.
Uses the data sets in ASYREPRO_DATA or data/, and says which parts it had to leave out without them.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.errors import UserError
from asyrepro.system.options import setting


@dataclass(kw_only=True)
class Options:
    output: Path | None = setting(
        None,
        "write the page, the text, the figures and CSV files there; without it the text is printed "
        "and nothing is written",
        shown="FOLDER",
    )


def run(options: Options) -> None:
    from asyrepro.paper import audit
    from asyrepro.report import audit as page

    if options.output and options.output.exists() and not options.output.is_dir():
        raise UserError(f"output={options.output} is a file; name a folder")
    with tempfile.TemporaryDirectory() as nowhere:
        output = options.output or Path(nowhere)
        text = audit.write(output, log=lambda line: print(line, file=sys.stderr))
        page.write(output)
    print(text)
    if options.output:
        print(f"Written to {output}: audit.html, audit.md, the figures and CSV files")
    else:
        print("The figures and CSV files that it names are written with output=FOLDER")
