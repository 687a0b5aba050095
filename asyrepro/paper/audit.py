"""What the paper's tables show about themselves, computed from the printed numbers and the images.

Every function returns a DataFrame; :mod:`.audit_report` writes them all up, which is what
``asyrepro audit`` does. Functions that need images take them as arguments
(:func:`load_images`), so that the rest works without any data set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asyrepro.paper.identify import Scan, nearest, scan_arrays, search
from asyrepro.paper.measure import CROPS, VARIANTS
from asyrepro.paper.tables import LOSSES, constants, ratios, tables, test_images
from asyrepro.system.errors import DataError

METRICS = ("psnr", "ssim", "rmse")
BASES = ("mae", "mse")
SIGMAS = (15, 25, 50)
#: What the abstract says of SRCNN: "up to about", per cent.
ABSTRACT = {"psnr": 0.5, "ssim": 0.3, "rmse": 1.7}

#: PSNR of the published DnCNN-S on Set12's images 03 ... 12, dB, by noise level: Table III of
#: Zhang et al., "Beyond a Gaussian Denoiser" (IEEE TIP 26(7), 2017). Their means over all twelve
#: images, the first two included, are 32.859, 30.436 and 27.178. Entered without the article at
#: hand: these digits agree with those means and, at 25, with the 30.44 dB its authors report, but
#: compare them with the article before building on a single image's figure.
PUBLISHED_DNCNN = {
    15: (33.30, 32.20, 33.09, 31.70, 31.83, 34.62, 32.64, 32.42, 32.46, 32.47),
    25: (30.87, 29.41, 30.28, 29.13, 29.43, 32.44, 30.00, 30.21, 30.10, 30.12),
    50: (27.32, 25.70, 26.78, 25.87, 26.48, 29.39, 26.22, 27.20, 27.24, 26.90),
}

# ------------------------------------------------------------------- from the printed numbers alone


def rmse_column() -> pd.DataFrame:
    """The printed RMSE against eq. (9), cell by cell.

    The columns of :func:`asyrepro.paper.tables.ratios`, and ``agrees``: whether eq. (9), worked
    from the printed PSNR with MAX = 1, gives the printed RMSE within rounding (k = 1).
    """
    frame = ratios()
    frame["agrees"] = (frame["low"] <= 1) & (frame["high"] >= 1)
    return frame


def image_constants() -> pd.DataFrame:
    """k of each image under each loss, and what they have in common.

    Returns:
        One row an image: ``table``, ``no``, ``k_mae`` ... ``k_asy_mse``, ``k`` (their mean),
        ``spread`` (largest over smallest, less 1), ``rms`` (mean 1/k), ``low``, ``high`` (the
        values of 1/k that the rounding of all eight numbers allows) and ``constant``: whether
        there are such values, so that one and the same k stands behind all four losses.
    """
    cells = ratios()
    wide = cells.pivot(index=["table", "image"], columns="loss", values="k")[list(LOSSES)]
    groups = cells.groupby(["table", "image"])
    low, high = groups["low"].max(), groups["high"].min()
    frame = wide.add_prefix("k_")
    frame["k"] = wide.mean(axis=1)
    frame["spread"] = wide.max(axis=1) / wide.min(axis=1) - 1
    frame["rms"] = groups["rms"].mean()
    frame["low"], frame["high"] = low, high
    frame["constant"] = low <= high
    frame = frame.reset_index().rename(columns={"image": "no"})
    frame.columns.name = None
    return frame


def shared_images() -> pd.DataFrame:
    """Whether Tables 2 and 3 were measured on the same ten images: 1/k of both, and the gap.

    ``gap`` is the distance between the two tables' intervals of 1/k, 0 where they overlap.
    """
    two, three = constants(2), constants(3)
    gap = np.maximum(two["low"] - three["high"], three["low"] - two["high"]).clip(lower=0)
    together = constants((2, 3))["value"]
    frame = pd.DataFrame({"table2": two["value"], "table3": three["value"], "both": together})
    frame["gap"] = gap
    return frame.reset_index().rename(columns={"image": "no"})


def changes() -> pd.DataFrame:
    """Asymmetric minus base, image by image.

    Returns:
        One row an image and base loss: ``table``, ``model``, ``no``, ``base``, and for each metric
        ``<metric>_base``, ``<metric>_asy``, ``<metric>_change`` and ``<metric>_percent``.
    """
    wide = tables().pivot(index=["table", "model", "image"], columns="loss", values=list(METRICS))
    parts = []
    for base in BASES:
        part = pd.DataFrame(index=wide.index)
        part["base"] = base
        for metric in METRICS:
            before, after = wide[metric][base], wide[metric][f"asy_{base}"]
            part[f"{metric}_base"], part[f"{metric}_asy"] = before, after
            part[f"{metric}_change"] = (after - before).round(6)  # no digits beyond the printed
            part[f"{metric}_percent"] = 100 * (after / before - 1)
        parts.append(part)
    frame = pd.concat(parts).reset_index().rename(columns={"image": "no"})
    frame["base"] = pd.Categorical(frame["base"], BASES)
    return frame.sort_values(["table", "base", "no"], ignore_index=True).astype({"base": str})


def summary() -> pd.DataFrame:
    """What the paper claims, in numbers: means over the ten images, per table and base loss.

    ``psnr_change_min`` and ``_max`` are over the images; ``rmse_fall_max`` is the largest fall of
    the RMSE column in per cent; ``<metric>_worse`` counts the images that do not improve.
    """
    rows = []
    for (table, base), part in changes().groupby(["table", "base"]):
        rows.append(
            {
                "table": table,
                "model": part["model"].iloc[0],
                "base": base,
                "psnr_base": part["psnr_base"].mean(),
                "psnr_asy": part["psnr_asy"].mean(),
                "psnr_change": part["psnr_change"].mean(),
                "psnr_change_min": part["psnr_change"].min(),
                "psnr_change_max": part["psnr_change"].max(),
                "ssim_base": part["ssim_base"].mean(),
                "ssim_asy": part["ssim_asy"].mean(),
                "ssim_change": part["ssim_change"].mean(),
                "rmse_change": part["rmse_change"].mean(),
                "rmse_fall_max": -part["rmse_percent"].min(),
                "psnr_worse": int((part["psnr_change"] <= 0).sum()),
                "ssim_worse": int((part["ssim_change"] <= 0).sum()),
                "rmse_worse": int((part["rmse_change"] >= 0).sum()),
            }
        )
    return pd.DataFrame(rows)


def not_winning() -> pd.DataFrame:
    """Every printed pair in which the asymmetric loss is not better: worse, or the same.

    Columns ``table``, ``model``, ``no``, ``base``, ``metric``, ``before``, ``after``, ``what``.
    """
    rows = []
    for metric in METRICS:
        better = -1 if metric == "rmse" else 1
        frame = changes()
        frame = frame[better * frame[f"{metric}_change"] <= 0]
        for row in frame.to_dict("records"):
            change = row[f"{metric}_change"]
            rows.append(
                {
                    **{key: row[key] for key in ("table", "model", "no", "base")},
                    "metric": metric,
                    "before": row[f"{metric}_base"],
                    "after": row[f"{metric}_asy"],
                    "what": "the same" if change == 0 else "worse",
                }
            )
    columns = ["table", "model", "no", "base", "metric", "before", "after", "what"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["table", "base", "no"], ignore_index=True)


def abstract() -> pd.DataFrame:
    """The abstract's "up to about" percentages for SRCNN against Table 2's largest ones.

    Columns ``metric``, ``abstract``, ``largest`` (improvement over either base loss, per cent),
    ``no``, ``base`` (where it is found), ``mean_mae``, ``mean_mse`` (change of the ten images'
    mean, per cent) and ``reaches``: whether the largest rounds to the abstract's figure.
    """
    frame = changes()
    frame = frame[frame["table"] == 2].reset_index(drop=True)
    rows = []
    for metric, said in ABSTRACT.items():
        sign = -1 if metric == "rmse" else 1
        percent = sign * frame[f"{metric}_percent"]
        where = frame.loc[percent.idxmax()]
        row = {"metric": metric, "abstract": said, "largest": percent.max()}
        row |= {"no": where["no"], "base": where["base"]}
        for base in BASES:
            part = frame[frame["base"] == base]
            ratio = part[f"{metric}_asy"].mean() / part[f"{metric}_base"].mean()
            row[f"mean_{base}"] = sign * 100 * (ratio - 1)
        row["reaches"] = bool(round(percent.max(), 1) >= said)
        rows.append(row)
    return pd.DataFrame(rows)


def redundancy() -> pd.DataFrame:
    """The RMSE column's changes as the PSNR column alone predicts them.

    With k the same before and after, RMSE falls by the factor 10^(-change of PSNR / 20): the
    column repeats PSNR. ``predicted`` and ``printed`` are that factor; ``agrees``: within rounding.
    """
    frame = changes()
    result = frame[["table", "model", "no", "base"]].copy()
    result["predicted"] = 10 ** (-frame["psnr_change"] / 20)
    result["printed"] = frame["rmse_asy"] / frame["rmse_base"]
    tolerance = 0.5e-5 * (1 / frame["rmse_asy"] + 1 / frame["rmse_base"]) + 1e-6
    result["agrees"] = (result["printed"] / result["predicted"] - 1).abs() <= tolerance
    return result


def column_spread() -> pd.DataFrame:
    """How far PSNR varies over the ten images, per table and loss (dB).

    A trained network's PSNR depends on the image; an error that is nearly the same on every image
    (EDSR with MSE) is what an output that is off by a constant gives.
    """
    groups = tables().groupby(["table", "model", "loss"])["psnr"]
    frame = groups.agg(["mean", "min", "max"]).reset_index()
    frame["range"] = frame["max"] - frame["min"]
    frame["error"] = 10 ** (-frame["mean"] / 20)
    frame["loss"] = pd.Categorical(frame["loss"], LOSSES)
    return frame.sort_values(["table", "loss"], ignore_index=True).astype({"loss": str})


# --------------------------------------------------------------------------------- with the images


@dataclass
class Images:
    """The images of one data set, uint8 (3, H, W) or (1, H, W), by name.

    ``tests`` are the names of those that are test images, where the set has both kinds.
    """

    name: str
    title: str
    arrays: dict[str, np.ndarray]
    tests: list[str]


def load_images(log: Callable[[str], None] = lambda line: None) -> tuple[list[Images], list[str]]:
    """The data sets at hand (``ASYREPRO_DATA`` or ``data/``; nothing is downloaded).

    Returns:
        (those found, the titles of those missing). ``log`` is told why a set is left out.

    Raises:
        DataError: ``ASYREPRO_DATA`` names no folder.
    """
    from asyrepro.data import catalogue

    catalogue.available("set5")  # complains if ASYREPRO_DATA names no folder
    wanted = {
        "set5": ("Set5", [(catalogue.test_set, "set5")]),
        "set12": ("Set12", [(catalogue.test_set, "set12")]),
        "set14": ("Set14", [(catalogue.test_set, "set14")]),
        "bsd300": (
            "BSD300",
            [(catalogue.test_set, "bsd300"), (catalogue.training_set, "bsd300")],
        ),
        "bsd400": ("BSDS500 test", [(catalogue.training_set, "bsd400")]),
    }
    found, missing = [], []
    bsd300: dict[str, np.ndarray] = {}
    for name, (title, parts) in wanted.items():
        mode = "grey" if name == "set12" else "rgb"
        arrays: dict[str, np.ndarray] = {}
        first = 0
        try:
            for load, part in parts:
                data = load(part, mode=mode, download=False)
                pixels = (image.numpy() for image in data.images)
                arrays.update(zip(data.names, pixels, strict=True))
                first = first or len(arrays)
        except DataError as error:
            log(f"{title} is left out: {error}")
            missing.append(title)
            continue
        if name == "bsd300":
            bsd300 = arrays
        if name == "bsd400":  # its other half is BSD300's training split
            arrays = {key: value for key, value in arrays.items() if key not in bsd300}
        title = f"{title} ({len(arrays)} images)"
        found.append(Images(name, title, arrays, list(arrays)[: first or None]))
    return found, missing


def measure_sets(sets: list[Images]) -> dict[str, Scan]:
    """Each data set's images measured under all variants and crops, by the set's name."""
    return {data.name: scan_arrays(data.arrays) for data in sets}


def sets_searched(sets: list[Images], scans: dict[str, Scan]) -> pd.DataFrame:
    """Which tables' test sets each data set holds: ``set`` and the columns of ``search``."""
    parts = []
    for data in sets:
        frame, _ = search(scans[data.name])
        frame.insert(0, "set", data.title)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def recovered(scans: dict[str, Scan]) -> pd.DataFrame:
    """The test images of Tables 4 and 5: each constant, the nearest image and the next.

    Searched for as whole grey images in all of Set12 and all of BSD300.

    Returns:
        ``table``, ``no``, ``expected`` (the image this project takes), then as ``matches`` of
        :func:`asyrepro.paper.identify.search` with ``tries`` = 1, and ``inside``: whether the
        image's RMS lies within what the rounding of the printed numbers allows, exactly.
    """
    parts = []
    for table, name in ((4, "set12"), (5, "bsd300")):
        if name not in scans:
            continue
        values = scans[name].values[:, VARIANTS.index("grey"), CROPS.index("whole")]
        frame = nearest(scans[name].names, values, constants(table), tries=1)
        frame.insert(0, "table", table)
        frame.insert(2, "expected", test_images(table))
        frame["inside"] = (frame["rms"] >= frame["low"]) & (frame["rms"] <= frame["high"])
        parts.append(frame.drop(columns="chance_any"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def grey_images(sets: list[Images]) -> dict[int, dict[str, np.ndarray]]:
    """The ten grey images in [0, 1], float64 (H, W), of Tables 4 and 5, as far as at hand."""
    from PIL import Image

    by_name = {data.name: data.arrays for data in sets}
    result = {}
    for table, name in ((4, "set12"), (5, "bsd300")):
        if name not in by_name:
            continue
        result[table] = {}
        for image in test_images(table):
            array = by_name[name][image]
            if array.shape[0] == 3:
                grey = Image.fromarray(np.ascontiguousarray(np.moveaxis(array, 0, -1))).convert("L")
                array = np.asarray(grey)
            result[table][image] = np.squeeze(array) / 255.0
    return result


def normalisation(greys: dict[int, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Were the images min-max normalised (eq. 1) before they were measured?

    Returns:
        One row an image: ``table``, ``no``, ``image``, ``low``, ``high`` (what the printed numbers
        allow), ``minimum``, ``maximum``, ``scaled`` (RMS of pixel/255), ``minmax`` (RMS after
        eq. 1), and whether each lies within: ``scaled_fits``, ``minmax_fits``.
    """
    rows = []
    for table, images in greys.items():
        wanted = constants(table)
        for (no, value), (name, pixels) in zip(wanted.iterrows(), images.items(), strict=True):
            low, high = value["low"], value["high"]
            minimum, maximum = pixels.min(), pixels.max()
            rms = float(np.sqrt((pixels**2).mean()))
            minmax = float(np.sqrt((((pixels - minimum) / (maximum - minimum)) ** 2).mean()))
            rows.append(
                {
                    **{"table": table, "no": no, "image": name, "low": low, "high": high},
                    **{"minimum": minimum, "maximum": maximum, "scaled": rms, "minmax": minmax},
                    "scaled_fits": low <= rms <= high,
                    "minmax_fits": low <= minmax <= high,
                }
            )
    return pd.DataFrame(rows)


def noise_images(greys: dict[int, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Noise levels, image by image: what a network would have started from and could reach.

    Returns:
        One row an image and sigma (15, 25, 50): ``table``, ``no``, ``image``, ``sigma``,
        ``psnr_noisy`` and ``nrmse_noisy`` (of white Gaussian noise of that level, neither clipped
        nor rounded: -20 log10(sigma/255), and sigma/255 over the image's RMS), ``paper_psnr`` and
        ``paper_nrmse`` (the best of the four losses), ``published`` (DnCNN-S as its authors report
        it; Table 4 only) and ``nlm`` (scikit-image's non-local means on this project's test noise).
    """
    printed = tables()
    rows = []
    for table, images in greys.items():
        cells = printed[printed["table"] == table].groupby("image")
        best_psnr, best_nrmse = cells["psnr"].max(), cells["rmse"].min()
        for no, (name, pixels) in enumerate(images.items(), start=1):
            rms = float(np.sqrt((pixels**2).mean()))
            for sigma in SIGMAS:
                known = PUBLISHED_DNCNN[sigma][no - 1] if table == 4 else float("nan")
                rows.append(
                    {
                        **{"table": table, "no": no, "image": name, "sigma": sigma},
                        "psnr_noisy": -20 * np.log10(sigma / 255),
                        "nrmse_noisy": sigma / 255 / rms,
                        "paper_psnr": best_psnr[no],
                        "paper_nrmse": best_nrmse[no],
                        "published": known,
                        "nlm": non_local_means_psnr(name, pixels, sigma),
                    }
                )
    return pd.DataFrame(rows)


def non_local_means_psnr(name: str, pixels: np.ndarray, sigma: float) -> float:
    """PSNR (dB) of non-local means at a known noise level, on this project's test noise."""
    from skimage.restoration import denoise_nl_means

    from asyrepro.degradation import test_noise

    level = sigma / 255
    noisy = pixels + test_noise(name, sigma, (1, *pixels.shape)).numpy()[0].astype(np.float64)
    output = denoise_nl_means(
        noisy, patch_size=5, patch_distance=4, h=0.8 * level, sigma=level, fast_mode=True
    )
    return float(-10 * np.log10(((output - pixels) ** 2).mean()))


def leads(images: pd.DataFrame) -> dict[int, float]:
    """By how many dB the published DnCNN-S beats non-local means on Table 4's images, by sigma."""
    of_four = images[images["table"] == 4].groupby("sigma")
    return {sigma: (part["published"] - part["nlm"]).mean() for sigma, part in of_four}


def noise_level(images: pd.DataFrame) -> pd.DataFrame:
    """Which sigma the denoising tables fit, from :func:`noise_images`.

    For Table 4 the ``reference`` is the published DnCNN-S on the same images. For Table 5 none is
    published image by image; there it is non-local means plus the mean by which the published
    DnCNN-S beats non-local means on Table 4's images at that sigma: a rough stand-in, NaN without
    Table 4's images. (Search distances of 3 to 7 pixels give the same answer.)

    Returns:
        One row a table and sigma: ``table``, ``sigma``, ``psnr_noisy``, ``paper_psnr`` (mean),
        ``gain`` (over the noisy image), ``reference`` (mean), ``difference`` (reference minus
        paper, mean over the images), ``deviation`` (its standard deviation over them).
    """
    margins, rows = leads(images), []
    for (table, sigma), part in images.groupby(["table", "sigma"]):
        reference = part["published"] if table == 4 else part["nlm"] + margins.get(sigma, np.nan)
        difference = reference - part["paper_psnr"]
        rows.append(
            {
                "table": table,
                "sigma": sigma,
                "psnr_noisy": part["psnr_noisy"].mean(),
                "paper_psnr": part["paper_psnr"].mean(),
                "gain": (part["paper_psnr"] - part["psnr_noisy"]).mean(),
                "reference": reference.mean(),
                "difference": difference.mean(),
                "deviation": difference.std(ddof=1),
            }
        )
    return pd.DataFrame(rows)


def implied_sigma(levels: pd.DataFrame) -> dict[int, float]:
    """Sigma at which the reference would score what the paper prints, by table.

    Linear interpolation of :func:`noise_level`'s ``difference`` in log sigma.
    """
    result = {}
    for table, part in levels.dropna(subset="difference").groupby("table"):
        part = part.sort_values("difference")
        result[int(table)] = float(
            np.exp(np.interp(0, part["difference"], np.log(part["sigma"].astype(float))))
        )
    return result


def bicubic(images: dict[str, np.ndarray], scales: tuple[int, ...] = (3, 4)) -> pd.DataFrame:
    """PSNR of plain bicubic enlargement, RGB, whole image: the least that a network should reach.

    Args:
        images: uint8 (3, H, W) by name.
        scales: 4 is the hardest of the usual scale factors.

    Returns:
        One row an image and scale: ``image``, ``scale``, ``psnr`` (dB).
    """
    import torch

    from asyrepro.paper.failed_column import enlarged

    rows = []
    for scale in scales:
        for name, array in images.items():
            label, output = enlarged(array, scale)
            error = ((output - label).double() ** 2).mean()
            rows.append({"image": name, "scale": scale, "psnr": float(-10 * torch.log10(error))})
    return pd.DataFrame(rows)
