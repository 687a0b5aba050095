"""Check a study: do the stored weights give its numbers, and is everything what it was?

    asyrepro verify results/quick
    asyrepro verify results/quick runs=table2,table3/mae/seed0 data=FOLDER

Each run's weights are evaluated again and compared with metrics.csv; weights, rows, configurations
and data are compared with the hashes in reproducibility.json, and metrics.csv with the runs' rows.
Whatever cannot be checked (no weights kept, data not here) is listed.

The exit status is 0 if all that could be checked agrees, 1 if something differs, 2 for bad usage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.options import TRUST, argument, setting


@dataclass(kw_only=True)
class Options:
    study: Path = argument("the folder of a study")
    runs: list[str] = setting(
        [], "only these runs, as table2 or table2/mae/seed0, with * for anything", shown="PATTERN"
    )
    data: str | None = setting(
        None, "where the data sets are, instead of ASYREPRO_DATA and data/", shown="FOLDER"
    )
    tolerance: float = setting(
        1e-4,
        "largest difference of a metric that counts as equal (psnr_y and ssim_y: 0.001, as another "
        "processor may round a pixel to 8 bits another way; of weights kept in half precision "
        "0.002)",
        at_least=0,
    )
    trust: list[str] = setting([], TRUST, shown="PACKAGE")
    device: str = setting("auto", "where to evaluate")


def run(options: Options) -> int:
    from asyrepro.runs.verification import verify

    return 0 if verify(options) else 1
