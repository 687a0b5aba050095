# %% [markdown]
# # The asymmetric loss
#
# Zhu et al. (2023) multiply the loss of each pixel by a weight that depends on the grey value of
# the *label*, the high-quality image: dark pixels count more, bright ones less. This notebook
# looks at that weight: how large it is, what it does to the gradients, what training can feel
# of it.
#
# The photographs are those inside the scikit-image package, so nothing is downloaded.

# %%
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import Markdown
from torch import nn

from asyrepro.data.catalogue import test_set, training_set
from asyrepro.data.sampler import PatchSampler
from asyrepro.losses import AsymmetricLoss, asymmetric_weight
from asyrepro.models import SRCNN
from asyrepro.report import flowchart
from asyrepro.system import style
from asyrepro.tasks import Denoising, SuperResolution, to_float

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"dpi": 120}
torch.manual_seed(0)
torch.set_num_threads(1)
matplotlib.rcParams.update(style.RC)

# %% [markdown]
# ## 1. One photograph and its mask
#
# Eq. (2) of the paper, with $I$ the label's grey value in [0, 1]:
#
# $$M = 0.5\,\tanh\!\left(\frac{1}{I + 10^{-10}}\right) + 0.5$$
#
# `asymmetric_weight` is this formula. To look at another photograph, change its name.

# %%
PHOTO = "coffee_cup"

tests = test_set("bundled", mode="rgb")
pictures = dict(zip(tests.names, tests.images, strict=True))
print("photographs:", *pictures)

# %% [markdown]
# Something to restore: the photograph reduced to a third and upsampled again, bicubically.

# %%
task = SuperResolution(scale=3, mode="rgb")
output, label = task.test_pair(pictures[PHOTO], PHOTO)
mask = asymmetric_weight(label)
print(f"label {tuple(label.shape)}, mask {tuple(mask.shape)}")
print(f"weights from {mask.min():.4f} to {mask.max():.4f}, mean {mask.mean():.4f}")

# %% [markdown]
# The method in one picture. Mind the last scale: what the weights take off the error is small,
# and lies where the label is bright.

# %%
images = {"input": output[0], "label": label[0], "mae": output[0]}
flowchart.method(images, "mae", f"Eq. (2) on {PHOTO}, bicubic in place of a network")

# %% [markdown]
# ## 2. The weight of each grey value


# %%
def weight(grey, **options):
    """The weight of each grey value of one image, given as a flat array."""
    image = torch.as_tensor(grey, dtype=torch.float32).reshape(1, 1, 1, -1)
    return asymmetric_weight(image, **options).flatten().numpy()


some = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
pd.DataFrame({"grey value": some, "weight": weight(some)}).set_index("grey value").T.round(4)

# %%
ramp = np.linspace(0, 1, 1001)
middle, white = weight([0.5, 1.0])
nearly_one = ramp[weight(ramp) >= 0.99].max()
Markdown(
    f"White weighs {white:.4f}, **{1 - white:.1%} less than black**: that is the whole range. "
    f"Up to a grey value of {nearly_one:.2f} the weight is within 1 % of black's, and at mid-grey "
    f"it has lost {1 - middle:.1%}. So eq. (2) hardly tells dark pixels from medium ones; it holds "
    "bright pixels back a little."
)

# %% [markdown]
# ## 3. Table 1 describes another weight
#
# The paper's pseudo-code, its Table 1, does not agree with its equations:
#
# - the mask starts from `Q1 / label`, with `Q1` a quartile of the image's own grey values, where
#   eq. (2) has `1 / label`;
# - the mask multiplies output *and* label *before* the criterion. With MAE that is the same as
#   eq. (5), $M\,|F - I|$. With MSE it is $M^2\,(F - I)^2$: the mask counts twice.
#
# "The 25th percentile ... in descending order" can be read as the quartile near the darkest pixel
# (0.25) or near the brightest (0.75), and `TH()` is taken to be the tanh of eq. (2).

# %%
tests = test_set("bundled", mode="grey")
photos = {name: to_float(x)[None] for name, x in zip(tests.names, tests.images, strict=True)}
grey = np.sort(photos[PHOTO].flatten().numpy())
quartiles = np.quantile(grey, [0.25, 0.75])
print(f"{PHOTO}: quartiles of the grey values {quartiles[0]:.3f} and {quartiles[1]:.3f}")

# %%
fig = style.figure(2.6)
ax = fig.subplots()
ax.plot(ramp, weight(ramp), color=style.BLUE, label="eq. (2)")
for quartile, colour in ((0.75, style.SKY), (0.25, style.VERMILLION)):
    mask = weight(grey, variant="table1", quartile=quartile)
    ax.plot(grey, mask, color=colour, label=f"Table 1, quartile {quartile}: MAE")
    ax.plot(grey, mask**2, color=colour, ls="--", label=f"Table 1, quartile {quartile}: MSE")
ax.set(xlabel="grey value of the label", ylabel="weight in the loss", xlim=(0, 1), ylim=(0, 1.03))
ax.set_title(f"Weights of the grey values of {PHOTO}")
ax.grid(axis="y")
ax.legend(frameon=False, loc="lower left")
fig

# %% [markdown]
# ## 4. The weights of ten photographs
#
# Table 1 reweights far more than eq. (2), and how much depends on the photograph.

# %%
rows = []
for name, photo in photos.items():
    grey = photo.flatten()
    equation, table1 = weight(grey), weight(grey, variant="table1")
    rows.append(
        {
            "photograph": name,
            "mean grey": grey.mean().item(),
            "dark (< 0.3)": (grey < 0.3).float().mean().item(),
            "eq. (2): least": equation.min(),
            "eq. (2): mean": equation.mean(),
            "Table 1: least": table1.min(),
            "Table 1: mean": table1.mean(),
            "Table 1, MSE: mean": (table1**2).mean(),
        }
    )
by_photo = pd.DataFrame(rows).set_index("photograph").sort_values("mean grey")
by_photo.round(3)

# %%
mean = by_photo.mean()
Markdown(
    f"Over these photographs eq. (2) weighs {mean['eq. (2): mean']:.3f} on average, so the loss is "
    f"**{1 - mean['eq. (2): mean']:.1%} smaller** than without weights; under Table 1 it is "
    f"{1 - mean['Table 1: mean']:.0%} smaller with MAE and {1 - mean['Table 1, MSE: mean']:.0%} "
    "with MSE."
)

# %% [markdown]
# ## 5. Gradients by grey value
#
# An output that is wrong by the same amount at every grey value, and autograd: how hard does each
# loss pull at a pixel? Beside the paper's losses there are three controls:
#
# - *normalized*: the same weights, rescaled to a mean of 1, so that the loss is not smaller;
# - *shuffled*: the same weights at random places, so that they know nothing of grey values;
# - *inverted*: bright pixels weigh most.

# %%
WEIGHTS = {
    "no weights": None,
    "eq. (2)": {},
    "Table 1": {"variant": "table1"},
    "normalized": {"normalize": True},
    "shuffled": {"shuffle": True},
    "inverted": {"invert": True},
}
colours = (style.BLACK, style.BLUE, style.SKY, style.ORANGE, style.GREEN, style.PINK)
COLOURS = dict(zip(WEIGHTS, colours, strict=True))


def loss_function(base, kind, reduction="mean"):
    """MAE or MSE ("mae", "mse") under one of WEIGHTS."""
    if kind == "no weights":
        return nn.L1Loss(reduction=reduction) if base == "mae" else nn.MSELoss(reduction=reduction)
    return AsymmetricLoss(base, reduction=reduction, **WEIGHTS[kind])


# %%
ERROR = 0.1

label = torch.linspace(0, 1, 101).reshape(1, 1, 1, -1)
gradients = pd.DataFrame(index=pd.Index(np.linspace(0, 1, 101), name="label"))
for base in ("mae", "mse"):
    for kind in WEIGHTS:
        output = (label + ERROR).requires_grad_()
        loss_function(base, kind, reduction="sum")(output, label).backward()
        gradients[base.upper(), kind] = output.grad.abs().flatten().numpy()
gradients.columns = pd.MultiIndex.from_tuples(gradients.columns)
gradients.iloc[[0, 25, 50, 75, 100]].round(3).T

# %%
fig = style.figure(2.9)
for ax, base in zip(fig.subplots(1, 2), ("MAE", "MSE"), strict=True):
    for kind, values in gradients[base].items():
        look = {"shuffled": {"ls": "", "marker": "o", "ms": 2}, "no weights": {"ls": "--"}}
        ax.plot(values, color=COLOURS[kind], label=kind, **look.get(kind, {}))
    ax.set(xlabel="grey value of the label", title=f"|gradient| of a pixel's {base}", xlim=(0, 1))
    ax.set_ylim(0, 1.15 * gradients[base, "no weights"].max())
    ax.grid(axis="y")
below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.04), "ncols": 6, "frameon": False}
fig.legend(*ax.get_legend_handles_labels(), **below)
fig

# %% [markdown]
# With MAE the gradient *is* the weight, whatever the error; with MSE it is twice weight times
# error (for Table 1: weight squared). Autograd agrees with these formulas:

# %%
mask, mask1 = weight(gradients.index), weight(gradients.index, variant="table1")
formulas = {
    ("MAE", "eq. (2)"): mask,
    ("MSE", "eq. (2)"): 2 * ERROR * mask,
    ("MAE", "Table 1"): mask1,
    ("MSE", "Table 1"): 2 * ERROR * mask1**2,
}
for column, formula in formulas.items():
    difference = np.abs(gradients[column] - formula).max()
    print(*column, "as the formula says:", difference < 1e-6)

# %% [markdown]
# ## 6. What 12 % of reweighting means
#
# Every mask is a number times a mask of mean 1. The number makes the whole loss smaller; only the
# rest is asymmetric. What does the number do?

# %%
SCALE = float(mean["eq. (2): mean"])


def step_length(optimizer, scale):
    """How far one parameter moves in its first step when its loss is multiplied by `scale`."""
    parameter = nn.Parameter(torch.ones(1))
    optimizer = optimizer([parameter], lr=0.01)
    (scale * parameter**2).sum().backward()
    optimizer.step()
    return 1 - parameter.item()


for name in ("SGD", "Adam"):
    optimizer = getattr(torch.optim, name)
    ratio = step_length(optimizer, SCALE) / step_length(optimizer, 1)
    print(f"{name:4}: a loss {SCALE:.4f} times as large makes a step {ratio:.4f} times as long")

# %% [markdown]
# Under SGD the number is a smaller learning rate, nothing more. Adam divides by the gradient's
# own size and does not notice it, nor does Muon, which sets all singular values of a layer's
# update to about one. What the studies in `results/` that keep their runs' folders were trained
# with (`optimisers`, which keeps none, has SRCNN by SGD, with weights rescaled to mean 1 beside):

# %%
configs = [path.read_text() for path in Path("../results").glob("*/*/*/seed*/config.yaml")]
sorted(
    {name for text in configs for name in re.findall(r"_target_: (\S+\.(?:Adam|SGD|Muon))", text)}
)

# %% [markdown]
# Then the asymmetric rest. How much of the loss sits in dark pixels, for the error of bicubic
# upsampling? Mean over the photographs:

# %%
task = SuperResolution(scale=3, mode="grey")
shares = []
for name, image in zip(tests.names, tests.images, strict=True):
    output, label = task.test_pair(image, name)
    for base in ("mae", "mse"):
        for kind in WEIGHTS:
            loss = loss_function(base, kind, reduction="none")(output, label)
            shares.append((base.upper(), kind, (loss[label < 0.3].sum() / loss.sum()).item()))
shares = pd.DataFrame(shares, columns=["base", "weights", "share"])
shares = shares.groupby(["weights", "base"], sort=False)["share"].mean().unstack()
shares.map("{:.1%}".format)

# %% [markdown]
# And how far do the weights turn the direction in which a network is pushed? The angle between
# the gradient without weights and the one with weights, on the same patches; beside it, between
# two batches of patches without any weights, which is the noise that every training has anyway.

# %%
network = SRCNN(kernels=(5, 1, 5), channels=(16, 8))
regions = training_set("bundled", mode="grey").images
batches = PatchSampler(regions, Denoising(sigma=25), patch=32, batch=8, seed=0)


def direction(base, kind, batch):
    """The network's gradient under a loss as one vector of length 1."""
    inputs, label = batch
    loss = loss_function(base, kind)(network(inputs), label)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.parameters())])
    return gradient / gradient.norm()


angles = []
for _ in range(8):
    batch, other = next(batches), next(batches)
    for base in ("mae", "mse"):
        plain = direction(base, "no weights", batch)
        turned = {kind: direction(base, kind, batch) for kind in list(WEIGHTS)[1:]}
        turned["another batch, no weights"] = direction(base, "no weights", other)
        for kind, gradient in turned.items():
            angle = torch.rad2deg(torch.arccos((plain @ gradient).clamp(max=1))).item()
            angles.append((base.upper(), kind, angle))
angles = pd.DataFrame(angles, columns=["base", "weights", "degrees"])
angles = angles.groupby(["weights", "base"], sort=False)["degrees"].mean().unstack()
angles.round(1)

# %% [markdown]
# ## 7. A small experiment: where does the error go?
#
# Training is noisy, and small effects drown in it. So here is a denoiser small enough to be
# solved instead of trained: random filters with a ReLU, whose outputs are added up with the
# factors that are *the best there are* for the weighted loss. For MSE these solve a linear
# system; for MAE, a few linear systems one after the other (iteratively reweighted least
# squares).

# %%
SIGMA, FILTERS = 25, 48

random = torch.Generator().manual_seed(1)
filters = torch.randn(FILTERS, 1, 5, 5, generator=random) / 5
biases = torch.rand(FILTERS, generator=random) - 0.5


def features(noisy):
    """(N, 1, H, W) -> (pixels, features): the 5 x 5 neighbours, the random filters, a constant."""
    padded = F.pad(noisy, [2] * 4, mode="replicate")
    near = F.unfold(padded, 5)
    filtered = F.conv2d(padded, filters, biases).relu().flatten(2)
    both = torch.cat([near, filtered, torch.ones_like(near[:, :1])], dim=1)
    return both.movedim(1, 2).flatten(0, 1).double()


def solve(x, y, weights):
    """The factors with the least weighted squared error."""
    weighted = x * weights[:, None]
    ridge = 1e-6 * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(weighted.T @ x + ridge, weighted.T @ y)


def fit(x, y, weights, base):
    """The factors with the least weighted squared or absolute error."""
    factors = solve(x, y, weights)
    for _ in range(5 if base == "mae" else 0):
        factors = solve(x, y, weights / (x @ factors - y).abs().clamp(min=1e-3))
    return factors


# %%
sampler = PatchSampler(regions, Denoising(sigma=SIGMA), patch=16, batch=128, seed=0)
noisy, label = next(sampler)
x, y = features(noisy), label.flatten().double()
fitted = {}
for base in ("mae", "mse"):
    for kind in WEIGHTS:
        # an error of 1 everywhere costs what the loss weighs each pixel
        weights = loss_function(base, kind, reduction="none")(label + 1, label)
        fitted[base, kind] = fit(x, y, weights.flatten().double(), base)
print(f"{len(fitted)} fits of {x.shape[1]} factors to {len(y):,} pixels")

# %% [markdown]
# The test photographs, noisy, through all of these denoisers. First PSNR, in dB, of all pixels
# together:

# %%
task = Denoising(sigma=SIGMA)
errors = {"grey": []} | {key: [] for key in fitted}
for name, image in zip(tests.names, tests.images, strict=True):
    noisy, label = task.test_pair(image, name)
    x, y = features(noisy), label.flatten().double()
    errors["grey"].append(y)
    for key, factors in fitted.items():
        errors[key].append(x @ factors - y)
errors = {key: torch.cat(parts).numpy() for key, parts in errors.items()}

rows = []
for (base, kind), error in list(errors.items())[1:]:
    psnr = -10 * np.log10((error**2).mean())
    rows.append((base.upper(), kind, psnr))
psnr = pd.DataFrame(rows, columns=["base", "weights", "PSNR"])
psnr.pivot(index="weights", columns="base", values="PSNR").loc[list(WEIGHTS)].round(3)

# %% [markdown]
# Then each loss's own error, absolute or squared, in ten bins of the label's grey value, as the
# change in per cent from the fit without weights:

# %%
bins = np.minimum(errors["grey"] * 10, 9).astype(int)
changes = pd.DataFrame(index=(np.arange(10) + 0.5) / 10)
for (base, kind), error in list(errors.items())[1:]:
    cost = np.abs(error) if base == "mae" else error**2
    changes[base.upper(), kind] = np.bincount(bins, cost) / np.bincount(bins)
changes.columns = pd.MultiIndex.from_tuples(changes.columns, names=["base", "weights"])
for base in ("MAE", "MSE"):
    changes[base] = 100 * (changes[base].div(changes[base, "no weights"], axis=0) - 1)
changes["MSE"].round(2)

# %%
fig = style.figure(2.9)
for ax, base in zip(fig.subplots(1, 2), ("MAE", "MSE"), strict=True):
    for kind, values in changes[base].items():
        look = {"ls": "--"} if kind == "no weights" else {"marker": "o"}
        ax.plot(values, color=COLOURS[kind], label=kind, **look)
    what = "absolute" if base == "MAE" else "squared"
    ax.set(xlabel="grey value of the label", title=f"Change of the {what} error, %", xlim=(0, 1))
    ax.grid(axis="y")
fig.legend(*ax.get_legend_handles_labels(), **below)
fig

# %%
dark, bright = changes.index < 0.3, changes.index > 0.7
for kind in ("eq. (2)", "Table 1", "inverted"):
    moved = changes["MSE", kind]
    print(f"{kind:8}", f"dark {moved[dark].mean():+.2f} %, bright {moved[bright].mean():+.2f} %")

# %% [markdown]
# The error does move out of the dark, as the paper intends, though by far less than the weights
# differ, and comes back in the bright pixels. A model that could make every pixel perfect would not
# feel the weights at all: they are prices, and matter only where one pixel's error must be traded
# for another's. Section 8 of [02_results.ipynb](02_results.ipynb) has these curves for trained
# networks, and its section 5 what remains of them in PSNR.
