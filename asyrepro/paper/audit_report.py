"""The audit written up: Markdown, one CSV a section, figures. Same input, same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from asyrepro.data.catalogue import TABLE2
from asyrepro.paper import audit
from asyrepro.paper.failed_column import failed_column
from asyrepro.paper.tables import tables
from asyrepro.system import files

CSVS = (
    *("rmse_column", "image_constants", "shared_images", "summary", "changes", "not_winning"),
    *("abstract", "column_spread", "recovered", "sets_searched", "normalisation"),
    *("noise_images", "noise_level", "bicubic", "failed_column"),
)
FIGURES = ("constants", "matches", "changes", "noise", "spread")
FILES = (
    *(f"{name}.csv" for name in CSVS),
    *(f"{name}.{ending}" for name in FIGURES for ending in ("png", "pdf")),
)
_NEEDS = {
    "set12": "Table 4's test images, their noise level and eq. (1) (needs Set12)",
    "bsd300": "Table 5's test images, their noise level and eq. (1), bicubic enlargement, kinds of "
    "error (needs BSD300)",
    "set5": "the search in Set5",
    "set14": "the search in Set14",
    "bsd400": "the search in BSDS500's test split (needs BSDS500)",
}


def write(output: str | Path, log: Callable[[str], None] = lambda line: None) -> str:
    """Compute the audit and write it to a folder.

    Args:
        output: folder, made if need be. Files of an earlier audit are replaced, or at the end
            removed where this one cannot make them.
        log: told what is going on.

    Returns:
        The Markdown text.

    Raises:
        StorageError: a file cannot be written.
    """
    from asyrepro.paper import audit_figures as draw

    output = Path(output)
    with files.storing(output):
        output.mkdir(parents=True, exist_ok=True)
    frames = {
        "rmse_column": audit.rmse_column(),
        "image_constants": audit.image_constants(),
        "shared_images": audit.shared_images(),
        "summary": audit.summary(),
        "changes": audit.changes(),
        "not_winning": audit.not_winning(),
        "abstract": audit.abstract(),
        "column_spread": audit.column_spread(),
    }
    log("looking for the data sets")
    sets, missing = audit.load_images(log)
    if sets:
        log("measuring " + ", ".join(data.title for data in sets))
        scans = audit.measure_sets(sets)
        frames["sets_searched"] = audit.sets_searched(sets, scans)
        recovered = audit.recovered(scans)
        if len(recovered):
            frames["recovered"] = recovered
            greys = audit.grey_images(sets)
            frames["normalisation"] = audit.normalisation(greys)
            log("denoising the recovered images")
            frames["noise_images"] = audit.noise_images(greys)
            frames["noise_level"] = audit.noise_level(frames["noise_images"])
        for data in sets:
            if data.name == "bsd300":
                tests = {name: data.arrays[name] for name in data.tests}
                frames["bicubic"] = audit.bicubic(tests)
                log("making errors like those of Table 3")
                shown = {name: tests[name] for name in TABLE2 if name in tests}
                frames["failed_column"] = failed_column(shown)

    log("drawing")
    made = []
    for name, frame in frames.items():
        made.append(files.write_csv(output / f"{name}.csv", frame, "%.8g"))
    made += draw.constants_figure(frames["image_constants"], output / "constants")
    made += draw.changes_figure(frames["changes"], output / "changes")
    made += draw.spread_figure(tables(), frames.get("bicubic"), output / "spread")
    if "recovered" in frames:
        made += draw.matches_figure(frames["recovered"], output / "matches")
        made += draw.noise_figure(frames["noise_images"], output / "noise")

    text = markdown(frames, [data.title for data in sets], missing)
    files.write_text(output / "audit.md", text)
    for path in {output / name for name in FILES} - set(made):
        files.remove(path)
    return text


def markdown(frames: dict[str, pd.DataFrame], used: list[str], missing: list[str]) -> str:
    """The report's text, of the frames that :func:`write` computes."""
    sections = [
        _rmse(frames),
        _recovered(frames),
        _searched(frames),
        _normalisation(frames),
        _noise(frames),
        _claims(frames),
        _abstract(frames),
        _not_winning(frames),
        _edsr(frames),
    ]
    head = [
        "# What the paper's numbers say about themselves",
        "",
        "Zhu et al., *Asymmetric Loss Based on Image Properties for Deep Learning-Based Image "
        "Restoration*, CMC 77(3), 2023. Written by `asyrepro audit` from the printed "
        "Tables 2-5 and the data sets at hand; nothing here is typed in but the paper's numbers "
        "and those marked as published elsewhere. Each section's numbers are in the CSV file "
        "named with it.",
        "",
        f"Data sets used: {', '.join(used) or 'none'}.",
    ]
    if missing:
        head += [
            "",
            f"**Left out for want of data ({', '.join(missing)}; `make data` gets them, or let "
            "`ASYREPRO_DATA` name a folder that holds them):** " + "; ".join(_lost(missing)) + ".",
        ]
    return (
        "\n".join([*head, *(line for section in sections if section for line in ["", *section])])
        + "\n"
    )


def _lost(missing: list[str]) -> list[str]:
    keys = {"Set5": "set5", "Set12": "set12", "Set14": "set14", "BSD300": "bsd300"}
    return [_NEEDS[keys.get(title, "bsd400")] for title in missing]


def _rmse(frames: dict[str, pd.DataFrame]) -> list[str]:
    cells, constants, shared = (
        frames[name] for name in ("rmse_column", "image_constants", "shared_images")
    )
    gap = shared["gap"].max()
    wide = constants.pivot(index="no", columns="table", values="k").map("{:.4f}".format)
    wide["rms23"] = shared.set_index("no")["both"].map("{:.5f}".format)
    for table in (4, 5):
        part = constants[constants["table"] == table].set_index("no")
        wide[f"rms{table}"] = part["rms"].map("{:.5f}".format)
    wide = wide.reset_index()
    wide.columns = [
        *("no.", "k, Table 2", "k, Table 3", "k, Table 4", "k, Table 5"),
        *("1/k, Tables 2-3", "1/k, Table 4", "1/k, Table 5"),
    ]
    return [
        "## 1. The column called RMSE is not eq. (9)",
        "",
        "If it were, RMSE = 10^(-PSNR/20) (MAX = 1), k = RMSE / 10^(-PSNR/20) = 1. That holds in "
        f"{int(cells['agrees'].sum())} of {len(cells)} cells. k lies between "
        f"{cells['k'].min():.2f} and {cells['k'].max():.2f}, and for one image it is the same "
        f"number under all four losses: in {int(constants['constant'].sum())} of "
        f"{len(constants)} rows one k explains all four pairs within the rounding of "
        "the printed digits "
        f"(largest spread {100 * constants['spread'].max():.3f} %). "
        "So the column is the error divided by a constant of the image, 1/k: "
        "`skimage.metrics.normalized_root_mse` divides by the reference's root mean square. "
        "Section 2 shows that 1/k is just that.",
        "",
        "Tables 2 and 3 have the same constants, so the same ten images "
        + (
            f"(the intervals overlap, but for {int((shared['gap'] > 0).sum())} image "
            f"by {gap:.0e}, which is float32's precision)."
            if gap
            else "(all intervals overlap)."
        ),
        "",
        "`rmse_column.csv`, `image_constants.csv`, `shared_images.csv`; figure `constants`.",
        "",
        *_table(wide),
        "",
        "As k stays, the RMSE column's changes are those of PSNR in other words "
        f"(RMSE falls by 10^(-change/20); within rounding in all "
        f"{int(audit.redundancy()['agrees'].sum())} pairs of {len(audit.redundancy())}): "
        "it is no third, independent metric.",
        "",
        "![k](constants.png)",
    ]


def _recovered(frames: dict[str, pd.DataFrame]) -> list[str]:
    if "recovered" not in frames:
        return []
    frame = frames["recovered"]
    shown = pd.DataFrame(
        {
            "table": frame["table"],
            "no.": frame["no"],
            "1/k": frame["value"].map("{:.5f}".format),
            "rounding allows": [
                f"{low:.6f} ... {high:.6f}"
                for low, high in zip(frame["low"], frame["high"], strict=True)
            ],
            "image": frame["image"],
            "its RMS": frame["rms"].map("{:.6f}".format),
            "error": frame["error"].map("{:.1e}".format),
            "next best": frame["second_image"],
            "its error": frame["second_error"].map("{:.1e}".format),
            "by chance": frame["chance"].map("{:.1%}".format),
        }
    )
    names = {4: "Set12", 5: "BSD300's test split (grey, ITU-R 601)"}
    found = [
        f"Table {number}: {', '.join(part['image'])} of {names[number]}"
        for number, part in frame.groupby("table")
    ]
    twins = [
        f"no. {row.no} of Table {row.table}: {row.also}" for row in frame.itertuples() if row.also
    ]
    inside, expected = int(frame["inside"].sum()), int((frame["image"] == frame["expected"]).sum())
    return [
        "## 2. The test images of Tables 4 and 5",
        "",
        f"{'. '.join(found)}. {inside} of the {len(frame)} images' RMS lie within what the "
        "rounding of the printed digits allows, in the order of the table; "
        f"{expected} are those that this project takes. Searched for among all images of the set, "
        'as whole grey images. "By chance" is the probability that a set of that size holds an '
        "image as near as that to one given number; section 3 has it for all ten together."
        + (
            f" Another image fits within the rounding, too, for {'; '.join(twins)}."
            if twins
            else ""
        ),
        "",
        "`recovered.csv`; figure `matches`.",
        "",
        *_table(shown),
        "",
        "![matches](matches.png)",
    ]


def _searched(frames: dict[str, pd.DataFrame]) -> list[str]:
    if "sets_searched" not in frames:
        return []
    frame = frames["sets_searched"]
    shown = pd.DataFrame(
        {
            "set": frame["set"],
            "tables": frame["tables"],
            "constants matched": frame["hits"].map("{} of 10".format),
            "best setting": [
                f"{row.variant}, {row.crop}" if row.hits else "" for row in frame.itertuples()
            ],
            "expected by chance": frame["expected"].map("{:.2g}".format),
            "settings tried": frame["tries"],
            "p": frame["p_corrected"].map("{:.2g}".format),
            "": frame["significant"].map({True: "**found**", False: "not found"}),
        }
    )
    sought = frame[frame["tables"] == "2-3"]
    return [
        "## 3. Which set holds which table's images",
        "",
        "Every set was searched for every table's ten constants as grey (the weights of ITU-R 601 "
        "and 709), RGB, luma and RGB with alpha, whole, cut to multiples of 2, 3 and 4, and in "
        "centre crops. p is the probability that chance matches as many constants in any of the "
        "settings tried (how it is worked out: `asyrepro/paper/identify.py`). "
        + (
            "The images of Tables 2 and 3 are in none of these sets; "
            "`asyrepro identify FOLDER` looks for them in any other."
            if not sought["significant"].any()
            else "**The images of Tables 2 and 3 are found.**"
        ),
        "",
        "`sets_searched.csv`.",
        "",
        *_table(shown),
    ]


def _normalisation(frames: dict[str, pd.DataFrame]) -> list[str]:
    if "normalisation" not in frames:
        return []
    frame = frames["normalisation"]
    other = frame[(frame["minimum"] > 0) | (frame["maximum"] < 1)]
    return [
        "## 4. Eq. (1), min-max normalisation, was not applied to the images that were measured",
        "",
        f"Pixels divided by 255 have an RMS within the printed digits' rounding for "
        f"{int(frame['scaled_fits'].sum())} of {len(frame)} images; after eq. (1) for "
        f"{int(frame['minmax_fits'].sum())}"
        + (
            ", an image that spans [0, 1] already, so that eq. (1) changes nothing. "
            if not other["minmax_fits"].any()
            else ". "
        )
        + f"Of the {len(other)} images that eq. (1) changes, it fits "
        f"{int(other['minmax_fits'].sum())}. (This is about evaluation; what the networks were "
        "trained on cannot be told.)",
        "",
        "`normalisation.csv`.",
    ]


def _noise(frames: dict[str, pd.DataFrame]) -> list[str]:
    if "noise_level" not in frames:
        return []
    images, levels = frames["noise_images"], frames["noise_level"]
    shown = pd.DataFrame(
        {
            "table": levels["table"],
            "sigma": levels["sigma"].map("{}/255".format),
            "noisy input": levels["psnr_noisy"].map("{:.2f}".format),
            "paper's best loss": levels["paper_psnr"].map("{:.2f}".format),
            "its gain": levels["gain"].map("{:+.2f}".format),
            "reference": levels["reference"].map(_maybe),
            "reference - paper": [
                "" if pd.isna(row.difference) else f"{row.difference:+.2f} +- {row.deviation:.2f}"
                for row in levels.itertuples()
            ],
        }
    )
    rows = images[images["sigma"] == 25]
    detail = pd.DataFrame(
        {
            "table": rows["table"],
            "no.": rows["no"],
            "image": rows["image"],
            "NRMSE, noisy, sigma 15": images[images["sigma"] == 15]["nrmse_noisy"].values,
            "sigma 25": rows["nrmse_noisy"].values,
            "sigma 50": images[images["sigma"] == 50]["nrmse_noisy"].values,
        }
    )
    for column in detail.columns[3:]:
        detail[column] = detail[column].map("{:.4f}".format)
    detail["the paper's best"] = rows["paper_nrmse"].map("{:.5f}".format).values
    implied = audit.implied_sigma(levels)
    words = [f"{value:.1f} for Table {number}" for number, value in implied.items()]
    return [
        "## 5. The noise level of Tables 4 and 5",
        "",
        "The paper does not state it. White Gaussian noise of sigma/255 leaves the noisy image a "
        "PSNR of -20 log10(sigma/255) whatever the image, and an NRMSE of sigma/255 over the "
        "image's RMS. *Computed here:* these, and scikit-image's non-local means on the recovered "
        "images with this project's test noise. *Published elsewhere:* DnCNN-S on Set12 (Zhang et "
        "al. 2017, Table III; entered without the article at hand and checked by their means only: "
        "32.86, 30.44 and 27.18 dB over all of Set12). For Table 4 the reference is DnCNN-S on the "
        "same ten images. For Table 5, where no figures for the single images are published, it is "
        "non-local means "
        "plus the mean lead that DnCNN-S has over it on Table 4's images: a rough stand-in.",
        "",
        "`noise_level.csv`, `noise_images.csv`; figure `noise`. PSNR in dB, means over the ten "
        "images; +- is the standard deviation over them.",
        "",
        *_table(shown),
        "",
        (
            f"The sigma at which the reference scores what the paper prints: {', '.join(words)}. "
            "Sigma = 25 fits both tables; 15 and 50, the other usual levels, are off by more than "
            "2 dB, and for Table 4 the difference is also the most even over the images at "
            "25. That is consistent with noise of 25/255, not a proof: a network trained for "
            "another level, and better or worse by those decibels, would look the same. A check "
            "with the authors' own DnCNN weights is not part of this audit."
            if implied
            else "The references need Set12."
        ),
        "",
        *_table(detail),
        "",
        "![noise](noise.png)",
    ]


def _claims(frames: dict[str, pd.DataFrame]) -> list[str]:
    frame = frames["summary"]
    shown = pd.DataFrame(
        {
            "table": [f"{row.table} {_MODELS[row.model]}" for row in frame.itertuples()],
            "base loss": frame["base"].str.upper(),
            "PSNR base -> asymmetric": [
                f"{row.psnr_base:.3f} -> {row.psnr_asy:.3f}" for row in frame.itertuples()
            ],
            "mean change": frame["psnr_change"].map("{:+.3f}".format),
            "range over images": [
                f"{row.psnr_change_min:+.3f} ... {row.psnr_change_max:+.3f}"
                for row in frame.itertuples()
            ],
            "SSIM change": [
                f"{row.ssim_change:+.4f}"
                + (f" ({row.ssim_worse} image falls)" if row.ssim_worse else "")
                for row in frame.itertuples()
            ],
            "largest RMSE fall": [
                f"{value:.2f} %" if value < 10 else f"{value:.1f} %"
                for value in frame["rmse_fall_max"]
            ],
        }
    )
    return [
        "## 6. What the paper claims, in numbers",
        "",
        "Means over each table's ten images, one training a cell (the paper mentions no repeats).",
        "",
        "`summary.csv`, `changes.csv`; figure `changes` (each table has its own scale).",
        "",
        *_table(shown),
        "",
        "![changes](changes.png)",
    ]


def _abstract(frames: dict[str, pd.DataFrame]) -> list[str]:
    frame = frames["abstract"]
    names = {"psnr": "PSNR", "ssim": "SSIM", "rmse": "RMSE (fall)"}
    shown = pd.DataFrame(
        {
            "SRCNN": frame["metric"].map(names),
            "abstract: up to about": frame["abstract"].map("{} %".format),
            "largest in Table 2": frame["largest"].map("{:.2f} %".format),
            "where": [f"image {row.no}, {row.base.upper()}" for row in frame.itertuples()],
            "mean, MAE": frame["mean_mae"].map("{:.2f} %".format),
            "mean, MSE": frame["mean_mse"].map("{:.2f} %".format),
            "": frame["reaches"].map({True: "reached", False: "**not reached**"}),
        }
    )
    return [
        "## 7. The abstract's percentages",
        "",
        '"Up to about" picks the best of twenty images and losses, and per cent of decibels '
        "depend on the level: 0.5 % of 32 dB are 0.16 dB, which is the 1.7 % of RMSE once more.",
        "",
        "`abstract.csv`.",
        "",
        *_table(shown),
    ]


def _not_winning(frames: dict[str, pd.DataFrame]) -> list[str]:
    frame = frames["not_winning"]
    pairs = len(frames["changes"]) * len(audit.METRICS)
    shown = pd.DataFrame(
        {
            "table": [f"{row.table} {_MODELS[row.model]}" for row in frame.itertuples()],
            "no.": frame["no"],
            "base loss": frame["base"].str.upper(),
            "metric": frame["metric"].str.upper(),
            "base": frame["before"].map("{:.5f}".format),
            "asymmetric": frame["after"].map("{:.5f}".format),
            "": frame["what"],
        }
    )
    return [
        "## 8. Where an asymmetric loss does not win",
        "",
        f"{len(frame)} of {pairs} printed pairs ({len(frames['changes'])} images and losses, three "
        "metrics).",
        "",
        "`not_winning.csv`.",
        "",
        *_table(shown),
    ]


def _edsr(frames: dict[str, pd.DataFrame]) -> list[str]:
    frame = frames["column_spread"]
    failed = frame[(frame["table"] == 3) & (frame["loss"] == "mse")].iloc[0]
    others = frame[~((frame["table"] == 3) & frame["loss"].str.contains("mse"))]
    text = (
        f"EDSR trained with MSE has {failed['min']:.2f} ... {failed['max']:.2f} dB, mean "
        f"{failed['mean']:.2f} dB: an error of {failed['error']:.2f} of the full range. It hardly "
        f"depends on the image (range {failed['range']:.2f} dB; the columns outside EDSR with MSE "
        f"and Asy_MSE range over {others['range'].min():.1f} ... {others['range'].max():.1f} dB)."
    )
    if "bicubic" in frames:
        groups = frames["bicubic"].groupby("scale")["psnr"]
        words = [
            f"{part.mean():.2f} dB at x{scale} (lowest {part.min():.2f})" for scale, part in groups
        ]
        below = int((frames["bicubic"]["psnr"] <= failed["max"]).sum())
        text += (
            f" Plain bicubic enlargement of BSD300's {groups.size().iloc[0]} test images scores "
            f"{' and '.join(words)}; {below or 'none'} of those images is as bad as EDSR with MSE "
            "at its best. SRCNN has "
            f"{frame[(frame['table'] == 2) & (frame['loss'] == 'mse')]['mean'].iloc[0]:.2f} dB on "
            "the same images."
        )
    used = [name for name in ("column_spread", "bicubic", "failed_column") if name in frames]
    return [
        "## 9. EDSR with MSE failed, or was measured wrongly",
        "",
        text + " Table 3's gains say more about that column than about the loss; EDSR with MAE, "
        "on average below SRCNN on the same images, is in doubt as well.",
        "",
        *_kinds_of_error(frames),
        ", ".join(f"`{name}.csv`" for name in used) + "; figure `spread`.",
        "",
        "![spread](spread.png)",
    ]


def _kinds_of_error(frames: dict[str, pd.DataFrame]) -> list[str]:
    if "failed_column" not in frames:
        return []
    frame = frames["failed_column"]
    shown = pd.DataFrame(
        {
            "error": frame["kind"],
            "strength": frame["strength"].map(_maybe),
            "PSNR": _spans(frame, "psnr", 1),
            "range": frame["psnr_range"].map(lambda value: f"{value:.1f}"),
            "SSIM": _spans(frame, "ssim", 2),
        }
    )
    return [
        "What kind of error is like that? Bicubic enlargement of the first ten of BSD300's test "
        "images by 3, with an error made so strong that the mean PSNR is the paper's; mean, least "
        "and largest over the images:",
        "",
        *_table(shown),
        "",
        "Any error of one size in all images has a PSNR as even as the paper's; a factor has not. "
        "The SSIM leaves out noise and fine patterns, too; constants and slow patterns have it on "
        "either side of the paper's. None has it as even, but these are other images. So the "
        "column is most like images whose brightness or colour is off by 0.2, everywhere or slowly "
        "changing, as a network may leave them, or a mean that was not added back.",
        "",
    ]


def _spans(frame: pd.DataFrame, metric: str, digits: int) -> pd.Series:
    names = [f"{metric}_{name}" for name in ("mean", "min", "max")]
    return frame[names].apply(
        lambda row: "{:.{d}f} ({:.{d}f} ... {:.{d}f})".format(*row, d=digits), axis=1
    )


_MODELS = {"srcnn": "SRCNN", "edsr": "EDSR", "dncnn": "DnCNN", "dphsir": "DPHSIR"}


def _maybe(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _table(frame: pd.DataFrame) -> list[str]:
    """A frame of text and integers as the lines of a Markdown table."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|---" * frame.shape[1] + "|"]
    for row in frame.itertuples(index=False):
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return lines
