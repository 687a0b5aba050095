"""Two images, or the images of two folders, under every convention: for ``asyrepro compare``."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from tabulate import tabulate

from asyrepro import metrics
from asyrepro.conventions import AS_IT_IS, AS_RGB, CONVENTIONS, Convention, measure
from asyrepro.data import decoding, images
from asyrepro.system import files
from asyrepro.system.errors import DataError, first_line, reaching, shown
from asyrepro.system.progress import bar

METRICS = {"psnr": "PSNR", "ssim_7": "SSIM 7x7", "ssim_11": "SSIM 11x11",
           "rmse": "RMSE", "nrmse": "NRMSE"}  # fmt: skip
FORMATS = {**dict.fromkeys(METRICS, ".4f"), "psnr": ".2f", "border": "g"}
ABOUT = ["number", "channels", "pixels", "reported_by"]
WORDS = ("image", "channels", "pixels", "reported_by")  # columns of the tables, to the left
LEGEND = """\
As stored: neither clipped nor rounded; for files of 8 bits the same as "8 bits".
SSIM 7x7: scikit-image's default window; 11x11: Gaussian, Wang et al. 2004, as papers have it.
RMSE: white is 1. NRMSE: relative to the reference's root mean square; the paper calls it RMSE."""


@dataclass
class Comparison:
    """Two images, or the images of two folders, under every convention.

    Attributes:
        rows: one a pair that can be compared and convention: image, number, border, the metrics, or
            the reason why the convention does not apply.
        means: one a convention that applies, see :func:`summary`.
        notes: what a reader of the numbers should know, in sentences.
        failed: why pairs could not be compared, in sentences.
    """

    rows: pd.DataFrame
    means: pd.DataFrame
    notes: list[str]
    failed: list[str]


def compare(
    reference: Path,
    output: Path,
    *,
    scale: int | None = None,
    border: int | None = None,
    white: float | None = None,
) -> Comparison:
    """Compare two images, or all pairs of two folders.

    ``scale`` and ``border`` are those of :func:`asyrepro.conventions.measure`, ``white`` that of
    :func:`read_full`.

    Raises:
        DataError: there is no pair, or the only one cannot be compared.
    """
    pairs, left = pair_files(reference, output)
    found, grey, notes, failed = [], [], [], []
    for name, first, second in bar(pairs, leave=False):
        try:
            with reaching():
                one, two = read_pair(first, second, white, notes)
            rows = measure(one, two, scale=scale, border=border)
        except DataError as error:
            failed.append(str(error))
            continue
        found += [{"image": name, **row} for row in rows]
        grey.append(len(one) == 1)
        notes += oddities(name, one, two)
    if len(pairs) == len(failed) == 1:
        raise DataError(failed[0])

    rows = pd.DataFrame(found, columns=["image", "number", "border", *METRICS, "reason"])
    if rows.empty:
        return Comparison(rows, pd.DataFrame(), [], failed)
    notes += reasons(rows)
    if left:
        notes.append(f"Without a partner of the same name: {', '.join(left)}.")
    if failed:
        notes.append(f"{len(failed)} of {len(pairs)} pairs could not be compared, see the errors.")
    return Comparison(rows, summary(rows, grey), notes, failed)


def pair_files(reference: Path, output: Path) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """Pairs (name, reference, output) of two images or two folders, and the files left over.

    Raises:
        DataError: a path is missing, one is a folder and the other a file, two images of a folder
            differ in their ending only, or no name is in both folders.
    """
    for path in (reference, output):
        if not path.exists():
            raise DataError(f"{shown(path)} does not exist: check the path")
    if reference.is_dir() != output.is_dir():
        raise DataError("one of the two is a folder, the other a file: give two of a kind")
    if reference.is_file():
        return [(shown(output.name), reference, output)], []
    one, two = _by_name(reference), _by_name(output)
    common = [name for name in one if name in two]
    if not common:
        raise DataError(
            f"no image has the same name in both folders (the first ones are "
            f"{next(iter(one.values())).name} and {next(iter(two.values())).name}): rename them "
            "so that they differ in nothing but the ending"
        )
    left = [found[name] for found in (one, two) for name in found if name not in common]
    return [(name, one[name], two[name]) for name in common], [*map(shown, left)]


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images.list_images(folder):
        name = shown(path.stem)
        if name in found:
            raise DataError(f"{found[name]} and {path.name} have the same name: keep one")
        found[name] = path
    return found


def read_pair(
    reference: Path, output: Path, white: float | None, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Two images as float64 (C, H, W) of the same shape, white = 1; ``notes`` as of read_full.

    Raises:
        DataError: an image cannot be read, the reference's values are not in [0, 1] (but for what
            bicubic resampling leaves), their sizes differ, or one is grey and one is colour.
    """
    one, two = (read_full(path, white, notes) for path in (reference, output))
    _check_range(one, reference, metrics.LOWEST, metrics.HIGHEST)
    if one.shape[1:] != two.shape[1:]:
        raise DataError(
            f"{reference} is {one.shape[1]} x {one.shape[2]}, {output} is {two.shape[1]} x "
            f"{two.shape[2]} (height x width): {_why_sizes_differ(one.shape[1:], two.shape[1:])}"
        )
    if len(one) != len(two):  # a grey image may have been saved as RGB
        one, two = (image[:1] if (image == image[:1]).all() else image for image in (one, two))
    if len(one) != len(two):
        grey, colour = (reference, output) if len(one) == 1 else (output, reference)
        raise DataError(f"{grey} is grey and {colour} is colour: convert one of them first")
    return one, two


def _why_sizes_differ(one: tuple[int, int], two: tuple[int, int]) -> str:
    """What may have happened to two images of these sizes, and what to do."""
    small, large = sorted((one, two))
    for scale in (2, 3, 4, 8):
        if tuple(side // scale * scale for side in large) == small:
            return (
                f"one was cut to a multiple of the scale, {scale}; cut the other's last rows and "
                "columns too"
            )
        if tuple(side // scale for side in large) == small:
            return f"one is {scale} times smaller; is it the network's input, not its output?"
    if one == two[::-1]:
        return "one is turned by 90 degrees; turn it back"
    missing = {b - a for a, b in zip(small, large, strict=True)}
    if len(missing) == 1 and min(missing) % 2 == 0:
        return (
            f"convolutions without padding leave out {min(missing) // 2} pixels on every side; cut "
            "them off the other image too"
        )
    return "they must be equal; are these the same picture?"


def read_full(path: Path, white: float | None, notes: list[str]) -> np.ndarray:
    """An image file as float64 (1, H, W) if it is grey, else (3, H, W), with white = 1.

    Nothing is rounded or clipped. ``white`` is the value of white in files of 16 bits or floating
    point; None stands for 65535 and 1. What is left out, as all pages but the first, and whether
    white seems to be another value, is added to ``notes``.

    Raises:
        DataError: the file cannot be read, has transparent pixels or another number of channels, or
            holds values that cannot be those of an image.
    """
    data = decoding.read_bytes(path)
    decoded = _decode_float(data, path) if data.startswith(decoding.TIFF) else None
    if decoded is None:
        picture = decoding.decode(data, path)[0]
        unused = decoding.unused_range(picture.pixels, white)
        decoded = picture.pixels, [*picture.notes, *unused]
    pixels, found = decoded
    notes += [f"{shown(path)}: {note.rstrip('?.')}." for note in found]
    whites = {"uint8": 255, "uint16": white or 65535}
    pixels = (pixels / whites.get(pixels.dtype.name, white or 1)).transpose(2, 0, 1)
    if len(pixels) in (2, 4):
        if (pixels[-1] < 1).any():
            raise DataError(f"{path} has transparent pixels: lay it over a background first")
        pixels = pixels[:-1]
    if not np.isfinite(pixels).all():
        raise DataError(f"{path} holds NaN or infinite values: it cannot be compared")
    _check_range(pixels, path, -0.5, 1.5)
    return pixels


def _check_range(pixels: np.ndarray, path: Path, lowest: float, highest: float) -> None:
    if pixels.min() < lowest or pixels.max() > highest:
        raise DataError(
            f"{path} has values from {pixels.min():.4g} to {pixels.max():.4g} where white is 1: "
            "say which value is white, as in white=255"
        )


def _decode_float(data: bytes, path: Path) -> tuple[np.ndarray, list[str]] | None:
    """Pixels (H, W, C), float64, of a TIFF file of floating point, and notes; None for others."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page, pages = file.pages[0], len(file.pages)
            if page.dtype is None or page.dtype.kind != "f":
                return None
            pixels = page.asarray().astype(np.float64)
    except Exception as error:  # of a dozen kinds, which all mean the same to a user
        reason = first_line(error)
        raise DataError(f"{path} cannot be decoded ({reason}): try no compression") from error
    if page.axes == "SYX":  # channel after channel
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes == "YX":
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        raise DataError(f"{path} holds values of shape {pixels.shape}, which is not one image")
    return pixels, [f"only the first of {pages} pages or frames is taken"] * (pages > 1)


def oddities(name: str, reference: np.ndarray, output: np.ndarray) -> list[str]:
    """Sentences on what a reader of the numbers should know of a pair."""
    notes = []
    if np.array_equal(reference, output):
        notes.append(f"{name}: the two images are identical, PSNR is infinite.")
    for which, image in (("reference", reference), ("output", output)):
        if image.min() == image.max():
            notes.append(f"{name}: the {which} has the same value, {image.max():.4g}, everywhere.")
    return notes


def summary(rows: pd.DataFrame, grey: list[bool]) -> pd.DataFrame:
    """One row a convention that applies: what it is, and the metrics' means over the images."""
    applied = rows[rows["reason"].isna()]
    means = applied.groupby("number")[["border", *METRICS]].mean()
    about = [(c.number, *_what(c, grey), c.reported_by) for c in CONVENTIONS]
    about = pd.DataFrame(about, columns=ABOUT).set_index("number")
    return means.assign(pairs=applied.groupby("number").size()).join(about).reset_index()


def _what(convention: Convention, grey: list[bool]) -> tuple[str, str]:
    """A convention's channels and pixels, as they are for grey images, colour images or both."""
    channels, pixels = convention.channels, convention.pixels
    if any(grey) and convention.grey == AS_RGB:
        return f"{channels}, grey as R=G=B", pixels
    if all(grey):
        return "grey", pixels.removesuffix(", luma too")
    if any(grey) and convention.grey == AS_IT_IS:
        return f"{channels}, grey as it is", pixels
    return channels, pixels


def reasons(rows: pd.DataFrame) -> list[str]:
    """Sentences on the conventions that do not apply, to all images or to some."""
    total = rows["image"].nunique()
    missing = rows.dropna(subset="reason").groupby(["number", "reason"], as_index=False).size()
    notes = []
    for (reason, size), group in missing.groupby(["reason", "size"], sort=False):
        numbers = f"{'Rows' if len(group) > 1 else 'Row'} {', '.join(map(str, group['number']))}"
        some = f" for {size} of {total} pairs" if size < total else ""
        notes.append(f"{numbers} not given{some}: {reason}.")
    return notes


def difference(means: pd.DataFrame, pairs: int) -> str:
    """The sentence on how far apart the conventions are."""
    finite = means[np.isfinite(means["psnr"]) & (means["pairs"] == pairs)]
    if finite.empty and pairs > 1:
        return "The mean PSNR is infinite, as a pair is identical; images=true shows each pair."
    if finite.empty:
        return "All conventions agree: PSNR is infinite."
    low, high = finite.loc[finite["psnr"].idxmin()], finite.loc[finite["psnr"].idxmax()]
    where = "on this pair" if pairs == 1 else f"in the mean of these {pairs} pairs"
    equal = np.isinf(means["psnr"]).any()
    which = "The conventions that see a difference" if equal else "These conventions"
    return (
        f"{which} differ by up to {high['psnr'] - low['psnr']:.2f} dB {where}: row "
        f"{low['number']} has {low['psnr']:.2f} dB, row {high['number']} {high['psnr']:.2f} dB."
    )


def report(found: Comparison, each: bool, style: str = "plain") -> str:
    """The tables and the notes below them.

    ``each``: also a table of each image. ``style`` is tabulate's, "plain" or "github" (Markdown).
    """
    rows, means = found.rows, found.means
    pairs = rows["image"].nunique()
    counts = ["pairs"] if (means["pairs"] < pairs).any() else []
    columns = ["number", "channels", "border", "pixels", *METRICS, *counts, "reported_by"]
    parts = [_table(means[columns].rename(columns={"number": "row"}), style)]
    if pairs > 1:
        parts.insert(0, f"Means over {pairs} pairs.")
    if each and pairs > 1:
        grid = rows.pivot(index="image", columns="number", values="psnr")[list(means["number"])]
        grid = grid.map(partial(_number, FORMATS["psnr"])).reset_index()
        parts += ["PSNR of each image, by row:", _table(grid, style)]
    return "\n\n".join([*parts, difference(means, pairs), *found.notes, LEGEND])


def _table(frame: pd.DataFrame, style: str) -> str:
    """A table by tabulate, its columns of numbers to the right."""
    shown = {k: frame[k].map(partial(_number, f)) for k, f in FORMATS.items() if k in frame}
    header = [METRICS.get(name, str(name).replace("_", " ")) for name in frame]
    sides = ["left" if name in WORDS else "right" for name in frame]
    options = {"showindex": False, "disable_numparse": True, "colalign": sides}
    return tabulate(frame.assign(**shown), header, style, **options)


def _number(spec: str, value: float) -> str:
    return "-" if math.isnan(value) else f"{value:{spec}}"


def save(path: Path, found: Comparison, each: bool) -> None:
    """The report as Markdown, or all digits as CSV, by the path's ending."""
    if path.suffix == ".md":
        files.write_text(path, report(found, each, "github") + "\n")
        return
    columns = ["image", "number", "channels", "border", "pixels", *METRICS, "pairs", "reported_by"]
    parts = [found.means.assign(image="mean")]
    if each:
        single = found.rows[found.rows["reason"].isna()].merge(found.means[ABOUT], on="number")
        parts.append(single.assign(pairs=1))
    table = pd.concat(parts)[columns].rename(columns={"number": "row"})
    files.write_csv(path, table, numbers=None)
