"""The pictures of the page's galleries: small crops, kept in ``results/<study>/crops/``.

Of each table the first two test images (so that nothing is chosen by its result), 128 x 128 pixels
around the centre, the first seed: input, outputs and label as 8-bit PNG. They are made from the
weights and the test images where these are there, and are committed, so that the page can be
rebuilt from a clone without either. ``crops.csv`` names each with the PSNR that the tidy table had
for that image and run; where the tidy table says otherwise now, the crop is of another run and is
not shown.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from asyrepro.analysis.summary import Summary
from asyrepro.report.figures import picture
from asyrepro.runs import results
from asyrepro.system.errors import DataError
from asyrepro.system.files import write_bytes, write_csv

SIDE = 128
IMAGES = 2  # of each table
COLUMNS = ["file", "table", "image", "seed", "kind", "top", "left", "psnr"]
FACTOR = 8  # error maps show |output - label| times this
LEVELS = 16  # colours of error maps and masks: with few the files are small
ORDER = ("mae", "asy_mae", "mse", "asy_mse")  # each base beside its asymmetric form


def collect(study_dir, summaries: list[Summary], restored: Callable | None) -> pd.DataFrame:
    """Rows of ``crops.csv`` that belong to these results; crops that are lacking are made.

    Args:
        study_dir: results/<study>.
        summaries: the study's tables.
        restored: ``restored(table, loss, seed, image) -> (input, output, label)`` or None.

    Returns:
        A frame with the columns ``COLUMNS``; ``kind`` is "input", a loss, or "label".

    Raises:
        DataError: crops.csv is damaged.
    """
    folder = Path(study_dir) / "crops"
    kept = _read(folder / "crops.csv")
    rows, changed = [], False
    for summary in summaries:
        losses = [loss for loss in ORDER if loss in summary.losses]
        common = set.intersection(*(set(summary.seeds[loss]) for loss in losses)) if losses else ()
        for number, image in enumerate(summary.images[:IMAGES] if common else (), start=1):
            seed = min(common)
            wanted = _wanted(summary, losses, image, seed)
            there = kept[
                (kept["table"] == summary.table) & (kept["image"] == image) & (kept["seed"] == seed)
            ]
            if _same(there, wanted) and all((folder / name).is_file() for name in there["file"]):
                rows.append(there)
                continue
            made = _cut(summary.table, image, seed, losses, restored)
            if made is None:
                continue
            changed = True
            rows.append(_save(folder, f"table{summary.table}_{number}", made, wanted))
    found = pd.concat(rows, ignore_index=True) if rows else kept.iloc[:0]
    if changed:
        write_csv(folder / "crops.csv", found, "%.6f")
        for path in folder.glob("*.png"):
            if path.name not in set(found["file"]):
                path.unlink()
    return found


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    numbers, texts = ["table", "seed", "top", "left"], {"image": str, "kind": str}
    return results.read_table(path, COLUMNS, numbers, dtype=texts)[COLUMNS]


def _wanted(summary: Summary, losses: list[str], image: str, seed: int) -> pd.DataFrame:
    """The rows that crops.csv must have for an image, but for file, top and left."""
    names = {"input": summary.baseline, **{loss: loss for loss in losses}, "label": None}
    psnr = []
    for kind, loss in names.items():
        known = summary.per_seed(loss, "psnr") if loss else pd.DataFrame()
        column = -1 if kind == "input" else seed
        psnr.append(known.at[image, column] if column in known else np.nan)
    where = {"table": summary.table, "image": image, "seed": seed}
    return pd.DataFrame({"kind": list(names), "psnr": psnr}).assign(**where)


def _same(there: pd.DataFrame, wanted: pd.DataFrame) -> bool:
    return list(there["kind"]) == list(wanted["kind"]) and np.allclose(
        there["psnr"], wanted["psnr"], rtol=0, atol=2e-6, equal_nan=True
    )


def _cut(table, image, seed, losses, restored) -> tuple[int, int, dict[str, np.ndarray]] | None:
    """(top, left, crops by kind), or None if an image cannot be had."""
    if restored is None:
        return None
    trios = {loss: restored(table, loss, seed, image) for loss in losses}
    if any(trio is None for trio in trios.values()):
        return None
    first = trios[losses[0]]
    pictures = {"input": first[0], **{loss: t[1] for loss, t in trios.items()}, "label": first[2]}
    height, width = picture(first[2]).shape[:2]
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    cut = np.s_[top : top + SIDE, left : left + SIDE]
    crops = {kind: picture(image)[cut] for kind, image in pictures.items()}
    return top, left, {k: np.uint8(np.round(np.clip(c, 0, 1) * 255)) for k, c in crops.items()}


def _save(folder: Path, stem: str, made, wanted: pd.DataFrame) -> pd.DataFrame:
    top, left, crops = made
    names = [f"{stem}_{kind}.png" for kind in crops]
    for name, crop in zip(names, crops.values(), strict=True):
        write_bytes(folder / name, png(Image.fromarray(crop)))
    return wanted.assign(file=names, top=top, left=left)[COLUMNS]


def png(image: Image.Image) -> bytes:
    """The image as an optimised PNG file."""
    content = io.BytesIO()
    image.save(content, "png", optimize=True)
    return content.getvalue()


def load(path: Path) -> np.ndarray:
    """A kept crop, uint8 (H, W) or (H, W, 3).

    Raises:
        DataError: it is damaged.
    """
    try:
        return np.asarray(Image.open(path))
    except OSError as error:
        raise DataError(f"{path} is damaged ({error}): delete {path.parent}") from None


def error_map(output: np.ndarray, label: np.ndarray) -> bytes:
    """|output - label| of two 8-bit crops as PNG: black is none, the brightest is 1/8 and more.

    Of three channels the mean.
    """
    error = np.abs(output / 255 - label / 255)
    error = error.mean(axis=2) if error.ndim == 3 else error
    return png(coloured(FACTOR * error, "magma"))


def mask(label: np.ndarray) -> bytes:
    """The weight of eq. (2) for an 8-bit label as PNG, from 0.88 (darkest colour) to 1."""
    import torch

    from asyrepro.losses import asymmetric_weight

    channels = torch.from_numpy(np.atleast_3d(label).transpose(2, 0, 1) / np.float32(255))
    weight = asymmetric_weight(channels[None].float())[0, 0].numpy()
    white = float(asymmetric_weight(torch.ones(1, 1, 1, 1)))
    return png(coloured((weight - white) / (1 - white), "cividis"))


def coloured(values: np.ndarray, name: str) -> Image.Image:
    """Values in [0, 1] (others are clipped) in ``LEVELS`` colours of a colour map."""
    steps = np.uint8(np.round(np.clip(values, 0, 1) * (LEVELS - 1)))
    palette = matplotlib.colormaps[name](np.linspace(0, 1, LEVELS))[:, :3]
    image = Image.fromarray(steps)
    image.putpalette(np.uint8(np.round(palette * 255)).tobytes())
    return image
