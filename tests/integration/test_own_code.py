"""A network and a task of your own, from --config-dir to a report that is verified."""

import os
import subprocess
import sys

import pytest
import torch
from helpers import DNCNN, configured, refuses, spawn
from omegaconf import OmegaConf
from torch import nn

import asyrepro
from asyrepro.runs import config
from asyrepro.runs.execution import Job
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system.errors import ConfigError
from asyrepro.tasks import Denoising

PACKAGE = """
from torch import nn
from asyrepro.tasks import Task, check_size, to_float


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return x + self.layer(x)


class Blur(Task):
    baseline, mode = "smeared", "grey"

    def __init__(self, size=3):
        self.size = size

    def prepared(self, degraded):
        pool = nn.functional.avg_pool2d
        return pool(degraded, self.size, 1, self.size // 2, count_include_pad=False)

    def inputs(self, stored, generator=None):
        return self.prepared(stored)

    def test_pair(self, image, name):
        label = to_float(check_size(image, name))[None]
        return self.prepared(label), label

    def degraded(self, inputs):
        return inputs
"""
MODEL = """
name: mine
network: {_target_: ownpkg.Net, width: 4000, _convert_: all}
input: {mode: grey}
"""
FAILING = """
from torch import nn

class Loss(nn.Module):
    def forward(self, output, label):
        raise ValueError("no luck")
"""

SETTINGS = [
    "--config-dir", "conf", "model=mine", "task=blur", "recipe=dncnn", "dataset=bundled",
    "testset=bundled_validation", "validation=bundled_validation", "recipe.steps=2", "study=s",
    "recipe.batch=1", "runtime.device=cpu", "profile=smoke",
]  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Runs the program in a folder with a package of one's own; returns (status, both outputs)."""
    root = tmp_path_factory.mktemp("own")
    for name, text in {
        "ownpkg.py": PACKAGE,
        "conf/model/mine.yaml": MODEL,
        "conf/task/blur.yaml": "_target_: ownpkg.Blur\nsize: 3\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])

    def run(*arguments):
        said = spawn(*arguments, folder=root, PYTHONPATH=path)
        return said.status, said.out + said.err

    run.root = root
    # Wherever Hydra works, results are where the command was typed.
    sweep = run("train", "-m", *SETTINGS, "loss=mae,mse", "hydra.job.chdir=true")
    assert sweep[0] == 0, sweep[1]
    return run


def test_everything_takes_code_that_the_user_trusts(own):
    rows = sorted(own.root.glob("results/s/*/*/seed0/rows.csv"))
    assert [path.parents[1].name for path in rows] == ["mae", "mse"]
    weights = rows[0].with_name("weights.pt")
    before = rows[0].read_text()
    rows[0].unlink()  # to be evaluated again by the command that names the network itself
    status, said = own("train", *SETTINGS, "loss=mae")
    assert status == 0 and rows[0].read_text() == before, said
    evaluation = ["evaluate", f"checkpoint={weights}", "testset=bundled_validation", "device=cpu"]
    status, said = own(*evaluation)
    assert status == 2 and "ownpkg.Net" in said and "trust=ownpkg" in said
    status, said = own(*evaluation, "trust=ownpkg")
    assert status == 0 and "smeared" in said, said
    status, said = own("report", "study=s")
    assert status == 0, said
    assert "smeared" in (own.root / "results/s/metrics.csv").read_text()
    status, said = own("verify", "results/s", "device=cpu")
    assert status == 0 and "not checked" in said and "trust=ownpkg" in said, said
    status, said = own("verify", "results/s", "device=cpu", "trust=ownpkg")
    assert status == 0 and "2 evaluated again" in said and "not checked" not in said, said


def test_the_installed_command_finds_code_in_the_folder_in_which_it_is_typed(own):
    script = own.root / "bin/asyrepro"  # as pip writes it
    script.parent.mkdir()
    script.write_text("import sys\nfrom asyrepro.__main__ import main\nsys.exit(main())\n")
    source = os.path.dirname(os.path.dirname(asyrepro.__file__))
    done = subprocess.run(
        [sys.executable, script, "train", *SETTINGS, "loss=mae", "study=typed"],
        cwd=own.root, env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(own.root.glob("results/typed/*/mae/seed0/rows.csv"))


BROKEN = [  # what a file of your own does, and what the sentence must name
    ("import no_such_module", "no_such_module"),
    ("1 / 0", "ZeroDivisionError"),
    ("def f(:", "broken.py"),
]


@pytest.mark.parametrize(("text", "name"), BROKEN)
def test_why_a_file_of_your_own_cannot_be_imported(tmp_path, monkeypatch, text, name):
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with refuses(ConfigError, "broken.Loss", name):
        config.make(OmegaConf.create({"_target_": "broken.Loss"}))


class Own(nn.Module):
    """A network, or a loss, of one convolution that has one fault."""

    def __init__(self, fault="", width=None):
        super().__init__()
        self.fault = fault
        self.layer = nn.LazyConv2d(1, 1) if fault == "lazy" else nn.Conv2d(1, 1, 1)
        if fault == "frozen":
            self.requires_grad_(False)

    def forward(self, x, label=None):
        assert self.fault != "assert"
        if self.fault == "training" and self.training:
            raise ValueError("too few scales")
        if self.fault == "key":
            {}["foo"]
        return self.layer(x) if label is None else self.layer(x - label).mean()


class Counting(Own):
    def get_extra_state(self):
        return {"calls": 1}


class Task(Denoising):
    def stored(self, label):
        return label.float() / 255


class Schedule:
    def __init__(self, optimizer):
        pass

    def step(self):
        pass


class Schedules(torch.optim.lr_scheduler.LambdaLR):
    def __init__(self, optimizer):
        self.rule = lambda step: 1
        super().__init__(optimizer, self.rule)


def half_mae(output, label):
    """A loss that is no torch.nn.Module."""
    return (output - label).abs().mean() / 2


REFUSED = {  # what is another setting's, and what the sentence names
    "state": ("model.network", {"_target_": "Counting"}, "Counting", "_extra_state"),
    "lazy": ("model.network", {"_target_": "Own", "fault": "lazy"}, "Own", "layer.weight"),
    "frozen": ("model.network", {"_target_": "Own", "fault": "frozen"}, "Own", "requires_grad"),
    "assertion": ("model.network", {"_target_": "Own", "fault": "assert"}, "AssertionError"),
    "key": ("model.network", {"_target_": "Own", "fault": "key"}, "KeyError", "foo", __file__),
    "trained loss": ("loss.criterion", {"_target_": "Own"}, "mae", "layer.weight"),
    "no state": ("recipe.scheduler", {"_target_": "Schedule"}, "Schedule", "state_dict"),
    "a function": ("recipe.scheduler", {"_target_": "Schedules"}, "Schedules", "rule"),
    "two arguments": ("loss.criterion", {"_target_": "half_mae"}, f"{__name__}.half_mae", "label"),
    "floats": ("task", {"_target_": "Task"}, "Task", "torch.float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_before_any_image_is_read(tmp_path, name):
    key, node, *named = REFUSED[name]
    cfg = resolve(configured(tmp_path, *DNCNN, "loss=mae"))
    node = {**node, "_target_": f"{__name__}.{node['_target_']}"}
    if key == "recipe.scheduler":
        node["_partial_"] = True
    OmegaConf.update(cfg, key, node, merge=False, force_add=True)
    with refuses(ConfigError, *named):
        Job.prepared(cfg, Run(tmp_path))


def test_a_network_that_fails_in_training_alone(tmp_path):
    cfg = resolve(configured(tmp_path, *DNCNN, "loss=mae"))
    cfg.model.network = {"_target_": f"{__name__}.Own", "fault": "training"}
    step = Job.prepared(cfg, Run(tmp_path)).bare_step()
    with refuses(ConfigError, "training", "too few scales"):
        step()


def test_a_loss_without_a_name_is_refused(own):
    path = own.root / "conf/loss/noname.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("criterion:\n  _target_: torch.nn.L1Loss\n")
    study = ["profile=smoke", "study=noname", "experiment=table2_srcnn", "dataset=bundled"]
    for command in (["train", *SETTINGS], ["train", "-m", *SETTINGS], ["reproduce", *study]):
        status, said = own(*command, "--config-dir", "conf", "loss=noname")
        assert status == 2 and len(said.splitlines()) == 1, said
        assert "loss" in said and "name" in said


def test_what_code_of_ones_own_raises_is_told_with_its_place(own):
    (own.root / "failing.py").write_text(FAILING)
    path = own.root / "conf/loss/failing.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("name: failing\ncriterion:\n  _target_: failing.Loss\n")
    status, said = own("train", *SETTINGS, "loss=failing")
    assert status == 2 and "no luck" in said and "failing.py, line 6" in said, said


def test_a_sweep_that_fails_says_so_wherever_hydra_works(own):
    failing = ["recipe.optimizer.lr=1e30", "recipe.steps=20", "results=failed"]
    failing += ["loss=mse,asy_mse", "hydra.job.chdir=true"]
    status, said = own("train", "-m", *SETTINGS, *failing)
    assert status == 1 and said.count("failed: failed") == 2, said
    assert said.count(f"--config-dir {own.root / 'conf'}") == 2, said  # the commands to repeat them
    assert len(list(own.root.glob("failed/s/*/*/seed0/failed.txt"))) == 2
