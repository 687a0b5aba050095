"""What networks, losses, tasks and data sets are called in tables, figures and text."""

from asyrepro.runs.results import BASELINES

MODEL_TITLES = {"srcnn": "SRCNN", "edsr": "EDSR", "dncnn": "DnCNN", "dphsir": "DPHSIR"}
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
TEST_SETS = {"set5": "Set5", "set14": "Set14", "set12": "Set12", "bsd68": "BSD68"}  # in order


def model_title(model: str) -> str:
    """``edsr`` -> ``EDSR``, as the paper writes it; a network of one's own keeps its name."""
    return MODEL_TITLES.get(model, model)


def loss_title(loss: str) -> str:
    """``asy_mae`` -> ``Asy_MAE``, as the paper's column heads are written; Bicubic, Noisy."""
    if loss in BASELINES:
        return loss.capitalize()
    words = loss.split("_")
    upper = {"mae": "MAE", "mse": "MSE", "asy": "Asy"}
    return "_".join(upper.get(word, word) for word in words)
