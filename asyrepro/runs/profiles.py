"""Sums of a restored image's error, by the label's grey value and gradient strength.

They are small enough to be kept, in ``results/<study>/profiles.csv.gz``:
:mod:`asyrepro.analysis.mechanism` tells from them where in the image a loss changes the error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro import metrics
from asyrepro.metrics import GREY
from asyrepro.runs import results
from asyrepro.runs.run import finished
from asyrepro.system.errors import DataError
from asyrepro.system.files import write_csv

GREY_EDGES = np.arange(11) / 10
# Sobel magnitude of the label in [0, 1] (scikit-image's: a vertical step from 0 to 1 gives 0.71).
# Fixed, so that bins mean the same in every image: the deciles over all grey pixels of BSD300's
# training images, rounded.
GRADIENT_EDGES = (0.0, 0.003, 0.006, 0.01, 0.017, 0.025, 0.037, 0.054, 0.08, 0.134, np.inf)

STUDY = "profiles.csv.gz"  # of a study, of all its runs
BINS = len(GREY_EDGES) + len(GRADIENT_EDGES) - 2  # of one image

WHERE = ["table", "model", "dataset", "loss", "seed", "image"]
NAMES = ["model", "dataset", "loss", "image"]  # of WHERE, the texts
SUMS = ["pixels", "sum_squared", "sum_absolute", "energy_label", "energy_output"]
COLUMNS = [*WHERE, "kind", "bin", "lower", "upper", *SUMS]


def _grey(planes: np.ndarray) -> np.ndarray:
    if len(planes) not in (1, 3):
        raise ValueError(f"an image must have C = 1 or 3 channels, not {len(planes)}")
    return planes[0] if len(planes) == 1 else np.tensordot(np.array(GREY), planes, axes=1)


def error_profile(label, output) -> pd.DataFrame:
    """Sums of one restored image's error, by the label's grey value and gradient strength.

    Args:
        label, output: (H, W) or (C, H, W), C = 1 or 3, floating point; the label in [0, 1].
            Arrays or tensors. The output is not clipped.

    Returns:
        One row a bin, also an empty one: ten equal bins of the grey value between 0 and 1 (of RGB
        labels: ITU-R 601 luma), and the ten of gradient strength (``GRADIENT_EDGES``). Columns:
        kind ("grey" or "gradient"), bin (from 0), lower, upper (lower <= value < upper; 1.0
        belongs to the last grey bin), pixels, sum_squared,
        sum_absolute (over the bin's pixels; a pixel's error is the mean over its channels of the
        squared or absolute difference), and for the gradient bins energy_label and
        energy_output: sums over the bin's pixels of the squared Sobel magnitude of the label's
        and the output's grey image (NaN for grey bins).

    Raises:
        TypeError, ValueError: as of the metrics (:mod:`asyrepro.metrics`), and for other C.
    """
    label, output = (im.reshape(-1, *im.shape[-2:]) for im in metrics.checked(label, output))
    difference = output - label
    squared, absolute = (difference**2).mean(axis=0), np.abs(difference).mean(axis=0)
    from skimage.filters import sobel  # which a report can spare

    grey = _grey(label)
    gradient = sobel(grey)
    energies = (gradient**2, sobel(_grey(output)) ** 2)
    frames = [
        _binned("grey", grey, GREY_EDGES, squared, absolute),
        _binned("gradient", gradient, np.array(GRADIENT_EDGES), squared, absolute, energies),
    ]
    return pd.concat(frames, ignore_index=True)


def _binned(kind, values, edges, squared, absolute, energies=None) -> pd.DataFrame:
    bins = len(edges) - 1
    # The margin keeps 8-bit values that lie on an edge, such as 51/255, in the upper bin, whether
    # they come as float32 or float64.
    place = np.clip(np.searchsorted(edges, values.ravel() + 1e-7, side="right") - 1, 0, bins - 1)

    def total(weights=None):
        weights = None if weights is None else weights.ravel()
        return np.bincount(place, weights, minlength=bins)

    label, output = (total(e) for e in energies) if energies else (np.nan, np.nan)
    return pd.DataFrame(
        {
            "kind": kind,
            "bin": np.arange(bins),
            "lower": edges[:-1],
            "upper": edges[1:],
            "pixels": total(),
            "sum_squared": total(squared),
            "sum_absolute": total(absolute),
            "energy_label": label,
            "energy_output": output,
        }
    )


def profile_rows(label, output, *, table, model, dataset, loss, seed, image) -> pd.DataFrame:
    """:func:`error_profile` of one image of one run, with the columns that say which."""
    where = dict(zip(WHERE, (table, model, dataset, loss, seed, image), strict=True))
    return error_profile(label, output).assign(**where)[COLUMNS]


def save(profiles: pd.DataFrame, path) -> Path:
    """Write profiles (rows of :func:`profile_rows`, concatenated) as CSV, sorted.

    Compressed if the name ends with ".gz": they are the largest of a study's tables.
    """
    kinds = {"grey": 0, "gradient": 1}
    ordered = profiles[COLUMNS].assign(order=profiles["kind"].map(kinds))
    ordered = ordered.sort_values([*WHERE, "order", "bin"], kind="stable").drop(columns="order")
    return write_csv(path, ordered)


def load(path) -> pd.DataFrame:
    """Read what :func:`save` wrote; DataError if it is missing or damaged."""
    numbers = ["table", "seed", "bin", "lower", "upper", *SUMS[:3]]
    frame = results.read_table(path, COLUMNS, numbers, names=NAMES)
    same = (frame[WHERE] == frame[WHERE].shift()).all(axis=1)  # each image's bins stand together
    bins = (~same).cumsum().value_counts()
    if bins.nunique() > 1 or len(frame) % BINS:
        raise DataError(f"{path} lacks rows that it had: delete and remake it")
    return frame


def collect(study_dir) -> Path | None:
    """Join the profiles.csv of a study's runs for tables into :data:`STUDY`; None without any.

    Of a run that has no such file (git does not keep them) the study's rows stay.
    """
    study_dir = Path(study_dir)
    runs = [run for run in finished(study_dir) if not run.variant]
    with_it = [path for run in runs if (path := run.file("profiles.csv")).is_file()]
    without = [run for run in runs if not run.file("profiles.csv").is_file()]
    if not with_it:
        return None
    new = pd.concat(map(load, with_it))
    path, found = study_dir / STUDY, [new]
    if without and path.is_file():
        keys = WHERE[:-1]
        read = [results.read_rows(run.rows, may_be_empty=True) for run in without]
        rows = pd.concat([rows[keys] for rows in read])
        rows = rows.dropna().drop_duplicates()  # other test sets have no table
        found.append(load(path).merge(rows.astype(new[keys].dtypes)))
    return save(pd.concat(found), path)
