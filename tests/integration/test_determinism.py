"""One seed gives the same bits on the CPU, whatever the process did before.

The number of threads is part of the device: sums are split among them, and rounded differently.
"""

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from asyrepro.data import bundled
from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.training import checkpoint
from asyrepro.training.loop import CHECKPOINT, Trainer

SMALL = {  # experiment -> what makes its network tiny; shuffled weights draw random numbers
    "table2_srcnn": ["recipe.patch=24", "loss=asy_mse_shuffled"],
    "table3_edsr": ["model.network.blocks=1", "model.network.channels=8", "loss=asy_mae"],
    "table4_dncnn": ["model.network.layers=4", "model.network.channels=8", "loss=asy_mae_shuffled"],
    "table5_dphsir": ["model.network.width=2", "loss=mse"],
}
IMAGES = {"coat": ("camera.png", 0, 272, 96, 96), "fur": ("chelsea.png", 0, 0, 112, 100)}


def configured(experiment):
    settings = [
        f"experiment={experiment}", "profile=smoke", "dataset=bundled", "testset=null", "seed=3",
        "recipe.steps=4", "recipe.log_every=1", "recipe.patch=24", "recipe.batch=2",
        "recipe.validate_every=0", "runtime.checkpoint_seconds=0", "runtime.progress=false",
        "runtime.device=cpu", "runtime.download=false", "runtime.threads=1",
    ]  # fmt: skip
    return resolve(config.compose([*settings, *SMALL[experiment]]))


def weights(experiment, folder):
    """The digest of the weights that an experiment's run ends with."""
    folder = Path(folder) / "study" / experiment / "loss" / "seed3"
    before = torch.get_num_threads()
    try:
        with mock.patch.object(bundled, "TRAINING", IMAGES):
            carry_out(configured(experiment), Run(folder))
    finally:
        torch.set_num_threads(before)
    return checkpoint.digest(checkpoint.load(folder / "weights.pt")["network"])


@pytest.fixture(scope="module")
def in_order(tmp_path_factory):
    """Digests of the four runs, trained one after the other in this process."""
    root = tmp_path_factory.mktemp("order")
    return {experiment: weights(experiment, root) for experiment in SMALL}


@pytest.fixture(scope="module")
def reversed_order(tmp_path_factory):
    """The same from a fresh process, the last run first."""
    root = tmp_path_factory.mktemp("reversed")
    code = "import json, sys, test_determinism as t; print(json.dumps(t.reverse(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def reverse(root):
    return {experiment: weights(experiment, root) for experiment in reversed(SMALL)}


@pytest.mark.parametrize("experiment", SMALL)
def test_neither_the_process_nor_the_order_of_runs_counts(in_order, reversed_order, experiment):
    assert in_order[experiment] == reversed_order[experiment]


def test_each_run_has_weights_of_its_own(in_order):
    assert len(set(in_order.values())) == len(SMALL)


@pytest.mark.parametrize("experiment", SMALL)
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path, in_order, experiment):
    class Cut(Exception):
        pass

    def save_and_die(self, save=Trainer.save):
        save(self)
        raise Cut

    with mock.patch.object(Trainer, "save", save_and_die), pytest.raises(Cut):
        weights(experiment, tmp_path)
    [path] = tmp_path.rglob(CHECKPOINT)
    assert checkpoint.load(path)["step"] == 1
    torch.rand(5)  # what else the process does must not count
    assert weights(experiment, tmp_path) == in_order[experiment]
