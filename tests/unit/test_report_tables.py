"""The tidy table (asyrepro.runs.results) and Tables 2-5 made from it (asyrepro.report.tables)."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from helpers import refuses
from synthetic import metrics_row as row
from synthetic import tidy

from asyrepro.analysis.summary import summarise
from asyrepro.data import STAND_IN
from asyrepro.report import grid, tables
from asyrepro.runs import results
from asyrepro.system.errors import DataError

DASH, MINUS = "\u2013", "\u2212"


# Two images of Table 4 with numbers that are easy to average.
SMALL = [
    row("mae", "03", 30.0, 0.8000, 0.0500),
    row("mse", "03", 31.0, 0.9000, 0.0400),
    row("asy_mae", "03", 30.5, 0.8010, 0.0490),
    row("asy_mse", "03", 30.75, 0.9000, 0.0450),
    row("mae", "04", 28.0, 0.7000, 0.0700),
    row("mse", "04", 28.5, 0.7100, 0.0600),
    row("asy_mae", "04", 28.25, 0.7200, 0.0300),
    row("asy_mse", "04", 28.75, 0.7050, 0.0650),
    row("noisy", "03", 20.25, 0.5, 0.2, seed=""),
    row("noisy", "04", 20.75, 0.6, 0.3, seed=""),
]


def cells(text, start):
    """The cells of the first Markdown row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def markdown(summary):
    return grid.markdown(tables.grids(summary))


def latex(summary):
    return grid.latex(tables.grids(summary), summary.table)


def change_part(text):
    return text[text.index("Changes of") :]


# ---------------------------------------------------------------------------------------- the cells


def test_cells_means_and_bold_by_hand(tmp_path):
    text = markdown(summarise(tidy(tmp_path, SMALL), 4))
    assert cells(text, "| No.") == [
        *("No.", "Image", "", "Noisy"),
        *("MAE", "MSE", r"Asy\_MAE", r"Asy\_MSE"),
    ]
    # PSNR and NRMSE: MSE is best (smaller NRMSE is better). SSIM: MSE and Asy_MSE tie.
    assert cells(text, "| 1 | 03 |")[2:] == [
        "ours",
        "20.250/0.50000/0.20000",
        "30.000/0.80000/0.05000",
        "**31.000**/**0.90000**/**0.04000**",
        "30.500/0.80100/0.04900",
        "30.750/**0.90000**/0.04500",
    ]
    assert cells(text, "| 2 | 04 |")[6:] == [
        "28.250/**0.72000**/**0.03000**",
        "**28.750**/0.70500/0.06500",
    ]
    assert cells(text, "| | **Mean**")[2:] == [
        "ours",
        "20.500/0.55000/0.25000",
        "29.000/0.75000/0.06000",
        "**29.750**/**0.80500**/0.05000",
        "29.375/0.76050/**0.03950**",
        "**29.750**/0.80250/0.05500",
    ]


def test_changes_by_hand(tmp_path):
    text = change_part(markdown(summarise(tidy(tmp_path, SMALL), 4)))
    assert cells(text, "| 1 | 03 |")[2::2] == [  # the paper's stand between
        f"+0.500/+0.00100/{MINUS}0.00100",
        f"{MINUS}0.250/0.00000/+0.00500",
    ]
    assert cells(text, "| | **Mean**")[2] == f"+0.375/+0.01050/{MINUS}0.02050"


@pytest.mark.parametrize(
    ("values", "metric", "best"),
    [
        ([1, 3, 2, 0], "psnr", [0, 1, 0, 0]),
        ([1, 3, 2, 0], "nrmse", [0, 0, 0, 1]),
        ([1, 3, 2, 0], "rmse", [0, 0, 0, 1]),
        ([0.812341, 0.812344, 0.8, 0.7], "ssim", [1, 1, 0, 0]),  # equal as printed
        ([30.0004, 30.0006, 29, 28], "psnr", [0, 1, 0, 0]),  # 30.000 and 30.001
        ([np.nan, 2, 1, np.nan], "psnr", [0, 1, 0, 0]),
        ([np.nan, 2, np.nan, np.nan], "psnr", [0, 0, 0, 0]),  # nothing to be better than
        ([np.nan] * 4, "psnr", [0, 0, 0, 0]),
        ([1, 1, 1, 1], "nrmse", [1, 1, 1, 1]),
    ],
)
def test_best_cells(values, metric, best):
    assert tables.best_cells(values, metric).tolist() == [bool(x) for x in best]


# --------------------------------------------------------------------------------- beside the paper


def test_papers_numbers_stand_beside_by_image_name(tmp_path):
    # Table 4's No. 4 is Set12's 06; a study of 06 and 03 alone, in the wrong order
    rows = [row(x, i, 30 + k) for i in ("06", "03") for k, x in enumerate(results.PAPER_LOSSES)]
    text = markdown(summarise(tidy(tmp_path, rows), 4))
    lines = text.splitlines()
    position = next(k for k, line in enumerate(lines) if line.startswith("| 2 | 06 |"))
    assert lines[position - 2].startswith("| 1 | 03 |")
    beside = cells(lines[position + 1], "|")
    # the paper, Table 4, row 4, as printed there with two decimals more
    assert beside[:4] == ["", "", "paper", "28.827/0.86976/0.05009"]
    assert beside[6] == "**29.085**/**0.87199**/**0.04862**"


def test_unknown_images_are_marked_as_other_images(tmp_path):
    rows = [row(x, i, 30, table=2, dataset="bsd300") for x in ("mae", "mse") for i in "ab"]
    text = markdown(summarise(tidy(tmp_path, rows), 2))
    beside = cells(text, "| | | paper")
    assert beside[2] == r"paper\*"
    assert beside[3].replace("**", "") == "28.925/0.83519/0.05455"  # Table 2, row 1


def test_training_set_steps_and_seeds_are_stated(tmp_path):
    rows = [dict(r, seed=s) for r in SMALL[:8] for s in (0, 1, 2)]
    text = markdown(summarise(tidy(tmp_path, rows), 4))
    for part in ("BSD400", "DIV2K", "500 steps", "3 seeds"):
        assert part in text


def test_stand_in_data_are_named_in_every_title(tmp_path):
    rows = [dict(r, dataset="bundled") for r in SMALL]
    rows += [dict(r, loss="asy_mae_shuffled") for r in rows if r["loss"] == "asy_mae"]
    summary = summarise(tidy(tmp_path, rows), 4)
    assert [STAND_IN in grid.title for grid in tables.grids(summary)] == [True] * 3
    headings = [line for line in markdown(summary).splitlines() if line.startswith("#")]
    assert len(headings) == 3
    assert all("bundled stand-in data" in heading for heading in headings)
    captions = [line for line in latex(summary).splitlines() if "\\caption" in line]
    assert len(captions) == 3
    assert all("bundled stand-in data" in caption for caption in captions)
    assert set(tables.csv_frame(summary)["data"]) == {"bundled stand-in data"}
    assert not summary.same_images  # whatever their names, they are not the paper's


# ---------------------------------------------------------------------------- seeds, gaps, controls


def test_seeds_are_averaged_and_changes_are_paired(tmp_path):
    rows = [
        row("mae", "03", 30.0, seed=0),
        row("mae", "03", 32.0, seed=1),
        row("asy_mae", "03", 32.5, seed=1),
    ]
    summary = summarise(tidy(tmp_path, rows), 4)
    assert summary.values("mae", "psnr").tolist() == [31.0]
    assert summary.values("asy_mae", "psnr", "mae").tolist() == [0.5]  # seed 1 alone has both
    assert summary.seeds == {"mae": (0, 1), "asy_mae": (1,)}


def test_missing_cells_are_dashes_and_their_mean_too(tmp_path):
    rows = [r for r in SMALL if r["loss"] != "mse" and (r["loss"], r["image"]) != ("mae", "04")]
    summary = summarise(tidy(tmp_path, rows), 4)
    text = markdown(summary)
    assert "MSE" not in cells(text, "| No.")[4:6]  # a loss that was not run has no column
    assert cells(text, "| 1 | 03 |")[4] == "30.000/0.80000/0.05000"
    assert cells(text, "| 2 | 04 |")[4] == DASH
    assert cells(text, "| | **Mean**")[4] == DASH  # no mean of some of the images
    assert cells(change_part(text), "| 2 | 04 |")[2] == DASH
    assert "& -- &" in latex(summary)
    assert "nan" not in text.lower() + latex(summary).lower()


def test_controls_have_a_table_of_their_own(tmp_path):
    rows = [
        *SMALL,
        row("asy_mse_shuffled", "03", 31.5, 0.9, 0.04),
        row("asy_mse_shuffled", "04", 28.25, 0.71, 0.06),
    ]
    text = markdown(summarise(tidy(tmp_path, rows), 4))
    main, controls = text.split("Controls with")
    assert "shuffled" not in main
    assert cells(controls, "| No.")[2:] == [r"Asy\_MSE\_shuffled"]
    # against MSE: (31.5 - 31 + 28.25 - 28.5) / 2
    assert cells(controls, "| | Mean change")[2].startswith("+0.125/0.00000/")
    plain = markdown(summarise(tidy(tmp_path, SMALL), 4))
    assert "Controls with" not in plain


def test_a_loss_of_ones_own_is_compared_with_the_base_that_it_declares(tmp_path):
    rows = [*SMALL, row("mine", "03", 31.5, 0.9, 0.04), row("mine", "04", 28.25, 0.71, 0.06)]
    for base, change in (("mse", 0.125), ("mae", 0.875)):  # means: MSE 29.75, MAE 29, mine 29.875
        frame = tidy(tmp_path, rows).assign(base="")
        frame.loc[frame["loss"] == "mine", "base"] = base
        summary = summarise(frame, 4)
        text = markdown(summary)
        assert cells(text, "| No.")[-1] == "mine" and "Controls" not in text
        assert cells(change_part(text), "| No.")[-1] == f"mine {MINUS} {base.upper()}"
        assert cells(change_part(text), "| | **Mean**")[-1].startswith(f"+{change:.3f}/")
        column = tables.csv_frame(summary)[f"mine_minus_{base}_psnr"]
        assert column.iloc[-1] == pytest.approx(change)


def test_csv_holds_all_numbers(tmp_path):
    paths = tables.write_tables([summarise(tidy(tmp_path, SMALL), 4)], tmp_path / "tables")
    assert [path.name for path in paths] == ["table4.csv", "table4.md", "table4.tex"]
    frame = pd.read_csv(paths[0], dtype={"image": str, "no": str})
    assert frame["image"].tolist() == ["03", "04", "Mean"]
    assert frame["mae_rmse"].tolist() == [0.025, 0.035, 0.03]
    assert frame["noisy_psnr"].tolist() == [20.25, 20.75, 20.5]
    assert frame["asy_mae_minus_mae_psnr"].tolist() == [0.5, 0.25, 0.375]
    assert frame["paper_asy_mse_psnr"].tolist()[:2] == [30.72817, 29.41482]
    assert frame["paper_mae_nrmse"].tolist()[0] == 0.05695
    assert set(frame["paper_same_images"]) == {"yes"}


# -------------------------------------------------------------------------------------------- LaTeX


def test_latex_special_characters_are_escaped():
    assert grid.tex("a_b & 5% of $x #1 {y} ~ ^ \\") == (
        r"a\_b \& 5\% of \$x \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert grid.tex(f"{MINUS}0.1 {DASH} x") == "$-$0.1 -- x"


def test_latex_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    rows = [dict(r, image=r["image"] + r"_&%#{}$~^\x", dataset="my_set & more") for r in SMALL]
    rows += [dict(r, loss="asy_mae_shuffled") for r in rows if r["loss"] == "asy_mae"]
    text = latex(summarise(tidy(tmp_path, rows), 4))
    head = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "x.tex").write_text(head + text + "\\end{document}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


# ------------------------------------------------------------------------------------ damaged files


def test_mixed_training_sets_are_refused(tmp_path):
    rows = [SMALL[0], dict(SMALL[1], dataset="div2k")]
    with refuses(DataError, "bsd400", "div2k"):
        summarise(tidy(tmp_path, rows), 4)
