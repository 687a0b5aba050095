"""PSNR, SSIM, RMSE and NRMSE of images under every convention of this field's papers.

    asyrepro compare REFERENCE OUTPUT scale=3
    asyrepro compare Set5/ results/my-network/ scale=3 images=true output=set5.csv

Two folders' images are paired by name; the ending does not count. PNG and TIFF files of 16 bits and
TIFF files of floating point are taken in full, all others in 8 bits. What each row means, and from
which code it was read: python -m pydoc asyrepro.conventions
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.options import argument, check_output, setting


@dataclass(kw_only=True)
class Options:
    reference: Path = argument("an image, or a folder of images")
    compared: Path = argument("the image or folder to compare with it", shown="OUTPUT")
    scale: int | None = setting(
        None, "of super-resolution: papers cut a border of this many pixels", at_least=1
    )
    border: int | None = setting(None, "cut this many pixels instead of scale", at_least=0)
    white: float | None = setting(
        None, "value of white in files of 16 bits or floating point, if not 65535 or 1", above=0
    )
    images: bool = setting(False, "two folders: also a table of each image")
    output: Path | None = setting(
        None, "also save the tables, FILE.csv (all digits) or FILE.md", shown="FILE"
    )


def run(options: Options) -> int:
    """The exit status: 2 also where some pairs were left out."""
    from asyrepro.restoration import comparing

    check_output(options.output, [".csv", ".md"])
    found = comparing.compare(
        options.reference,
        options.compared,
        scale=options.scale,
        border=options.border,
        white=options.white,
    )
    for line in found.failed:
        print(f"error: {line}", file=sys.stderr)
    if found.rows.empty:
        return 2
    if options.output:
        comparing.save(options.output, found, options.images)
    print(comparing.report(found, options.images))
    return 2 if found.failed else 0
