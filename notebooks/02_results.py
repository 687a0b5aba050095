# %% [markdown]
# # The results
#
# Every number of a study is a row of one table, `results/<study>/metrics.csv`: one image,
# restored by one network, trained with one loss and one seed. This notebook makes the tables,
# radar charts, verdicts and interval plots from it, and picks rows by image, loss and seed. The
# names in capitals at the top of a cell are there to be changed.

# %%
import matplotlib
import numpy as np
import pandas as pd
from IPython.display import Markdown

from asyrepro import paper
from asyrepro.analysis import verdicts
from asyrepro.analysis.summary import summarise
from asyrepro.paper import claims
from asyrepro.report import forest, radar, tables
from asyrepro.report import mechanism as mechanism_report
from asyrepro.runs import results
from asyrepro.system import style

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"dpi": 120}
matplotlib.rcParams.update(style.RC)
pd.options.display.max_colwidth = 100

# %% [markdown]
# ## 1. What there is
#
# Add the names of studies of your own.

# %%
STUDIES = ["paper-cpu", "edsr-long", "dncnn-seeds", "dphsir-seeds", "srcnn-seeds"]

studies = {study: results.plain(results.load(f"../results/{study}")) for study in STUDIES}
columns = ["table", "model", "dataset", "loss", "seed", "image", "psnr", "ssim", "rmse", "nrmse"]
studies[STUDIES[0]].query("loss == 'mae'")[columns].head(4)

# %%
published = paper.tables()
summaries = {
    (study, table): summarise(rows, table)
    for study, rows in studies.items()
    for table in sorted(rows["table"].dropna().unique())
}
overview = {
    key: {
        "network": found.model_title,
        "trained on": found.dataset,
        "steps": " to ".join(f"{n:,}" for n in found.iterations),
        "losses": len(found.losses),
        "seeds": max(map(len, found.seeds.values())),
        "images": len(found.images),
        "the paper's images": found.same_images,
    }
    for key, found in summaries.items()
}
pd.DataFrame(overview).T.rename_axis(["study", "table"])

# %% [markdown]
# ## 2. One of the paper's tables
#
# Seeds are averaged; the paper's numbers stand beside ours.

# %%
STUDY, TABLE = "paper-cpu", 4

Markdown(tables.markdown(tables.grids(summaries[STUDY, TABLE])).replace("# Table", "### Table"))

# %% [markdown]
# The means of all tables, PSNR in dB. Each second row is the paper's; it can be compared directly
# only where the images are the paper's own.

# %%
rows = {}
for (study, table), found in summaries.items():
    shown = [found.baseline, *results.PAPER_LOSSES]
    rows[study, table, "ours"] = {loss: found.mean(loss, "psnr") for loss in shown}
    rows[study, table, "paper"] = {
        loss: found.paper_values(loss, "psnr").mean() for loss in results.PAPER_LOSSES
    }
pd.DataFrame(rows).T.rename_axis(["study", "table", ""]).round(3).astype(object).fillna("")

# %% [markdown]
# ## 3. Radar charts
#
# The paper's Fig. 4, 7, 9 and 10: a spoke for each image. Dashed lines are the paper's, where the
# images are the same; bars span the seeds, where there are several.

# %%
STUDY, TABLE = "paper-cpu", 4

radar.of_summary(summaries[STUDY, TABLE])

# %%
STUDY, TABLE = "srcnn-seeds", 2

radar.of_summary(summaries[STUDY, TABLE])

# %% [markdown]
# ## 4. Pick rows
#
# An empty list keeps everything.

# %%
STUDY, TABLE = "srcnn-seeds", 2
LOSSES = ["bicubic", "mae", "asy_mae"]
SEEDS = [0, 1, 2]
IMAGES = ["3096", "8023", "12084"]
METRIC = "psnr"  # psnr, ssim, rmse or nrmse

rows = summaries[STUDY, TABLE].rows
for column, wanted in {"loss": LOSSES, "image": IMAGES}.items():
    rows = rows[rows[column].isin(wanted or rows[column])]
rows = rows[rows["seed"].isin(SEEDS or rows["seed"]) | rows["seed"].isna()]
rows = rows.assign(seed=rows["seed"].astype("string").fillna("-"))
rows.pivot(index="image", columns=["loss", "seed"], values=METRIC).round(3)

# %% [markdown]
# A change is a difference within one seed, because the losses of one seed start from the same
# weights and see the same patches. One dot is a seed; the bar is their mean.

# %%
STUDY, TABLE = "srcnn-seeds", 2
LOSS, BASE = "asy_mse", "mse"
METRIC = "psnr"

found = summaries[STUDY, TABLE]
change = found.per_seed(LOSS, METRIC, BASE)
fig = style.figure(2.4)
ax = fig.subplots()
for seed in change:
    ax.plot(change.index, change[seed], ls="", marker="o", color=style.SKY, alpha=0.7)
bar = {"ls": "", "marker": "_", "ms": 14, "mew": 2, "color": style.BLUE}
ax.plot(change.index, change.mean(axis=1), label="mean of the seeds", **bar)
ax.axhline(0, color=style.BLACK, lw=0.6)
unit = " (dB)" if METRIC == "psnr" else ""
ax.set(xlabel="image", ylabel=f"change of {METRIC.upper()}{unit}")
ax.set_title(f"{STUDY}, Table {TABLE}: {LOSS} minus {BASE}, {change.shape[1]} seeds")
ax.legend(frameon=False)
fig

# %%
change.describe().T.drop(columns="count").round(4)

# %% [markdown]
# ## 5. Do the paper's claims hold?
#
# The rules stand in `asyrepro/paper/claims.yaml`; intervals are over seeds and images. This is the
# main one:

# %%
STUDY = "srcnn-seeds"

comparisons = verdicts.verdicts(studies[STUDY], published)
Markdown("> " + claims.RULES["change"])

# %%
shown = ["loss", "against", "metric", "change", "lower", "upper", "paper_change", "verdict"]
claimed = comparisons[comparisons["kind"].isin(["claim", "reading"])]
claimed[shown].set_index(["loss", "against", "metric"]).round(5)

# %% [markdown]
# All claims that this study can speak to, training time and places in the image among them, as
# `asyrepro report` wrote them down:

# %%
claims = pd.read_csv(f"../results/{STUDY}/claims.csv")
shown = ["place", "quantity", "paper", "measured", "lower", "upper", "unit", "verdict"]
claims[shown].round(4).astype(object).fillna("")

# %%
claims["verdict"].value_counts()

# %% [markdown]
# Have the files been made from these very rows?

# %%
written = pd.read_csv(f"../results/{STUDY}/verdicts.csv")
numbers = ["change", "lower", "upper", "p"]
same = np.allclose(written[numbers], comparisons[numbers], rtol=1e-4, atol=1e-8, equal_nan=True)
print("verdicts.csv has the intervals worked out above:", same)

# %% [markdown]
# And the answer for each network: the changes of PSNR in its study of six seeds or more that has
# the most steps.

# %%
STRONGEST = {2: "paper-cpu", 3: "edsr-long", 4: "dncnn-seeds", 5: "dphsir-seeds"}

judged = {study: verdicts.verdicts(studies[study], published) for study in STRONGEST.values()}
every = pd.concat(judged[study].query("table == @table") for table, study in STRONGEST.items())
every = every.query("metric == 'psnr' and kind == 'claim'")
shown = ["model", "loss", "against", "seeds", "change", "lower", "upper", "paper_change", "verdict"]
every[shown].set_index(["model", "loss", "against"]).round(3)

# %% [markdown]
# ## 6. Interval plots
#
# Right of zero is better for PSNR and SSIM, left of zero for NRMSE. The grey band is how far two
# runs of one loss differ when nothing but the seed does.

# %%
TABLE = 2

forest.of_table(comparisons[comparisons["table"] == TABLE], f"{STUDY}, Table {TABLE}")

# %% [markdown]
# ## 7. The asymmetry, or only a smaller loss?
#
# The controls have the same weights rescaled to a mean of 1, or shuffled over the pixels, or
# turned round. An effect is put down to the asymmetry if the shuffled weights do not have it, and
# to the loss's scale if the rescaled ones do not.

# %%
contrasts = comparisons[comparisons["kind"] == "contrast"]
contrasts[["loss", "against", "metric", "change", "lower", "upper", "verdict"]].round(5)

# %%
verdicts.attribution(comparisons).drop(columns=["model", "dataset"])

# %% [markdown]
# ## 8. Where in the image the error changes
#
# The paper's reason for its loss is that dark pixels should gain. Change of the squared error by
# the label's grey value and by the strength of its edges:

# %%
STUDY, TABLE = "srcnn-seeds", 2

places = pd.read_csv(f"../results/{STUDY}/mechanism.csv")
mechanism_report.draw(
    places[places["table"] == TABLE], f"{STUDY}, Table {TABLE}: where the error changes"
)

# %%
regions = pd.read_csv(f"../results/{STUDY}/regions.csv")
regions[["loss", "quantity", "measured", "lower", "upper", "direction"]].round(2).fillna("")

# %% [markdown]
# More of each study is in its folder: `tables/`, `figures/`, `verdicts.md`. How the weights do
# this is the subject of [01_asymmetric_loss.ipynb](01_asymmetric_loss.ipynb), and what the
# paper's own numbers are that of [03_paper_audit.ipynb](03_paper_audit.ipynb).
