"""What networks, losses, tasks and data sets are called in tables, figures and text."""

import re

import pandas as pd

from asyrepro.paper.tables import MODEL_TITLES
from asyrepro.runs import results

TASK_TITLES = {
    2: "Super-resolution",
    3: "Super-resolution",
    4: "Denoising",
    5: "Denoising",
}
DATASET_TITLES = {
    "bsd300": "BSD300",
    "bsd400": "BSD400 (train and test images of BSDS500)",
    "div2k": "DIV2K",
    "bundled": "bundled stand-in data",
}
TEST_SETS = {  # in order
    "set5": "Set5", "set14": "Set14", "set12": "Set12", "bsd68": "BSD68",
    "bsd90": "BSD300, 90 images",
}  # fmt: skip
LOSS_TITLES = {
    "charbonnier": "Charbonnier",
    "huber": "Huber",
    "mae_ms_ssim": "MAE + MS-SSIM (3 scales)",
    "mae_gradient": "MAE + gradient",
    "mae_focal_frequency": "MAE + focal frequency",
}


def model_title(model: str) -> str:
    """``edsr`` -> ``EDSR``, as the paper writes it; any other network keeps its name."""
    return MODEL_TITLES.get(model, model)


def dataset_title(name: str) -> str:
    """``bsd300`` -> ``BSD300``; any other training set keeps its name."""
    return DATASET_TITLES.get(name, name)


def network(model: str, dataset: str) -> str:
    """``SRCNN, trained on BSD300``."""
    return f"{model_title(model)}, trained on {dataset_title(dataset)}"


def testset_title(name: str) -> str:
    """``set5`` -> ``Set5``, ``table2`` -> ``Table 2's images``; any other keeps its name."""
    if re.fullmatch(r"table\d", name):
        return f"Table {name[-1]}'s images"
    return TEST_SETS.get(name, name)


def loss_title(loss: str) -> str:
    """``asy_mae`` -> ``Asy_MAE``, as the paper's column heads are written."""
    if loss in LOSS_TITLES:
        return LOSS_TITLES[loss]
    words = loss.split("_")
    upper = {"mae": "MAE", "mse": "MSE", "asy": "Asy"}
    return "_".join(upper.get(word, word) for word in words)


def baseline_title(name: str) -> str:
    """``noisy`` -> ``Noisy``, as the paper's column heads are written."""
    return name[:1].upper() + name[1:]


def model_rank(model: str) -> tuple[int, str]:
    """Sort key: the paper's networks in its order, then any others by name."""
    return _rank(model, MODEL_TITLES)


def testset_rank(name: str) -> tuple[int, str]:
    """Sort key: the literature's test sets, then any others by name."""
    return _rank(name, TEST_SETS)


def _rank(name: str, order: dict) -> tuple[int, str]:
    return (list(order).index(name) if name in order else len(order), name)


def of_rows(rows: pd.DataFrame) -> dict[str, str]:
    """The titles of all baselines and losses in rows of the tidy table, baselines first."""
    trained = set(results.of_runs(rows)["loss"])
    return {
        name: loss_title(name) if name in trained else baseline_title(name)
        for name in results.present(rows)
    }
