"""Draw a radar chart of your own numbers: any losses, any images, any metrics.

    asyrepro radar mine.csv title="Deblurring, my losses" base=l1 output=mine.svg

The table has the columns loss and image, and one or more columns of numbers (psnr, ssim, lpips,
...), a chart each. Rows of one loss and image, as of several seeds, are averaged. With base=LOSS a
second row of charts shows the changes from that loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.errors import say
from asyrepro.system.options import argument, check_output, setting


@dataclass(kw_only=True)
class Options:
    table: Path = argument("a CSV file")
    title: str = setting("", "of the figure (default: the file's name)", shown="TEXT")
    base: str | None = setting(None, "the loss that the others are compared with", shown="LOSS")
    metrics: list[str] = setting([], "the columns to draw (default: all)", shown="NAME,NAME")
    smaller: list[str] = setting([], "columns of which smaller is better", shown="NAME,NAME")
    output: Path | None = setting(None, "default: beside the table", shown="FILE.svg")
    pdf: bool = setting(False, "write a PDF, too")


def run(options: Options) -> None:
    from asyrepro.analysis import own
    from asyrepro.report import radar
    from asyrepro.system import style

    check_output(options.output, [".svg"], options.table)
    frame = own.read(options.table, options.metrics)
    title = options.title or options.table.stem
    figure = radar.of_frame(frame, title, options.base, options.metrics, options.smaller)
    stem = (options.output or options.table).with_suffix("")
    for path in style.save(figure, stem, options.pdf):
        say(str(path))
