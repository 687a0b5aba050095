"""Denoise or upsample pictures of your own with a trained network.

    asyrepro restore photo.jpg checkpoint=results/quick/table4/mse/seed0/weights.pt
    asyrepro restore scans/ checkpoint=WEIGHTS output=clean/ sigma=15 recursive=true

The pictures (PNG, TIFF, JPEG, BMP, WebP; grey or colour, 8 or 16 bits, with or without alpha) are
the networks' input as they are. Results go to NAME-restored beside the picture or folder, in the
picture's own format. TIFF files keep all their pages; of other files with several the first is
restored, with a note. What a format cannot hold is noted, too.

A folder's damaged pictures are named and skipped; the exit status is then 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyrepro.system.errors import say
from asyrepro.system.options import TRUST, argument, setting


@dataclass(kw_only=True)
class Options:
    input: str = argument("a picture, or a folder of pictures", shown="IMAGE_OR_FOLDER")
    checkpoint: str = setting(
        about="weights.pt of a run; it also says whether to denoise or upsample, and how much",
        shown="FILE",
    )
    output: str | None = setting(
        None, "a file, whose ending names the format, or a folder", shown="PATH"
    )
    format: str | None = setting(
        None,
        "write all pictures so (default: each as it is read)",
        choices=("png", "tif", "jpg", "bmp", "webp"),
    )
    task: str | None = setting(
        None, "refuse a checkpoint that does something else", choices=("denoise", "upsample")
    )
    sigma: float | None = setting(
        None, "noise level in 8-bit grey levels; estimated from each picture if not given"
    )
    white: int | None = setting(
        None,
        "value of white, where it is not the largest of the file's type, as 4095 for 12 bits that "
        "are stored in 16",
        at_least=1,
    )
    tile: int | None = setting(
        None,
        "side of the tiles in pixels of the input (0: all at once); smaller needs less memory, the "
        "result is the same",
        at_least=0,
    )
    ensemble: bool = setting(
        False, "mean of the results for the eight flips and rotations; takes eight times as long"
    )
    recursive: bool = setting(False, "also the folders inside a folder")
    overwrite: bool = setting(
        False, "replace results that exist; otherwise they are left and skipped"
    )
    preview: bool = setting(False, "also save input and result side by side, as NAME-preview.png")
    progress: bool = setting(True, "no progress bar")
    trust: list[str] = setting([], TRUST, shown="PACKAGE")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")


def run(options: Options) -> int:
    """The exit status: 0, 1 (some pictures failed) or 2."""
    from asyrepro.restoration import batch
    from asyrepro.runs import parts
    from asyrepro.system import devices

    jobs = batch.plan(options)
    device = devices.choose(options.device)
    network, task, cfg = parts.load(options.checkpoint, device, options.trust)
    batch.check(options, task)
    say(f"{cfg.model.name}, {cfg.loss.name}, seed {cfg.seed}: {batch.purpose(task)}")
    return 1 if batch.restore_all(jobs, network, task, options, device) else 0
