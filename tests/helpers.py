"""What several test files need: commands and refusals, small runs, small trainings."""

import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from asyrepro.__main__ import main
from asyrepro.data import bundled, catalogue
from asyrepro.report import study as report
from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.training import checkpoint
from asyrepro.training.loop import HISTORY, Trainer

ROOT = Path(__file__).parents[1]
REAL = os.environ.get("ASYREPRO_DATA")  # before any test changes it
needs_data = pytest.mark.skipif(not REAL, reason="needs real data sets: set ASYREPRO_DATA")

# -- commands and refusals


class Said(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def door(*words) -> int:
    """``asyrepro WORDS ...`` in this process: its exit status."""
    return main([str(word) for word in words])


def call(*words) -> Said:
    """The same, with what it printed."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = door(*words)
    return Said(status, out.getvalue(), err.getvalue())


def spawn(*words, folder=None, **environment) -> Said:
    """``asyrepro WORDS ...`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "asyrepro", *map(str, words)],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def assert_names(text, *names):
    """Assert that a message is one line that has these names."""
    assert "\n" not in text.removesuffix("\n"), text
    for name in names:
        assert str(name) in text, (name, text)


def assert_refused(said, *names):
    """Assert that a command ended with status 2 and one line that has these names."""
    assert said.status == 2, said
    assert said.err.startswith("error: "), said.err
    assert_names(said.err, *names)


@contextmanager
def refuses(error, *names):
    """Within this, an error of this type is raised, whose one line has these names."""
    with pytest.raises(error) as caught:
        yield caught
    assert_names(str(caught.value), *names)


# -- small runs

TINY = [
    "profile=smoke", "dataset=bundled", "recipe.steps=2", "recipe.batch=1", "study=tiny",
    "recipe.validate_every=0", "runtime.progress=false", "runtime.device=cpu",
    "runtime.download=false",
]  # fmt: skip
SRCNN = [  # a rate that keeps the network near its start, whose weights half precision holds
    "experiment=table2_srcnn", "model.network.channels=[4,3]", "recipe.optimizer.lr=1e-6",
]  # fmt: skip
DNCNN = ["experiment=table4_dncnn", "model.network.layers=3", "model.network.channels=4"]


@contextmanager
def small_images():
    """The stand-in images cut down to what takes no time: one to train on, two to test on."""
    camera, grass = ("camera.png", 216, 240, 136, 136), ("grass.png", 144, 144, 132, 130)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "TRAINING", {"coat": ("camera.png", 0, 272, 160, 160)})
        for name in catalogue.BUNDLED_TESTS:
            patch.setitem(catalogue.BUNDLED_TESTS, name, {"tripod": camera, "grass": grass})
        report._test_set.cache_clear()
        yield
    report._test_set.cache_clear()


def configured(root, *overrides):
    """The configuration of a tiny run whose results lie below ``root``."""
    return config.compose([*TINY, f"results={root}", *overrides])


def asked(*overrides, loss="mae", seed=0):
    """The configuration of a tiny run of Table 2."""
    return configured("results", *SRCNN, f"loss={loss}", f"seed={seed}", *overrides)


def train(root, *overrides, folder=None):
    """Carry out a tiny run on the small images: its Run, in this folder or in its settings' own."""
    cfg = configured(root, *overrides)
    run = Run(folder) if folder else Run.of(cfg)
    with small_images():
        carry_out(resolve(cfg, run), run)
    return run


# -- what pages tell to run

LAUNCHERS = ("asyrepro", "make", "python", "torchrun", "while", "srun")


def commands(text):
    """The words of every ``asyrepro ...`` and ``make ...`` in a Markdown page's blocks of code."""
    found, fenced = [], False
    for line in text.replace("\\\n", " ").splitlines():
        fenced ^= line.startswith("```")
        if not (fenced or line.startswith("    ")):
            continue
        line = re.sub(r"^([A-Z_]+=\S+ )+", "", line.strip()).partition("; ")[0]
        if line.startswith(LAUNCHERS):
            words = shlex.split(line, comments=True)
            starts = [i for i, word in enumerate(words) if word in ("asyrepro", "make")]
            found += [words[starts[0] :]] if starts else []
    return found


# -- a training of one weight and one bias


NEVER = 1e9  # seconds between checkpoints


class Lines:
    """A sampler of points (x, 2x + 1), for a network of one weight and one bias."""

    batch = 4

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def __next__(self):
        x = torch.rand(4, 1, 2, 2, generator=self.generator)
        return x, 2 * x + 1

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


def trainer(folder, steps=20, lr=0.1, criterion=None, total=None, **settings):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total or steps)
    settings = {"amp": False, "label": None, "log_every": 5, "checkpoint_seconds": 0, **settings}
    return Trainer(
        network, criterion or nn.MSELoss(), Lines(), optimizer, scheduler,
        steps=steps, folder=folder, **settings,
    )  # fmt: skip


class Signals(Lines):
    """Sends this process a signal while the training's ``step``-th step is under way."""

    def __init__(self, step, number):
        super().__init__()
        self.left, self.number = step, number

    def __next__(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().__next__()


def course(run):
    """What must not depend on interruptions: the weights, and the history but for its times."""
    rows = [{k: row[k] for k in ("step", "loss", "lr", "val_psnr")} for row in run.history]
    return checkpoint.digest(run.trained.state_dict()), rows


def steps_and_losses(folder):
    """The history that is on the disk, without its times."""
    return [line.split(",")[:4] for line in (folder / HISTORY).read_text().splitlines()]
