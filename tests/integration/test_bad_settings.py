"""Bad settings and command lines, in tables: each is refused in a line that names what is wrong."""

import functools

import pytest
import torch
from helpers import ROOT, assert_refused, call, refuses, small_images, spawn
from omegaconf import OmegaConf
from torch import nn

from asyrepro.data import catalogue
from asyrepro.models import SRCNN
from asyrepro.runs import checks, config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system.errors import CheckpointError, ConfigError
from asyrepro.tasks import SuperResolution
from asyrepro.training import checkpoint
from asyrepro.training.loop import Trainer

pytestmark = pytest.mark.usefixtures("nowhere")

# ---------------------------------------------------------------------------------- configurations


@functools.cache
def composed(*overrides):
    return config.compose(["profile=smoke", "dataset=bundled", *overrides])


def configured(setting, value, *overrides):
    cfg = composed(*overrides).copy()
    OmegaConf.update(cfg, setting, value, merge=False, force_add=True)
    return cfg


SR, DENOISE = "experiment=table2_srcnn", "experiment=table4_dncnn"
VALUES = [  # what is wrong, and what the sentence must name beside setting and value
    (SR, "task.scale", 5, "scale", "4"),
    (SR, "task.scale", 2.0, "scale", "4"),
    (DENOISE, "task.sigma", -1, "sigma", "255"),
    (DENOISE, "task.sigma", float("nan"), "sigma", "255"),
    (DENOISE, "task.sigma", 1e9, "sigma", "255"),
    (DENOISE, "task.sigma", "loud", "sigma", "255"),
    (DENOISE, "task.mode", "gray", "mode", "grey"),
    (SR, "task.border", "zeros", "border", "mirror"),
    (SR, "recipe.patch", 0),
    (SR, "recipe.patch", 37, "scale 3"),
    (SR, "recipe.steps", -5),
    (SR, "recipe.steps", 1.5, "integer"),
    (SR, "recipe.steps", "ten", "integer"),
    (SR, "recipe.steps", None, "integer"),
    (SR, "recipe.batch", 0),
    (SR, "recipe.batch", True, "integer"),
    (SR, "recipe.optimizer.lr", -1e-3),
    (SR, "recipe.optimizer.lr", float("nan"), "number"),
    (SR, "recipe.clip", -1),
    (SR, "recipe.ema", 1),
    (SR, "recipe.log_every", 0),
    (SR, "recipe.validate_every", -1),
    (SR, "validation", None, "validation", "null", "recipe.validate_every=0"),
    (SR, "max_steps", 0),
    (SR, "seed", "a", "integer"),
    (SR, "seed", -1),
    (SR, "seed", 2**40),
    (SR, "runtime.threads", 0),
    (SR, "runtime.download", "no", "boolean"),
    (SR, "amp", "maybe", "auto"),
    (SR, "table", 7, "5"),
    (SR, "study", ""),
    (SR, "study", 1e3, "study='...'"),
    (SR, "study", "../x", "results=FOLDER"),
    (SR, "row", "a/b"),
    (SR, "row", 5),
    (SR, "loss.name", ["mae"]),
    (SR, "loss.name", None),
    (SR, "profile.benchmarks", None, "benchmarks"),
    (SR, "recipe.scheduler", None),
    (SR, "recipe.whiten", ["layers"]),
    (SR, "testset", "set13", "set14"),
    (SR, "benchmarks", ["set99"], "set5"),
    (SR, "benchmarks", "set5", "list"),
    (SR, "dataset.name", "bsd30", "bsd300"),
    (f"{SR} loss=asy_mae_table1", "loss.criterion.quartile", 0.3, "0.75"),
    (f"{SR} loss=asy_mae", "loss.criterion.base", "l1", "'mae'"),
    (SR, "loss.criterion._target_", "torch.nn.L1Los", "_target_"),
    (SR, "loss.criterion", 5, "loss.criterion"),
    (SR, "recipe.scheduler.total_steps", "${recipe.step}", "recipe.step"),
    (SR, "runtime.device", "mps", "cuda:N"),
    (SR, "runtime.device", "gpu", "cuda:N"),
]


@pytest.mark.parametrize(
    ("overrides", "setting", "value", "names"),
    [(*wrong[:3], wrong[3:]) for wrong in VALUES],
    ids=[f"{setting}={value}" for _, setting, value, *_ in VALUES],
)
def test_value(overrides, setting, value, names):
    """Refused before a folder is made, and before any data is fetched or read."""
    shown = "null" if value is None else "true" if value is True else str(value)
    with refuses(ConfigError, *(names or (setting, shown))):
        resolve(configured(setting, value, *overrides.split()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_without_cuda():
    with refuses(ConfigError, "device is cuda", "device=cpu"):
        resolve(configured("runtime.device", "cuda", SR))


EDSR = "experiment=table3_edsr"
UNREDUCED = {"_target_": "torch.nn.L1Loss", "reduction": "none"}


class Pair(nn.Identity):
    """A network that returns a tuple."""

    def forward(self, x):
        return x, x


class Fours(nn.Module):
    """A network for images whose sides are multiples of four."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 2, 4, stride=4), nn.ConvTranspose2d(2, 1, 4, stride=4)

    def forward(self, x):
        return x + self.up(self.down(x))


class ReadsValues(Fours):
    """Cannot be run without arithmetic."""

    def forward(self, x):
        return super().forward(x / float(x.max() + 1))


class Plain(nn.L1Loss):
    def forward(self, output, label):
        return super().forward(output, label).item()


class Parts(nn.L1Loss):
    def forward(self, output, label):
        return {"loss": super().forward(output, label)}


class Detached(nn.L1Loss):
    def forward(self, output, label):
        return super().forward(output.detach(), label)


def named(target, **options):
    """What Hydra makes an object of a class of torch, or of one here, of."""
    found = target if "." in target else f"{__name__}.{target}"
    return {"_target_": found, **options}


COLOUR = named("torch.nn.Conv2d", in_channels=3, out_channels=3, kernel_size=1)
PLATEAU = named("torch.optim.lr_scheduler.ReduceLROnPlateau", _partial_=True)
CLOSURE = named("torch.optim.LBFGS", lr=1.0, _partial_=True)
FUNCTION = named("torch.nn.functional.l1_loss", _partial_=True)
UNFIT = [  # a setting that does not fit the others, and what the sentence names
    (SR, "model.input.mode", "rgb", "(1, 3, 36, 36)", "image_channels", "model.input"),
    (EDSR, "model.input.enlarged", True, "(1, 3, 108, 108)", "(1, 3, 36, 36)", "model.input"),
    (SR, "recipe.optimizer.betas", [0.9, 2.0], "recipe.optimizer", "2.0"),
    (SR, "recipe.scheduler.pct_start", 2.0, "recipe.scheduler", "pct_start", "2.0"),
    (SR, "recipe.optimizer._target_", "no.such", "no.such", "_target_"),
    (SR, "recipe.scheduler.total_steps", 2, "recipe.scheduler", "2", "6"),
    (SR, "loss.criterion", UNREDUCED, "mae", "(1, 1, 36, 36)", "loss.criterion"),
    (SR, "recipe.lr_scale", {"border": 0.1}, "recipe.lr_scale", "'border'"),
    (SR, "model.network.kernels", [4, 1, 5], "kernel", "[4, 1, 5]"),
    (SR, "model.network", named("Pair"), "tuple", "model.network"),
    (SR, "model.network", COLOUR, "(1, 1, 36, 36)", "3 channels", "model.network"),
    (SR, "loss.criterion", named("Plain"), "mae", "float"),
    (SR, "loss.criterion", named("Parts"), "mae", "dict"),
    (SR, "loss.criterion", named("Detached"), "mae", "gradient"),
    (SR, "loss.criterion", named("torch.nn.NLLLoss"), "mae", "36", "3D"),
    (SR, "loss.criterion", FUNCTION, "l1_loss", "torch.nn.Module"),
    (SR, "recipe.scheduler", PLATEAU, "recipe.scheduler", "ReduceLROnPlateau", "metrics"),
    (SR, "recipe.optimizer", CLOSURE, "recipe.optimizer", "LBFGS", "closure"),
]


@pytest.mark.parametrize(
    ("overrides", "setting", "value", "names"), [(*wrong[:3], wrong[3:]) for wrong in UNFIT]
)
def test_network_that_does_not_fit(tmp_path, monkeypatch, overrides, setting, value, names):
    """Refused before any data is read, whatever the loss would make of such tensors."""
    monkeypatch.setattr(catalogue, "training_set", None)
    cfg = resolve(configured(setting, value, *overrides.split(), "runtime.device=cpu"))
    with refuses(ConfigError, *names):
        carry_out(cfg, Run(tmp_path / "study" / "table" / "mae" / "seed0"))


def test_a_network_whose_weights_no_command_would_load(tmp_path):
    cfg = resolve(configured("model.network.channels", 2000, DENOISE, "runtime.device=cpu"))
    with refuses(CheckpointError, "channels", "1,024"):
        carry_out(cfg, Run(tmp_path / "study" / "table4" / "mae" / "seed0"))


@pytest.mark.parametrize(
    "looked_at", [("recipe.validate_every=0",), ("testset=null", "table=null")]
)
def test_a_network_that_takes_patches_but_no_image(tmp_path, monkeypatch, looked_at):
    """Refused before training, as the sides of a test or validation image are no multiples of 4."""
    monkeypatch.setattr(Trainer, "run", None)
    given = (SR, "runtime.device=cpu", "recipe.whiten=null", *looked_at)
    cfg = resolve(configured("model.network", named("Fours"), *given))
    with small_images(), refuses(ConfigError, "'tripod'", "(1, 1, 135, 135)"):
        carry_out(cfg, Run(tmp_path / "study" / "table2" / "mae" / "seed0"))


def test_looking_for_sizes_changes_nothing_and_lets_through_what_cannot_be_told():
    task, network, reads = SuperResolution(3, "luma"), Fours(), ReadsValues()
    before, state = checkpoint.digest(network.state_dict()), torch.get_rng_state()
    good, bad = (torch.zeros(1, 1, side, side) for side in (48, 45))
    checks.check_shapes(network, task, 36, {"good": (good, good)})
    with refuses(ConfigError, "'bad'"):
        checks.check_shapes(network, task, 36, {"good": (good, good), "bad": (bad, bad)})
    checks.check_shapes(reads, task, 36, {"bad": (bad, bad)})
    assert checkpoint.digest(network.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.device.type == "cpu" and p.requires_grad for p in network.parameters())


def test_a_patch_that_is_smaller_than_the_kernel_to_be_whitened(tmp_path):
    small = ("budget=cpu", "recipe.patch=6", "runtime.device=cpu")
    cfg = resolve(configured("recipe.steps", 2, SR, *small))
    with refuses(ConfigError, "recipe.whiten", "9 x 9"):
        carry_out(cfg, Run(tmp_path / "study" / "table2" / "mae" / "seed0"))


def test_a_data_set_to_fall_back_on_that_there_is_not():
    with refuses(ConfigError, "'x'", "bsd300"):
        resolve(config.compose(["profile=smoke", "fallback=true", "dataset.instead=x"]))


MISSPELT = [  # arguments, and what the sentence must name
    ("los=mae", "'los'", "'loss'"),
    ("loss=asymae", "asymae", "'asy_mae'", "mse"),
    ("recipe.step=5", "'recipe.step'", "'recipe.steps'"),
    ("task.sigm=3", "'task.sigm'", "'task.sigma'"),
    ("task.sigma=3", "'task.sigma'"),
    ("lr=0.1", "'lr'", "'recipe.optimizer.lr'"),
    ("recipe.lr=0.1", "'recipe.lr'", "'recipe.optimizer.lr'"),
    ("~loss.nam", "'loss.nam'", "'loss.name'"),
    ("zzz=1", "'zzz'"),
    ("+loss.name=x", "'loss.name'"),
    ("+benchmark=[set5]", "'benchmark'", "'benchmarks'"),  # which nothing reads
    ("+recipe.step=5", "'recipe.step'", "'recipe.steps'"),
    ("-m +zzz=1,2", "'zzz'"),
    ("loss=mae,mse", "loss=mae,mse", "-m"),
    ("loss", "'loss'", "name=value"),
    ("loss=mse loss.name=mae", "loss=mse", "mae"),  # or its runs would pass for those of MAE
    ("loss=mse --nope", "--nope"),
    ("recipe.steps=[", "'recipe.steps=['", "name=value"),
    ("study=\u00e9t\u00e9", "study=\u00e9t\u00e9", "name=value"),
    ("-m loss=mae,,mse", "'loss=mae,,mse'", "name=value"),
    ("profile=quik", "quik", "'quick'", "smoke"),
    ("experiment=table9", "table9", "table2_srcnn"),
    ("recipe=srcn", "srcn", "'srcnn'"),
    ("hydra/launcher=proceses", "proceses", "'processes'", "basic"),
    ("-m loss=mae,asymae", "asymae", "'asy_mae'"),
    ("-m +loss.base=mae", "loss.base", "mae"),
    ("-m +loss.base=a:b", "loss.base", "a:b"),
    ("-m recipe.batch=4,0", "recipe.batch", "0"),
    ("-m loss=glob(asy_*) seed=range(0,2) task.scale=2,7", "scale", "7", "4"),
    ("-m seed=range(0,0)", "values"),
    ("dataset=photos/train", "photos/train", "dataset.name="),
    ("-m --cfg job loss=mae", "--multirun", "--cfg"),
    ("hydra.run.dir=elsewhere", "hydra.run.dir", "results="),
]


@pytest.mark.parametrize(("arguments", "names"), [(first, rest) for first, *rest in MISSPELT])
def test_misspelt_setting(tmp_path, monkeypatch, arguments, names):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which the command changes
    assert_refused(call("train", *arguments.split(), f"results={tmp_path}"), *names)
    assert not list(tmp_path.glob("*/*/*/*"))  # nothing was run


def test_exit_status_of_a_misspelt_setting(tmp_path):
    said = spawn("train", "los=mae", f"results={tmp_path}")
    assert_refused(said, "'loss'")
    assert said.out == ""


@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_a_file_of_your_own_that_would_not_be_read(tmp_path, command):
    own = tmp_path / "mine" / "loss" / "mae.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: mae\ncriterion: {_target_: torch.nn.SmoothL1Loss}\n")
    said = call(command, "loss=mae", "--config-dir", own.parents[1], f"results={tmp_path}")
    assert_refused(said, own)


def test_a_setting_of_your_own_that_others_refer_to():
    own = ["+width=[8,8]", "+loss.weight=2", "+recipe.factor=1"]
    references = ["model.network.channels=${width}", "recipe.clip=${.factor}"]
    cfg = composed(*own, *references, "+loss.criterion.weight=${loss.weight}")
    assert config.plain(cfg).model.network.channels == [8, 8]


def test_good_flags_still_work(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    said = call("train", "task.scale=2", "--cfg", "job", "seed=1", "--package", "task")
    assert said.status == 0 and "scale: 2" in said.out


KEPT = ROOT / "results" / "paper-cpu" / "weights" / "table3/mae/seed0.pt"
LONG = "x" * 300  # no file system takes it, as one would refuse a folder that may not be entered
GOOD_EVALUATION = "checkpoint=w.pt testset=set5"
COMMANDS = [  # a command line, and the names that the sentence must contain; more by each command
    ("reproduce", "profile=smok", "'smok' 'smoke'"),
    ("reproduce", "profile=smoke recipe.steps=1,2", "recipe.steps=1,2"),
    ("reproduce", "profile=smoke seed=", "seed="),
    ("reproduce", "profile=smoke seed=0,1,0", "seed=0,1,0 '0'"),
    ("reproduce", "profile=smoke losses=mse", "'losses' 'loss'"),
    ("reproduce", "profile=smoke seed=one", "seed 'one'"),
    ("reproduce", "profile=smoke loss=asymae", "'asymae' 'asy_mae'"),
    ("reproduce", "profile=smoke max_steps=-1", "max_steps -1"),
    ("reproduce", "profile=smoke modle=srcnn", "'modle' 'model'"),
    ("reproduce", "profile=smoke model.network.deep=3", "+model.network.deep="),
    ("reproduce", "profile=smoke +benchmark=[set5]", "'benchmark' 'benchmarks'"),
    ("evaluate", "w.pt", "'w.pt' name=value"),
    ("evaluate", "testset=set5", "checkpoint="),
    ("evaluate", "checkpoint=none.pt testset=set5", "none.pt"),
    ("evaluate", "checkpoint=0123 testset=set5", "0123"),
    ("evaluate", "checkpoint= testset=set5", "checkpoint="),
    ("evaluate", f"checkpoint={KEPT} testset=set5 task.scale=4", "task.scale=4"),
    ("evaluate", f"checkpoint={KEPT} testset=set5 task.boarder=mirror", "'boarder' 'border'"),
    ("evaluate", f"checkpoint={KEPT} testset=set5 task.border=mirrored", "'mirrored' mirror"),
    ("evaluate", f"{GOOD_EVALUATION} download=perhaps", "download=perhaps"),
    ("evaluate", f"{GOOD_EVALUATION} task=x", "task="),
    ("evaluate", f"{GOOD_EVALUATION} output=weights.pt", "weights.pt .csv"),
    ("evaluate", "checkpoint=none.pt testset=set5 device=gpu", "'gpu'"),
    ("restore", "a.png checkpoint=w.pt output=", "output="),
    *(
        (command, arguments.replace("LONG", LONG), LONG)
        for command, arguments in (
            ("evaluate", "checkpoint=LONG testset=set5"),
            ("restore", "LONG checkpoint=w.pt"),
            ("compare", "LONG LONG"),
            ("verify", "LONG"),
            ("report", "study=LONG"),
            ("identify", "LONG"),
            ("audit", "output=LONG"),
            ("reproduce", "profile=smoke loss=mae experiment=table2_srcnn runtime.data=/LONG"),
        )
    ),
]


@pytest.mark.parametrize(("command", "arguments", "names"), COMMANDS)
def test_command(command, arguments, names):
    assert_refused(call(command, *arguments.split()), *names.split(" "))


@pytest.mark.parametrize("option", ["task.sigma={", "task.sigma=${x}", "task.scal=2"])
def test_evaluating_for_a_task_with_a_wrong_option(tmp_path, option):
    cfg = OmegaConf.to_container(composed(SR), resolve=True)
    state = {"network": SRCNN().state_dict(), "config": OmegaConf.to_yaml(cfg)}
    checkpoint.save(tmp_path / "weights.pt", state)
    said = call("evaluate", f"checkpoint={tmp_path / 'weights.pt'}", "testset=set5", option)
    assert_refused(said, option.partition("=")[0].removeprefix("task."))


@pytest.mark.parametrize("command", ["reproduce", "train"])
def test_a_package_installed_without_configurations(monkeypatch, tmp_path, command):
    monkeypatch.setattr(config, "CONFIGS", tmp_path / "configs")
    assert_refused(call(command, "profile=smoke"), tmp_path / "configs")
