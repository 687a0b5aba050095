"""Is my loss better? Every loss of a table of your own numbers against a base, with intervals.

    asyrepro judge mine.csv base=l1

The table, of any program's results, has the columns loss and image, one or more columns of numbers
(psnr, ssim, lpips, ...), and seed: the number of the run, so that runs of one number share their
initial weights and data where they can. The intervals of 95 % are over seeds and images. A loss is
better or worse where its interval leaves out zero and the seeds agree by the sign test; fewer than
six seeds are not judged. Whether larger or smaller is better stands in the table: of metrics that
are not known (mae, lpips, niqe and the like are), larger is taken to be, but for those of smaller=.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.errors import say
from asyrepro.system.options import argument, check_output, setting


@dataclass(kw_only=True)
class Options:
    table: Path = argument("a CSV file")
    base: str = setting(about="the loss that the others are compared with", shown="LOSS")
    metrics: list[str] = setting([], "the columns to judge (default: all)", shown="NAME,NAME")
    smaller: list[str] = setting([], "columns of which smaller is better", shown="NAME,NAME")
    output: Path | None = setting(None, "also save the table, all digits", shown="FILE.csv")


def run(options: Options) -> None:
    from asyrepro.analysis import own
    from asyrepro.system.files import write_csv

    check_output(options.output, [".csv"], options.table)
    frame = own.read(options.table, options.metrics)
    numbers = own.checked(frame, options.base, options.metrics, options.smaller)
    table = own.judged(numbers, options.base)
    if options.output:
        write_csv(options.output, table, numbers=None)
    say(_report(table, options.base, numbers))


def _report(table, base: str, numbers) -> str:
    """The table, and below it the reason of each verdict."""
    from tabulate import tabulate

    from asyrepro.metrics import METRICS
    from asyrepro.report import wording

    head = ["loss", "metric", "better", base, "change [95 %]", "seeds better", "p (Holm)"]
    rows, reasons = [], {}
    for row in table.itertuples():
        known = METRICS.get(row.metric.lower())
        decimals = known.decimals if known else 5
        better = "larger" if numbers.direction(row.metric) > 0 else "smaller"
        values = [wording.number(row.against_mean, decimals), wording.change(row, decimals)]
        seeds = f"{row.seeds_better:.0f} of {row.seeds}" if row.seeds else wording.NOTHING
        p = f"{wording.p(row.p)} ({wording.p(row.p_holm)})"
        rows.append([row.loss, row.metric, better, *values, seeds, p, row.direction])
        reasons.setdefault(f"{row.direction}, {row.reason}", []).append(f"{row.loss} {row.metric}")
    sides = ["left"] * 3 + ["right"] * 4 + ["left"]
    shown = tabulate(rows, [*head, "verdict"], "simple", disable_numparse=True, colalign=sides)
    return "\n".join([shown, "", *(f"{why}: {', '.join(of)}" for why, of in reasons.items())])
