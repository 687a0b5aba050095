"""Rows of studies whose true effect is known, and the paper's equations in float64."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd

from asyrepro import paper
from asyrepro.paper import tables
from asyrepro.runs import results


def reference_mask(
    labels, grey=True, mask_minmax=False, invert=False, normalize=False,
    variant="equation", quartile=0.25,
):  # fmt: skip
    """Eq. (1) and (2), or lines 1-2 of Table 1, for a batch (N, C, H, W) in float64."""
    masks = []
    for label in labels.astype(np.float64):
        if mask_minmax:  # eq. (1)
            span = label.max() - label.min()
            label = (label - label.min()) / span if span else np.zeros_like(label)
        if grey:
            weights = [0.299, 0.587, 0.114] if len(label) == 3 else [1 / len(label)] * len(label)
            label = sum(w * plane for w, plane in zip(weights, label, strict=True))[None]
        label = np.clip(label, 0, 1)
        if invert:
            label = 1 - label
        numerator = np.quantile(label, quartile) if variant == "table1" else 1
        mask = 0.5 * np.tanh(numerator / (label + 1e-10)) + 0.5  # eq. (2)
        masks.append(mask / mask.mean() if normalize else mask)
    return np.stack(masks)


def wang_ssim(one, two) -> float:
    """ssim_index of Wang et al. for 0 ... 255, window by window."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    x, y = (np.lib.stride_tricks.sliding_window_view(a.astype(float), (11, 11)) for a in (one, two))
    mx, my = (x * window).sum((2, 3)), (y * window).sum((2, 3))
    vx, vy = (x * x * window).sum((2, 3)) - mx**2, (y * y * window).sum((2, 3)) - my**2
    cov = (x * y * window).sum((2, 3)) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


PAPER = tables()


EFFECT = 0.08  # dB, the paper's for SRCNN with MAE


SPREAD = (0.02, 0.03, 0.02)  # dB: standard deviation over seeds, over images, and of the rest


def table_of_changes(rng, seeds=10, images=10, effect=0.0, spread=SPREAD):
    """y[seed, image] = effect + seed effect + image effect + residual."""
    over_seeds, over_images, rest = spread
    return (
        effect
        + over_seeds * rng.normal(size=(seeds, 1))
        + over_images * rng.normal(size=(1, images))
        + rest * rng.normal(size=(seeds, images))
    )


def study(effects=None, seeds=10, images=10, seed=0, losses=None, table=2, spread=SPREAD):
    """A tidy table of metrics: base losses, and the others with their true effects in dB."""
    rng = np.random.default_rng(seed)
    effects = effects or {}
    losses = losses or ("mae", "asy_mae")
    level = rng.normal(28, 2, size=(1, images)) + 0.03 * rng.normal(size=(seeds, 1))
    frames = []
    for loss in losses:
        change = 0 if loss in ("mae", "mse") else table_of_changes(rng, seeds, images, 0, spread)
        psnr = level + change + effects.get(loss, 0.0)
        for k, i in itertools.product(range(seeds), range(images)):
            error = 10 ** (-psnr[k, i] / 20)
            frames.append(
                {
                    **{"table": table, "model": "srcnn", "dataset": "bsd300", "loss": loss},
                    **{"seed": k, "image": f"{i + 3:02d}", "psnr": psnr[k, i]},
                    **{"ssim": 1 - 3 * error, "rmse": error, "nrmse": error / 0.6},
                    **{"testset": f"table{table}", "iterations": 1000, "variant": ""},
                }
            )
    return pd.DataFrame(frames).assign(psnr_y=np.nan, ssim_y=np.nan)


PSNR_SHIFT = 0.5  # dB above the paper's numbers


def as_measured(
    table=4, seeds=(0,), dataset="bsd400", losses=results.PAPER_LOSSES, shift=PSNR_SHIFT
):
    """A tidy table made of the paper's own numbers, their PSNR shifted by so many dB."""
    rows = PAPER[(PAPER["table"] == table) & PAPER["loss"].isin(losses)]
    images = paper.known_images().get(table) or [f"10{k}0" for k in range(10)]
    frames = [
        rows.assign(
            image=[images[int(k) - 1] for k in rows["image"]],
            psnr=rows["psnr"] + shift + 0.01 * seed * (rows["loss"] == "asy_mae"),
            nrmse=rows["rmse"],
            **{"dataset": dataset, "seed": seed, "testset": f"table{table}", "variant": ""},
            iterations=500,
        )
        for seed in seeds
    ]
    frame = pd.concat(frames, ignore_index=True)
    integers = dict.fromkeys(("table", "seed", "iterations"), "Int64")
    return frame.astype(integers).reindex(columns=results.COLUMNS)


def metrics_row(loss, image, psnr, ssim=0.8, nrmse=0.05, *, seed=0, table=4, **more):
    """One row of metrics.csv; RMSE is half of NRMSE (a label whose RMS is 0.5)."""
    return {
        "table": table,
        "model": paper.MODELS[table],
        "dataset": "bsd400",
        "loss": loss,
        "seed": seed,
        "image": image,
        "psnr": psnr,
        "ssim": ssim,
        "rmse": nrmse / 2,
        "nrmse": nrmse,
        "testset": f"table{table}",
        "iterations": 500,
        **more,
    }


def findings(**parts):
    """What the report's texts read of :class:`asyrepro.report.study.Findings`."""
    known = {"name": "own", "stand_in": False, "bins": None, "regions": None, "times": None}
    return SimpleNamespace(**{**known, **parts})


def save_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    columns = [*results.COLUMNS, *sorted(set(frame) - set(results.COLUMNS))]
    frame.reindex(columns=columns).to_csv(path, index=False)
    return path


def tidy(folder, *made):
    """The tidy table of these lists of rows, written and read back."""
    save_rows(folder / "metrics.csv", [row for rows in made for row in rows])
    return results.load(folder)
