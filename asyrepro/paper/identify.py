"""Which images were a table's test set? Search a folder for the table's ten constants.

The constants (:func:`asyrepro.paper.constants`) are known to about 1e-5, so an image whose RMS
brightness falls within one of them is a candidate; in a large folder some do so by chance. How
many is computed, so that a false positive is seen as one:

- Under one *setting* (a variant and a crop, :mod:`.measure`), the n images of the folder have n
  values with local density f(a) at a constant a. The number that chance puts into an interval of
  width w at a is taken as Poisson with mean ``n f(a) w``. f is the larger of a Gaussian kernel
  estimate and a nearest-neighbour estimate (the fifth neighbour, so that clusters count), and is
  mixed with a few imaginary images spread evenly over [0, 1], for folders of few images.
- The number of a table's ten constants that have an image in their interval is then a sum of
  independent yes/no events with known probabilities; ``p`` is the probability of at least as many
  as were found.
- The smallest p of all settings and tables tried is corrected for their number by Sidak's formula
  ``1 - (1 - p)^tries`` (settings overlap, so this errs on the careful side). A table counts as
  found where the corrected p is below :data:`SIGNIFICANT`.

Nothing here knows file names, sizes or the order of the images: those remain as a check.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro.data.images import is_image, list_images
from asyrepro.paper.measure import CROP_WORDS, CROPS, READINGS, VARIANTS, measure_file
from asyrepro.paper.tables import constants
from asyrepro.system.errors import DataError
from asyrepro.system.progress import bar
from asyrepro.system.templates import render

#: Corrected p below which a table's test set counts as found.
SIGNIFICANT = 0.01
#: Allowance beyond the rounding of the printed values: float32 metrics, another JPEG decoder.
SLACK = 5e-6
_PRIOR_IMAGES = 5  # imaginary images spread evenly over [0, 1]
_NEIGHBOUR = 5
_FEW = 32  # a process pool is not worth starting for fewer images


@dataclass
class Scan:
    """What a folder's images measure."""

    names: list[str]  # one a distinct image, in the order of the sorted paths
    # RMS in [0, 1], float64 (len(names), len(VARIANTS), len(CROPS)); NaN where a crop does not fit
    values: np.ndarray
    copies: dict[str, list[str]] = field(default_factory=dict)  # name -> others that measure alike
    damaged: list[tuple[str, str]] = field(default_factory=list)  # name of a file, what is wrong


def scan(
    folder: str | Path, *, recursive: bool = False, jobs: int = 1, progress: bool = False
) -> Scan:
    """Measure every image of a folder, decoding each once.

    Args:
        folder: where the images are.
        recursive: also those of the folders inside it.
        jobs: processes to use. With more than one, a script needs ``if __name__ == "__main__"``.
        progress: show a progress bar on standard error.

    Raises:
        DataError: no such folder, no images in it, or none that can be read.
    """
    folder = Path(folder)
    try:
        files = list_images(folder, recursive)
    except DataError as error:
        inside = not recursive and folder.is_dir() and any(map(is_image, folder.rglob("*")))
        raise DataError(f"{error}{', or give recursive=true' * inside}") from error
    names, values, damaged = [], [], []
    with bar(total=len(files), unit="image", disable=None if progress else True) as shown:
        for path, (rms, reason) in zip(files, _measured(files, jobs), strict=True):
            name = path.relative_to(folder).as_posix()
            if rms is None:
                damaged.append((name, reason))
            else:
                names.append(name)
                values.append(rms)
            shown.update()
    if not names:
        raise DataError(
            f"none of the {len(files)} images in {folder} can be read; the first: {damaged[0][1]}"
        )
    found = collect(names, np.array(values))
    found.damaged = damaged
    return found


def _measured(files: list[Path], jobs: int):
    if jobs <= 1 or len(files) < _FEW:
        yield from map(measure_file, files)
        return
    chunk = max(1, min(16, len(files) // (4 * jobs)))
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            yield from pool.map(measure_file, files, chunksize=chunk)
    except BrokenProcessPool:
        raise DataError(
            "a worker process was killed, most likely for lack of memory; use fewer with jobs=1"
        ) from None


def collect(names: list[str], values: np.ndarray) -> Scan:
    """A :class:`Scan` of measured values, exact copies counted once."""
    alike: dict[bytes, list[str]] = {}
    for name, measured in zip(names, values, strict=True):
        alike.setdefault(measured.tobytes(), []).append(name)
    copies = {first: others for first, *others in alike.values() if others}
    distinct = [first for first, *_ in alike.values()]
    place = {name: number for number, name in enumerate(names)}
    return Scan(distinct, values[[place[name] for name in distinct]], copies)


def search(found: Scan, tables: Iterable[int] = (2, 3, 4, 5)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Look for tables' test sets among measured images.

    Tables 2 and 3 share their images and are searched together, with the constants that both
    give, even if only one of them is asked for.

    Returns:
        (sets, matches).

        ``sets``, one row a test set, for its best setting: ``tables``, ``variant``, ``crop``,
        ``images`` (how many this setting fits), ``hits`` (constants of ten with an image),
        ``expected`` (by chance, under this setting), ``p`` (this setting alone), ``tries``,
        ``p_corrected`` and ``significant``. The best setting is that of the smallest p, or, of
        several significant ones, the first with the most hits.

        ``matches``, one row a constant, under that setting: ``tables``, ``no`` (the image's
        number in the table), ``value``, ``low``, ``high``, ``image`` (the nearest), ``rms``,
        ``error`` (its distance from value), ``hit`` (within the constant's interval),
        ``second_image``, ``second_error`` (the next nearest), ``also`` (other images within the
        interval), ``chance`` (probability that this setting brings some image as near as that by
        chance), ``chance_any`` (that any setting tried does) and ``significant`` (a hit of a set
        that is).
    """
    settings = _settings(found.values)
    groups = sorted({(2, 3) if table in (2, 3) else (table,) for table in tables})
    tries = len(settings) * len(groups)
    set_rows, match_rows = [], []
    for group in groups:
        wanted = constants(*group)
        results = [_test(*setting, wanted, tries) for setting in settings]
        best = min(results, key=lambda row: row["p"])
        if best["significant"]:
            best = max((row for row in results if row["significant"]), key=lambda row: row["hits"])
        values = found.values[:, VARIANTS.index(best["variant"]), CROPS.index(best["crop"])]
        matches = nearest(found.names, values, wanted, tries)
        matches["significant"] = matches["hit"] & best["significant"]
        name = "-".join(map(str, group))
        set_rows.append({"tables": name, **best})
        matches.insert(0, "tables", name)
        match_rows.append(matches)
    return pd.DataFrame(set_rows), pd.concat(match_rows, ignore_index=True)


def _settings(values: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """(variant, crop, values of the images that it fits), each distinct setting once."""
    settings: dict[bytes, tuple[str, str, np.ndarray]] = {}
    for (v, variant), (c, crop) in product(enumerate(VARIANTS), enumerate(CROPS)):
        column = values[:, v, c]
        if len(fitting := column[np.isfinite(column)]):
            settings.setdefault(column.tobytes(), (variant, crop, fitting))
    return list(settings.values())


def _test(
    variant: str, crop: str, values: np.ndarray, wanted: pd.DataFrame, tries: int
) -> dict[str, object]:
    low, high = wanted["low"].to_numpy() - SLACK, wanted["high"].to_numpy() + SLACK
    inside = (values[:, None] >= low) & (values[:, None] <= high)
    expected = len(values) * density(values, wanted["value"].to_numpy()) * (high - low)
    hits = int(inside.any(axis=0).sum())
    p = at_least(hits, -np.expm1(-expected))
    corrected = float(-np.expm1(tries * np.log1p(-min(p, 1 - 1e-16))))
    return {
        "variant": variant,
        "crop": crop,
        "images": len(values),
        "hits": hits,
        "expected": float(expected.sum()),
        "p": p,
        "tries": tries,
        "p_corrected": corrected,
        "significant": corrected < SIGNIFICANT,
    }


def nearest(names: list[str], values: np.ndarray, wanted: pd.DataFrame, tries: int) -> pd.DataFrame:
    """The nearest and second-nearest image to each constant (``matches`` of :func:`search`).

    Args:
        names: of the images.
        values: their RMS under one setting, NaN where it does not fit.
        wanted: ``value``, ``low`` and ``high`` of each constant, as from ``constants``.
        tries: how many settings were tried, for ``chance_any``.
    """
    fits = np.flatnonzero(np.isfinite(values))
    values = values[fits]
    local = density(values, wanted["value"].to_numpy())
    rows = []
    for (no, value, low, high), per_unit in zip(
        wanted[["value", "low", "high"]].itertuples(), local, strict=True
    ):
        errors = np.abs(values - value)
        inside = (values >= low - SLACK) & (values <= high + SLACK)
        order = np.lexsort((errors, ~inside))
        first, second = order[0], order[1] if len(order) > 1 else None
        width = max(2 * errors[first], high - low + 2 * SLACK)
        expected = len(values) * per_unit * width
        rows.append(
            {
                "no": no,
                "value": value,
                "low": low,
                "high": high,
                "image": names[fits[first]],
                "rms": values[first],
                "error": errors[first],
                "hit": bool(inside[first]),
                "second_image": "" if second is None else names[fits[second]],
                "second_error": np.nan if second is None else errors[second],
                "also": "; ".join(names[fits[k]] for k in order[1:] if inside[k]),
                "chance": float(-np.expm1(-expected)),
                "chance_any": float(-np.expm1(-expected * tries)),
            }
        )
    return pd.DataFrame(rows)


def density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Local density (an image per unit of RMS) of the images' values, as the module describes."""
    n = len(values)
    spread = min(values.std(), np.subtract(*np.percentile(values, [75, 25])) / 1.34)
    bandwidth = max(0.9 * spread * n**-0.2, 0.01)
    distance = np.abs(values[None, :] - at[:, None])
    kernel = (
        np.exp(-0.5 * (distance / bandwidth) ** 2).mean(axis=1) / bandwidth / np.sqrt(2 * np.pi)
    )
    if n > _NEIGHBOUR:
        reach = np.partition(distance, _NEIGHBOUR, axis=1)[:, _NEIGHBOUR]
        kernel = np.maximum(kernel, _NEIGHBOUR / (2 * n * np.maximum(reach, 1e-9)))
    return (n * kernel + _PRIOR_IMAGES) / (n + _PRIOR_IMAGES)


def at_least(count: int, probabilities: np.ndarray) -> float:
    """Probability that at least ``count`` of independent events with these probabilities occur.

    Given to nine digits, so that which of two settings is better does not hang on the last bit,
    which differs between processors.
    """
    distribution = np.zeros(len(probabilities) + 1)
    distribution[0] = 1.0
    for p in probabilities:
        distribution[1:] = distribution[1:] * (1 - p) + distribution[:-1] * p
        distribution[0] *= 1 - p
    return float(f"{min(1.0, distribution[count:].sum()):.9g}")


def describe(found: Scan, sets: pd.DataFrame, matches: pd.DataFrame) -> str:
    """The result as text for a terminal."""
    return render(
        "asyrepro.paper",
        "identify.txt",
        found=found,
        sets=sets,
        matches=matches,
        readings=READINGS,
        crops=CROP_WORDS,
    )


def default_jobs() -> int:
    """As many processes as this one may use CPU cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
