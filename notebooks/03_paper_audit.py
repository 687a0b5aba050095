# %% [markdown]
# # What the paper's numbers say about themselves
#
# Tables 2 to 5 of Zhu et al. (2023) can be checked with a pocket calculator and some curiosity.
# This notebook does it step by step, from the printed numbers alone. Where images are needed it
# says so, and reads what `asyrepro audit` has written to `results/audit/`.

# %%
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from IPython.display import SVG, Markdown
from skimage.filters import gaussian
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio

from asyrepro import paper
from asyrepro.data import bundled
from asyrepro.paper import audit_figures, failed_column
from asyrepro.paper import printed as audit
from asyrepro.paper.noise import PUBLISHED_DNCNN, SIGMAS, implied_sigma, noise_level
from asyrepro.system import style

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"dpi": 120}
AUDIT = Path("../results/audit")
folder = Path(tempfile.mkdtemp())
matplotlib.rcParams.update(style.RC)


def drawn(figure):
    return SVG(str(style.save(figure, folder / "figure")[0]))


# %%
printed = paper.tables()
print(f"{len(printed)} cells: tables {sorted(printed['table'].unique())}")
printed.head(4)

# %% [markdown]
# ## 1. The column "RMSE" against eq. (9)
#
# PSNR, eq. (6), and RMSE, eq. (9), are the same error in two units. With images in [0, 1] and MAX
# = 1,
#
# $$\mathrm{PSNR} = -20\log_{10}\mathrm{RMSE} \quad\Longleftrightarrow\quad
# \mathrm{RMSE} = 10^{-\mathrm{PSNR}/20}.$$
#
# The first printed entry:

# %%
first = printed.iloc[0]
expected = 10 ** (-first["psnr"] / 20)
print(f"printed PSNR  {first['psnr']:.5f} dB")
print(f"so RMSE is    {expected:.5f}")
print(f"printed RMSE  {first['rmse']:.5f}, which is k = {first['rmse'] / expected:.4f} times that")

# %% [markdown]
# All cells, allowing for the rounding of the printed digits:

# %%
cells = audit.rmse_column()
Markdown(
    f"The printed RMSE is that of eq. (9) in **{cells['agrees'].sum()} of {len(cells)}** cells. "
    f"k lies between {cells['k'].min():.2f} and {cells['k'].max():.2f}."
)

# %% [markdown]
# ## 2. k belongs to the image
#
# k is not one number for the whole paper. It is one number *for each image*:

# %%
k = audit.image_constants()
k[["table", "no", "k_mae", "k_mse", "k_asy_mae", "k_asy_mse", "spread"]].head(10).round(5)

# %%
Markdown(
    f"In **{k['constant'].sum()} of {len(k)}** rows one k explains all four losses within the "
    f"rounding; the largest spread is {k['spread'].max():.3%}."
)

# %%
drawn(audit_figures.constants(k))

# %% [markdown]
# ## 3. What divides by something that belongs to the image
#
# `skimage.metrics.normalized_root_mse` does: unless told otherwise it divides RMSE by the root
# mean square of the reference. Try it on a photograph that comes with scikit-image and three
# quite different outputs:

# %%
(pixels,), _ = bundled.read_regions({"cat": bundled.TEST["chelsea_cat"]}, "grey")
label = pixels[0] / 255
noise = np.random.default_rng(0).normal(0, 0.1, label.shape)
outputs = {"noisy": label + noise, "blurred": gaussian(label, 2), "too dark": 0.9 * label}

rows = {}
for name, output in outputs.items():
    psnr = peak_signal_noise_ratio(label, output, data_range=1)
    nrmse = normalized_root_mse(label, output)
    rows[name] = {"PSNR": psnr, "NRMSE": nrmse, "k": nrmse / 10 ** (-psnr / 20)}
print(f"1 / RMS of the photograph: {1 / np.sqrt((label**2).mean()):.5f}")
pd.DataFrame(rows).T.round(5)

# %% [markdown]
# So k would be 1 / RMS of the test image, whatever the network did, which is what section 2
# shows. Every test image has left its brightness in the paper: 1/k. Section 5 puts it to use.

# %% [markdown]
# ## 4. Two things that follow at once
#
# **RMSE is no third witness.** With k fixed, a change of PSNR alone fixes the change of the
# column:

# %%
factors = audit.redundancy()
print(f"the RMSE column changes as PSNR says, within rounding: {factors['agrees'].sum()}")
print(f"of {len(factors)} pairs of a base loss and its asymmetric version")

# %% [markdown]
# **Tables 2 and 3 were measured on the same images**, as their 1/k are the same:

# %%
audit.shared_images().set_index("no").T.round(6)

# %%
gap = audit.shared_images()["gap"]
Markdown(
    f"The intervals of the two tables overlap for {(gap == 0).sum()} of {len(gap)} images; the "
    f"largest gap is {gap.max():.0e}, about the precision of float32."
)

# %% [markdown]
# ## 5. Which images are those?
#
# An image's RMS is a fingerprint of five digits. Compare the fingerprints with all images of a
# data set, and the test images of Tables 4 and 5 turn up. *This needs the images; here is what
# `asyrepro audit` found.*

# %%
recovered = pd.read_csv(AUDIT / "recovered.csv", dtype={"expected": str, "image": str})
shown = ["table", "no", "value", "low", "high", "image", "rms", "error", "second_error", "inside"]
recovered[shown].round(6)

# %%
drawn(audit_figures.matches(recovered))

# %%
Markdown(
    f"**{recovered['inside'].sum()} of {len(recovered)}** images have an RMS within what the "
    f"rounding allows. The next best image is farther off by a factor of "
    f"{(recovered['second_error'] / recovered['error']).median():.0f} (median); "
    f"it would fit within the rounding as well for {recovered['also'].notna().sum()} of them."
)

# %% [markdown]
# One hit among hundreds of images can be luck; ten of ten in the table's order cannot. All sets
# that were searched for all tables, with the probability that chance does as well:

# %%
searched = pd.read_csv(AUDIT / "sets_searched.csv", keep_default_na=False)
searched["p"] = searched["p_corrected"].map("{:.2g}".format)
searched[["set", "tables", "hits", "variant", "crop", "p", "significant"]]

# %% [markdown]
# The images of Tables 2 and 3 are still unknown. `asyrepro identify FOLDER` looks for
# them in any folder of yours.
#
# ## 6. Min-max normalisation was not applied
#
# Eq. (1) stretches each image to [0, 1]. That would have changed the RMS of most. *(With the
# images; read from `results/audit/`.)*

# %%
stretched = pd.read_csv(AUDIT / "normalisation.csv")
full = (stretched["minimum"] == 0) & (stretched["maximum"] == 1)
print(f"pixel / 255 fits for {stretched['scaled_fits'].sum()} of {len(stretched)} images")
print(f"eq. (1) fits for {stretched['minmax_fits'].sum()}; {full.sum()} spans [0, 1] by itself")

# %% [markdown]
# ## 7. The noise level of Tables 4 and 5
#
# The paper does not state it. White Gaussian noise leaves the same PSNR on every image, so the
# gain of the paper's best network depends on sigma alone:

# %%
best = printed[printed["table"].isin([4, 5])].groupby(["table", "image"])["psnr"].max()
best = best.groupby("table").mean()
start = pd.Series({sigma: -20 * np.log10(sigma / 255) for sigma in SIGMAS})
gains = pd.DataFrame({f"gain, Table {table}": psnr - start for table, psnr in best.items()})
gains.insert(0, "noisy PSNR", start)
gains.rename_axis("sigma").round(2)

# %% [markdown]
# For Table 4 the published DnCNN, on the same ten images of Set12, tells what is to be expected
# at each level (figures entered without the article at hand; see `asyrepro/paper/noise.py`):

# %%
table4 = printed[printed["table"] == 4].groupby("image")["psnr"].max().to_numpy()
rows = {}
for sigma, psnr in PUBLISHED_DNCNN.items():
    difference = np.array(psnr) - table4
    rows[sigma] = {"published minus paper": difference.mean(), "spread": difference.std(ddof=1)}
pd.DataFrame(rows).T.rename_axis("sigma").round(2)

# %% [markdown]
# For Table 5 nothing is published image by image. There, non-local means and the mean lead that
# DnCNN has over it on Table 4's images stand in. *(With the images; read from `results/audit/`.)*

# %%
noise = pd.read_csv(AUDIT / "noise_images.csv", dtype={"image": str})
drawn(audit_figures.noise(noise))

# %%
levels = noise_level(noise)
implied = implied_sigma(levels)
print("the sigma at which the reference scores what the paper prints:")
print(*[f"  Table {table}: {sigma:.1f}" for table, sigma in implied.items()], sep="\n")
levels[["table", "sigma", "reference", "paper_psnr", "difference", "deviation"]].round(2)

# %% [markdown]
# Of the usual levels the one nearest fits both tables. That is consistent, not a proof: a network
# trained for another level, and better or worse by those decibels, would look the same.
#
# ## 8. The paper's claims as numbers
#
# Asymmetric minus base, means over the ten images, one run per loss:

# %%
claims = audit.summary()
shown = ["table", "model", "base", "psnr_base", "psnr_asy", "psnr_change", "ssim_change"]
claims[[*shown, "psnr_change_min", "psnr_change_max", "rmse_fall_max"]].round(4)

# %%
drawn(audit_figures.changes(audit.changes()))

# %% [markdown]
# ## 9. The abstract's percentages
#
# "PSNR by up to about 0.5%, SSIM by up to about 0.3%, and reduce RMSE by up to about 1.7%", of
# SRCNN. The largest change in Table 2, in per cent, where it is found, and the change of the
# means:

# %%
percentages = audit.abstract()
percentages.round(2)

# %%
top = percentages.set_index("metric").loc["psnr"]
change = audit.changes().query("table == 2 and no == @top['no'] and base == @top['base']").iloc[0]
decibels = change["psnr_change"]
Markdown(
    f"Per cent of decibels depend on the level: {top['largest']:.2f} % of "
    f"{change['psnr_base']:.1f} dB are **{decibels:.2f} dB**, and {decibels:.2f} dB are "
    f"{1 - 10 ** (-decibels / 20):.1%} of RMSE: the third figure is the first once more. "
    f"Not reached: {', '.join(percentages.query('not reaches')['metric']).upper() or 'none'}."
)

# %% [markdown]
# ## 10. Where the asymmetric loss does not win

# %%
lost = audit.not_winning()
print(f"{len(lost)} of {3 * len(audit.changes())} printed pairs")
lost

# %% [markdown]
# ## 11. EDSR with MSE: an error that all ten images share
#
# Table 3's gains are the largest of all. The printed PSNRs by column, and plain bicubic
# upsampling of the 100 test images of BSD300 beside them *(that, with the images, from
# `results/audit/`)*:

# %%
bicubic = pd.read_csv(AUDIT / "bicubic.csv", dtype={"image": str})
drawn(audit_figures.spread(printed, bicubic))

# %%
spread = failed_column.column_spread()
failed = spread.query("table == 3 and loss == 'mse'").iloc[0]
worst = bicubic.query("scale == 3")["psnr"]
Markdown(
    f"EDSR with MSE has {failed['mean']:.1f} dB, an error of {failed['error']:.2f} of the full "
    f"range, and the same on all images to within {failed['range']:.2f} dB. Enlarging by three "
    f"without any network gives {worst.mean():.1f} dB, and {worst.min():.1f} dB at its worst. "
    f"A gain over such a column says little about a loss."
)

# %% [markdown]
# The same findings, with all their numbers, are in
# [results/audit/audit.md](../results/audit/audit.md). To run it all on your own copies of the
# data sets: `ASYREPRO_DATA=/path/to/datasets asyrepro audit`.
