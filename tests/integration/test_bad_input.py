"""Bad input, in tables: what is done, and the one sentence that comes of it.

In a message PATH stands for the file's path and "..." for anything. What is odd but good (16 bits,
CMYK, palettes, transparency, animations, EXIF orientation, 1 x 1 and 20,000 pixels, any name) is in
test_images.py with the values that it is read as; what losses and metrics refuse is in
test_losses.py and test_metrics.py.
"""

import functools
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from helpers import encoded, files_below, fill, picture, png, tar, zipped
from omegaconf import OmegaConf
from PIL import Image

from asyrepro.commands import (
    audit,
    compare,
    evaluate,
    identify,
    reproduce,
    restore,
    train,
    verify,
)
from asyrepro.commands import (
    data as get_data,
)
from asyrepro.commands import report as report
from asyrepro.data import catalogue, decoding, download, images
from asyrepro.data.sampler import PatchSampler
from asyrepro.models import SRCNN, DnCNN
from asyrepro.runs import config, evaluation, parts
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.tasks import Denoising, SuperResolution
from asyrepro.training import checkpoint
from asyrepro.training.loop import CHECKPOINT, Trainer

pytestmark = pytest.mark.usefixtures("nowhere")


def says(text, message, path=""):
    """Assert that ``text`` is one line, and the message as described above."""
    parts = message.replace("PATH", str(path)).split("...")
    assert re.fullmatch(".*".join(map(re.escape, parts)), text), text
    assert "\n" not in text


# ------------------------------------------------------------------------------------------ images

JPEG = encoded(Image.fromarray(picture(64, 64)), "JPEG")
PNG = encoded(Image.fromarray(picture(64, 64)))


def floating_point_colours():
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8, 8, 3), np.float32), photometric="rgb")
    return file.getvalue()


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


DAMAGED = "PATH is damaged or cut short (...): fetch or copy it again"
NO_IMAGE = "PATH is not an image that can be read: use one of PNG, JPEG, BMP, TIFF, GIF, WEBP, PPM"
TOO_LARGE = "PATH has more than 89 million pixels: cut or shrink it first"
IMAGES = {
    "truncated JPEG": (JPEG[: len(JPEG) // 2], DAMAGED),
    "JPEG header only": (JPEG[:20], NO_IMAGE),
    "truncated PNG": (PNG[: len(PNG) // 2], DAMAGED),
    "PNG without its end": (PNG[:-10], DAMAGED),
    "PNG, wrong checksum": (flipped(PNG, PNG.find(b"IEND") - 5), DAMAGED),
    "PNG, one changed bit": (flipped(PNG, PNG.find(b"IDAT") + 3000), DAMAGED),
    "PNG without pixels": (png(4, 4, []), DAMAGED),
    "zero bytes": (b"", "PATH is empty: fetch or copy the file again"),
    "text": (b"this is no picture\n", NO_IMAGE),
    "HTML": (b"<!DOCTYPE html><title>Log in to this network</title>", NO_IMAGE),
    "PDF": (b"%PDF-1.4\n1 0 obj\n", NO_IMAGE),
    "PostScript, which Pillow would run": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        NO_IMAGE,
    ),
    "zero width": (png(0, 4, []), NO_IMAGE),
    "bomb of 900 million pixels": (png(30_000, 30_000, [b"\0"]), TOO_LARGE),
    "90 million pixels": (png(9_000, 10_000, [b"\0"]), TOO_LARGE),
    "floating-point TIFF": (
        encoded(Image.new("F", (4, 4), 0.5), "TIFF"),
        "PATH holds floating-point pixels, whose range is not known: "
        "save it with 8 or 16 bits a channel",
    ),
    "floating-point colours": (
        floating_point_colours(),
        "PATH is a TIFF of a kind that is not read (such as floating-point or 32-bit colours, or "
        "16-bit grey with alpha): save it as PNG, or with 8 bits",
    ),
    "32-bit TIFF": (
        encoded(Image.new("I", (4, 4), 1 << 20), "TIFF"),
        "PATH holds 32-bit pixels, whose range is not known: save it with 8 or 16 bits a channel",
    ),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", IMAGES)
def test_image(tmp_path, name):
    data, message = IMAGES[name]
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        images.read_image(path)
    says(str(caught.value), message, path)


# What scripts/fuzz.py found.
FOUND = {
    # torchvision's decoder ended the process, so that Pillow's reads these files now
    "16-bit PNG with too few pixels": (png(7450, 4, [bytes(160)] * 4, depth=16, colour=6), DAMAGED),
    # 4 GB of memory were asked for, to count the pixels
    "PNG that promises 4 GB": (PNG[:33] + b"\xff\xff\xff\xff" + PNG[37:158], DAMAGED),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_by_fuzzing(tmp_path, name):
    data, message = FOUND[name]
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for read in (images.read_image, decoding.read):
        with pytest.raises(DataError) as caught:
            read(path)
        says(str(caught.value), message, path)
    assert decoding.count_pixels(path) > 0


def broken_link(path):
    path.symlink_to(path.with_name("gone.png"))


def unreadable(path):
    path.write_bytes(PNG)
    path.chmod(0)


PATHS = {
    "missing": ("a.png", lambda path: None, "PATH does not exist: check the path"),
    "a folder": ("a.png", lambda path: path.mkdir(), "PATH cannot be read: Is a directory"),
    "broken link": ("a.png", broken_link, "PATH is a broken link: restore the file it names"),
    "no permission": ("a.png", unreadable, "PATH may not be read: change its permissions"),
    "text, spaces in its name": ("two words.png", lambda path: path.write_bytes(b"x"), NO_IMAGE),
    "text, Unicode name": ("grün 写真.png", lambda path: path.write_bytes(b"x"), NO_IMAGE),
}


@pytest.mark.parametrize("name", PATHS)
def test_path(tmp_path, name):
    file, make, message = PATHS[name]
    if name == "no permission" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    make(tmp_path / file)
    with pytest.raises(DataError) as caught:
        images.read_image(tmp_path / file)
    says(str(caught.value), message, tmp_path / file)


def test_no_permission_for_root_too(monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError) as caught:
        images.read_image("a.png")
    says(str(caught.value), "a.png may not be read: change its permissions")


def test_image_larger_than_the_memory(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise MemoryError

    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(Image.Image, "convert", refuse)
    with pytest.raises(DataError) as caught:
        images.read_image(tmp_path / "a.png")
    message = "PATH does not fit into memory: cut or shrink it first"
    says(str(caught.value), message, tmp_path / "a.png")


def test_names_that_would_break_the_line(tmp_path):
    (tmp_path / "two\nlines.png").write_bytes(b"text")
    for name in ("two\nlines.png", "null\0byte.png"):
        with pytest.raises(DataError) as caught:
            images.read_image(tmp_path / name)
        assert "two\\nlines.png' is not" in str(
            caught.value
        ) or "\\x00byte.png' cannot be read" in (str(caught.value))
        assert "\n" not in str(caught.value) and "\0" not in str(caught.value)


SMALL = torch.zeros(1, 30, 40, dtype=torch.uint8)
USES = {
    "mode": (
        ConfigError,
        lambda: images.check_mode("gray"),
        "unknown image mode 'gray': use one of rgb, grey, luma",
    ),
    "images smaller than a patch": (
        DataError,
        lambda: PatchSampler([SMALL], Denoising(25), patch=32, batch=1, seed=0),
        "a patch needs 32 pixels a side with its margin, but the smallest training image has 30: "
        "choose a smaller patch",
    ),
    "1 x 1 for super-resolution": (
        DataError,
        lambda: SuperResolution(3).test_pair(torch.zeros(1, 1, 1, dtype=torch.uint8), "dot"),
        "the test image 'dot' gives a label of 0 x 0 pixels; it must have 7 x 7 at least, the "
        "window of SSIM: use a larger one",
    ),
    "1 x 1 to denoise": (
        DataError,
        lambda: Denoising(25).test_pair(torch.zeros(1, 1, 1, dtype=torch.uint8), "dot"),
        "the test image 'dot' gives a label of 1 x 1 pixels; ...",
    ),
    "a network that returns another size": (
        ValueError,
        lambda: evaluation.restore(torch.nn.MaxPool2d(2), Denoising(25), SMALL, "x"),
        "the network returned (1, 1, 15, 20) for a label of (1, 1, 30, 40)",
    ),
}


@pytest.mark.parametrize("name", USES)
def test_use(name):
    error, call, message = USES[name]
    with pytest.raises(error) as caught:
        call()
    says(str(caught.value), message)


# ---------------------------------------------------------------------------------- configurations


@functools.cache
def composed(*overrides):
    return config.compose(["profile=smoke", "dataset=bundled", *overrides])


def configured(setting, value, *overrides):
    cfg = composed(*overrides).copy()
    OmegaConf.update(cfg, setting, value, force_add=True)
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
    (SR, "cell", "a/b"),
    (SR, "cell", 5),
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
    with pytest.raises(ConfigError) as caught:
        resolve(configured(setting, value, *overrides.split()))
    text = str(caught.value)
    shown = "null" if value is None else "true" if value is True else str(value)
    for name in names or (setting, shown):
        assert name in text
    assert "\n" not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_without_cuda():
    with pytest.raises(ConfigError) as caught:
        resolve(configured("runtime.device", "cuda", SR))
    says(str(caught.value), "device is cuda, but PyTorch finds no CUDA here; use device=cpu")


UNFIT = [
    (
        *(SR, "model.input.mode", "rgb"),
        "SRCNN expects (N, 1, H, W), got (1, 3, 36, 36); set image_channels to the number of "
        "channels of the images; or check model.input",
    ),
    (
        *("experiment=table3_edsr", "model.input.enlarged", True),
        "the network returns (1, 3, 108, 108) where the label is (1, 3, 36, 36), and no loss "
        "compares these; check model.network and model.input",
    ),
    (
        *(SR, "recipe.optimizer.betas", [0.9, 2.0]),
        "recipe.optimizer cannot be used: Invalid beta parameter at index 1: 2.0",
    ),
    (
        *(SR, "recipe.scheduler.pct_start", 2.0),
        "recipe.scheduler cannot be used: Expected float between 0 and 1 pct_start, but got 2.0",
    ),
    (SR, "recipe.optimizer._target_", "no.such", "there is no no.such; check the _target_"),
    (
        *(SR, "recipe.scheduler.total_steps", 2),
        "recipe.scheduler cannot be used: it ends after 2 of the 6 steps",
    ),
    (
        *(SR, "loss.criterion", {"_target_": "torch.nn.L1Loss", "reduction": "none"}),
        "...loss mae ... (1, 1, 36, 36) ... loss.criterion ...",
    ),
    (
        *(SR, "recipe.lr_scale", {"border": 0.1}),
        "recipe.lr_scale cannot be used: no parameter of the network begins with 'border'",
    ),
    (
        *(SR, "model.network.kernels", [4, 1, 5]),
        "SRCNN needs three odd kernel sizes such as (9, 1, 5), got [4, 1, 5]",
    ),
]


@pytest.mark.parametrize(("experiment", "setting", "value", "message"), UNFIT)
def test_network_that_does_not_fit(tmp_path, monkeypatch, experiment, setting, value, message):
    """Refused before any data is read, whatever the loss would make of such tensors."""
    monkeypatch.setattr(catalogue, "training_set", None)
    cfg = resolve(configured(setting, value, experiment, "runtime.device=cpu"))
    with pytest.raises(ConfigError) as caught:
        carry_out(cfg, Run(tmp_path / "study" / "table" / "mae" / "seed0"))
    says(str(caught.value), message)


def test_a_patch_that_is_smaller_than_the_kernel_to_be_whitened(tmp_path):
    overrides = (SR, "budget=cpu", "recipe.patch=6", "recipe.steps=2", "runtime.device=cpu")
    cfg = resolve(composed(*overrides).copy())
    with pytest.raises(ConfigError) as caught:
        carry_out(cfg, Run(tmp_path / "study" / "table2" / "mae" / "seed0"))
    says(
        str(caught.value),
        "recipe.whiten is ...: its kernel of 9 x 9 is larger than ...: choose ...",
    )


def test_a_data_set_to_fall_back_on_that_there_is_not():
    cfg = config.compose(["profile=smoke", "fallback=true", "dataset.instead=x"])
    with pytest.raises(ConfigError) as caught:
        resolve(cfg)
    assert "'x'" in str(caught.value) and "bsd300" in str(caught.value)


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
    ("loss=mae,mse", "loss=mae,mse", "-m"),
    ("loss", "'loss'", "name=value"),
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
def test_misspelt_setting(tmp_path, monkeypatch, capsys, arguments, names):
    arguments = [*arguments.split(), f"results={tmp_path}"]
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which command_line changes
    monkeypatch.setattr(sys, "argv", ["asyrepro train", *arguments])
    assert train.main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1
    for name in names:
        assert name in text
    assert not list(tmp_path.glob("*/*/*/*"))  # nothing was run


def test_exit_status_of_a_misspelt_setting(tmp_path):
    command = [sys.executable, "-m", "asyrepro", "train", "los=mae", f"results={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert "'loss'" in done.stderr and "Traceback" not in done.stderr


def test_good_flags_still_work(monkeypatch, capsys):
    arguments = ["task.scale=2", "--cfg", "job", "--package", "task"]
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["asyrepro train", *arguments])
    assert train.main(arguments) == 0
    assert "scale: 2" in capsys.readouterr().out


KEPT = Path(__file__).parents[2] / "results" / "paper-cpu" / "weights"
LONG = "x" * 300  # no file system takes it, as one would refuse a folder that may not be entered
GOOD_EVALUATION = "checkpoint=w.pt testset=set5"
COMMANDS = [  # a command line, and the names that the sentence must contain
    (reproduce, "profile=smok", "'smok' 'smoke'"),
    (reproduce, "profile=smoke recipe.steps=1,2", "recipe.steps=1,2"),
    (reproduce, "profile=smoke seed=", "seed="),
    (reproduce, "profile=smoke seed=0,1,0", "seed=0,1,0 '0'"),
    (reproduce, "profile=smoke losses=mse", "'losses' 'loss'"),
    (reproduce, "profile=smoke seed=one", "seed 'one'"),
    (reproduce, "profile=smoke loss=asymae", "'asymae' 'asy_mae'"),
    (reproduce, "profile=smoke loses=mae", "'loses' 'loss'"),
    (reproduce, "profile=smoke max_steps=-1", "max_steps -1"),
    (evaluate, "checkpont=w.pt testset=set5", "'checkpont' 'checkpoint'"),
    (evaluate, "w.pt", "'w.pt' name=value"),
    (evaluate, "testset=set5", "checkpoint="),
    (evaluate, "checkpoint=none.pt testset=set5", "none.pt"),
    (evaluate, "checkpoint=0123 testset=set5", "0123"),
    (evaluate, "checkpoint= testset=set5", "checkpoint="),
    (evaluate, f"checkpoint={KEPT}/table3/mae/seed0.pt testset=set5 task.scale=4", "task.scale=4"),
    (evaluate, f"{GOOD_EVALUATION} download=perhaps", "download=perhaps"),
    (evaluate, f"{GOOD_EVALUATION} sigma=15", "'sigma' 'task.sigma'"),
    (evaluate, f"{GOOD_EVALUATION} task=x", "task="),
    (evaluate, "checkpoint=none.pt testset=set5 device=gpu", "'gpu'"),
    (restore, "a.png checkpoint=w.pt output=", "output="),
    (restore, "a.png checkpoint=w.pt sigma=loud", "sigma=loud"),
    (restore, "a.png checkpoint=w.pt task=sharpen", "'sharpen' denoise"),
    (restore, "a.png checkpoint=w.pt --recursive", "'--recursive' recursive=true"),
    (restore, "x=1.png checkpoint=w.pt", "'x' 'x=1.png'"),
    (report, "sudy=quick", "'sudy' 'study'"),
    (report, "study=none results=nowhere", "nowhere/none"),
    (identify, "nowhere", "nowhere"),
    (identify, "nowhere tables=7", "'7' 2, 3, 4, 5"),
    (get_data, "set55", "'set55' 'set5'"),
    *(
        (command, arguments.replace("LONG", LONG), LONG)
        for command, arguments in (
            (evaluate, "checkpoint=LONG testset=set5"),
            (restore, "LONG checkpoint=w.pt"),
            (compare, "LONG LONG"),
            (verify, "LONG"),
            (report, "study=LONG"),
            (identify, "LONG"),
            (audit, "output=LONG"),
            (reproduce, "profile=smoke loss=mae experiment=table2_srcnn runtime.data=/LONG"),
        )
    ),
]


@pytest.mark.parametrize(
    ("command", "arguments", "names"),
    COMMANDS,
    ids=[f"{command.__name__} {arguments}" for command, arguments, _ in COMMANDS],
)
def test_command(capsys, command, arguments, names):
    assert command.main(arguments.split()) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert all(name in message for name in names.split(" ")), message


@pytest.mark.parametrize("option", ["task.sigma={", "task.sigma=${x}", "task.scal=2"])
def test_evaluating_for_a_task_with_a_wrong_option(tmp_path, capsys, option):
    weights(tmp_path / "weights.pt")
    arguments = [f"checkpoint={tmp_path / 'weights.pt'}", "testset=set5", option]
    assert evaluate.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith("error: ")
    assert option.partition("=")[0].removeprefix("task.") in message


@pytest.mark.parametrize("command", [reproduce.main, train.main])
def test_a_package_installed_without_configurations(capsys, monkeypatch, tmp_path, command):
    monkeypatch.setattr(config, "CONFIGS", tmp_path / "configs")
    assert command(["profile=smoke"]) == 2
    says(
        capsys.readouterr().err.rstrip("\n"),
        f"error: there are no configurations in {tmp_path}/configs: install the package again",
    )


# ------------------------------------------------------------------------------------- checkpoints


class Evil:
    """Makes a folder when it is unpickled by a reader that runs what a pickle asks for."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@functools.cache
def trained():
    """What a weights.pt of SRCNN holds."""
    cfg = OmegaConf.to_container(composed(SR), resolve=True)
    return {"network": SRCNN().state_dict(), "config": OmegaConf.to_yaml(cfg)}


def weights(path, **changes):
    checkpoint.save(path, {**trained(), **changes})


def with_config(path, changes):
    cfg = OmegaConf.create(trained()["config"])
    for name, value in changes.items():
        OmegaConf.update(cfg, name, value, merge=False, force_add=True)
    weights(path, config=OmegaConf.to_yaml(cfg))


def with_weight(path, name, value):
    weights(path, network={**trained()["network"], name: value})


def cut(path, keep):
    weights(path)
    path.write_bytes(path.read_bytes()[:keep])


def one_bit(path):
    weights(path)
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) // 2))


def compressed(path):
    """20 MB in 20 kB: torch would unpack it without a word."""
    file = io.BytesIO()
    torch.save({"format": 1, "zeros": torch.zeros(5_000_000)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    assert path.stat().st_size < 50_000


def broken(value):
    bias = trained()["network"]["map.bias"].clone()
    bias[1] = value
    return bias


BIAS = "map.bias"
OTHER = "PATH holds the weights of another network than SRCNN as it is configured (first ...: {})"
LOST = "PATH is damaged or not a checkpoint (...); copy it again or delete it"
ALIEN = "PATH is not a checkpoint of this program; asyrepro convert takes weights of others"
FOREIGN = "PATH holds more than tensors and plain values, or is damaged; it was not loaded"
STRANGE = "PATH asks for {1} as its {0}, which is not of this program; it was not made; ..."
ALIASES = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
CHECKPOINTS = {
    "missing": (lambda path: None, "there is no checkpoint at PATH"),
    "a folder": (lambda path: path.mkdir(), "there is no checkpoint at PATH"),
    "zero bytes": (lambda path: path.write_bytes(b""), LOST),
    "text": (lambda path: path.write_text("not a checkpoint"), LOST),
    "cut in half": (lambda path: cut(path, 20_000), LOST),
    "cut by its last byte": (lambda path: cut(path, -1), LOST),
    "one bit changed": (one_bit, LOST),
    "compressed": (compressed, LOST.replace("...", "it is compressed, which no checkpoint is")),
    "another program's": (
        lambda path: torch.save({"weights": torch.ones(2)}, path),
        ALIEN,
    ),
    "a list": (lambda path: torch.save([1], path), ALIEN),
    "format that is no number": (
        lambda path: torch.save({"format": torch.ones(2)}, path),
        ALIEN,
    ),
    "format of 600 digits": (
        lambda path: torch.save({"format": 10**600}, path),
        ALIEN,
    ),
    "newer format": (
        lambda path: torch.save({"format": 99}, path),
        "PATH has format 99, this program reads 1: update asyrepro",
    ),
    "pickle that runs code": (
        lambda path: path.write_bytes(pickle.dumps(Evil(path.parent / "evil"))),
        LOST,
    ),
    "torch file that runs code": (
        lambda path: torch.save({"format": 1, "x": Evil(path.parent / "evil")}, path),
        FOREIGN,
    ),
    "of an unfinished training": (
        lambda path: checkpoint.save(path, {"network": {}}),
        "PATH is a checkpoint of an unfinished training; give a weights.pt",
    ),
    "of another network": (
        lambda path: weights(path, network=DnCNN(3, 8).state_dict()),
        OTHER.format("extract.bias"),
    ),
    "of another size": (
        lambda path: weights(path, network=SRCNN((9, 5, 5)).state_dict()),
        OTHER.format("map.weight"),
    ),
    "a weight too few": (
        lambda path: weights(path, network={BIAS: trained()["network"][BIAS]}),
        OTHER.format("extract.bias"),
    ),
    "other precision": (
        lambda path: with_weight(path, BIAS, broken(0).double()),
        OTHER.format(BIAS),
    ),
    "sparse": (lambda path: with_weight(path, BIAS, broken(0).to_sparse()), OTHER.format(BIAS)),
    "a weight's name of two lines": (
        lambda path: with_weight(path, "map\n\x1b[31m.bias", broken(0)),
        OTHER.format("'map\\n\\x1b[31m.bias'"),
    ),
    "a number as weight": (lambda path: with_weight(path, BIAS, 5), OTHER.format(BIAS)),
    "no weights": (
        lambda path: weights(path, network=None),
        "PATH holds no weights of a network",
    ),
    "NaN": (
        lambda path: with_weight(path, BIAS, broken(float("nan"))),
        "PATH holds weights that are not finite (map.bias)",
    ),
    "infinite": (
        lambda path: with_weight(path, BIAS, broken(float("inf"))),
        "PATH holds weights that are not finite (map.bias)",
    ),
    "network that runs code": (
        lambda path: with_config(
            path, {"model.network": {"_target_": "os.mkdir", "path": str(path.parent / "evil")}}
        ),
        STRANGE.format("model.network", "os.mkdir"),
    ),
    "task that runs code": (
        lambda path: with_config(
            path, {"task": {"_target_": "os.mkdir", "path": str(path.parent / "evil")}}
        ),
        STRANGE.format("task", "os.mkdir"),
    ),
    "option that runs code": (
        lambda path: with_config(
            path,
            {"task.mode": {"_target_": "os.mkdir", "path": str(path.parent / "evil")}},
        ),
        STRANGE.format("task", "os.mkdir"),
    ),
    "code reached through this program's modules": (
        lambda path: with_config(
            path,
            {
                "task": {
                    "_target_": "asyrepro.tasks.torch.os.mkdir",
                    "path": str(path.parent / "evil"),
                }
            },
        ),
        STRANGE.format("task", "asyrepro.tasks.torch.os.mkdir"),
    ),
    "partial network": (
        lambda path: with_config(path, {"model.network._partial_": True}),
        STRANGE.format("model.network", "something"),
    ),
    "a thousand million layers": (
        lambda path: with_config(
            path, {"model.network": {"_target_": "asyrepro.models.DnCNN", "layers": 10**9}}
        ),
        "PATH describes a network whose layers is above 1,024; it was not made",
    ),
    "a network of 77 GB": (  # within the largest numbers, so made without memory, and compared
        lambda path: with_config(
            path,
            {
                "model.network": {
                    "_target_": "asyrepro.models.EDSR",
                    "blocks": 1024,
                    "channels": 999,
                }
            },
        ),
        "PATH holds the weights of another network than EDSR as it is configured (first "
        "difference: blocks.0.conv1.bias)",
    ),
    "configuration with scale 5": (
        lambda path: with_config(path, {"task.scale": 5}),
        "PATH holds a configuration that cannot be: scale is 5; it must be one of 2, 3, 4",
    ),
    "configuration without a model": (
        lambda path: weights(path, config="task: {}"),
        "PATH holds a configuration without model.name; copy it again",
    ),
    "configuration that is no YAML": (
        lambda path: weights(path, config="a: [b"),
        "PATH holds no readable configuration (...); copy it again",
    ),
    "configuration that is no text": (
        lambda path: weights(path, config=torch.ones(3)),
        "PATH holds no readable configuration (...); copy it again",
    ),
    "configuration that multiplies": (
        lambda path: weights(path, config=ALIASES),
        "PATH holds no readable configuration (it repeats parts of itself); copy it again",
    ),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint(tmp_path, name):
    make, message = CHECKPOINTS[name]
    path = tmp_path / "weights.pt"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        parts.load(path)
    says(str(caught.value), message, path)
    assert not (tmp_path / "evil").exists()


def test_the_code_in_these_files_does_run_elsewhere(tmp_path):
    """The side effect that the tests above do not see is a real one."""
    for number, name in enumerate(("pickle that runs code", "torch file that runs code")):
        folder = tmp_path / str(number)
        folder.mkdir()
        CHECKPOINTS[name][0](folder / "weights.pt")
        if number:
            torch.load(folder / "weights.pt", weights_only=False)
        else:
            pickle.loads((folder / "weights.pt").read_bytes())
        assert (folder / "evil").is_dir()
    CHECKPOINTS["task that runs code"][0](tmp_path / "weights.pt")
    state = checkpoint.load(tmp_path / "weights.pt")
    config.make(OmegaConf.create(state["config"]).task)
    assert (tmp_path / "evil").is_dir()


def test_good_weights_are_read(tmp_path):
    weights(tmp_path / "weights.pt")
    network, task, _ = parts.load(tmp_path / "weights.pt")
    assert isinstance(network, SRCNN) and isinstance(task, SuperResolution)


def test_checkpoint_without_permission(tmp_path, monkeypatch):
    weights(tmp_path / "weights.pt")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "weights.pt")
    says(str(caught.value), "PATH cannot be read: Permission denied", tmp_path / "weights.pt")


def test_weights_in_the_place_of_a_trainings_checkpoint(tmp_path):
    weights(tmp_path / CHECKPOINT)
    trainer = Trainer(SRCNN(), None, None, None, None, steps=1, folder=tmp_path)
    with pytest.raises(CheckpointError) as caught:
        trainer.resume()
    message = "PATH has no 'signature': it is another kind of checkpoint"
    says(str(caught.value), message, tmp_path / CHECKPOINT)


# ---------------------------------------------------------------------------------------- archives


def written(path, data):
    path.write_bytes(data)
    return path


def lying_zip(path):
    """Its directory says 10 bytes, its data has 10 MB."""
    zipped(path, ("a", bytes(10_000_000)))
    size = (10_000_000).to_bytes(4, "little")
    return written(path, path.read_bytes().replace(size, bytes([10, 0, 0, 0])))


def link_in_zip():
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    return link, b"/etc/passwd"


NOISE = np.random.default_rng(0).bytes(50_000)


def damaged(path, mode, change):
    """An archive of 50 kB of noise, changed afterwards."""
    if mode == "zip":
        zipped(path, ("a", NOISE))
    else:
        tar(path, ("a", NOISE), mode=mode)
    return written(path, change(path.read_bytes()))


def garbled(data):
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0xFF for b in data[middle : middle + 20]) + data[middle + 20 :]


GOOD = ("good", b"x")
LARGE = "PATH is refused: it holds over 100,000 bytes"
LACKS = "PATH lacks 1 published images (zeros, ...)"
BROKEN = "PATH is damaged (...)"
CHANGES = {
    "cut": lambda data: data[: len(data) // 2],
    "garbled": garbled,
    "empty": lambda data: b"",
    "text": lambda data: b"<html>404</html>" * 100,
}
OUTSIDE = ("../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:/evil")
HOSTILE = {
    **{f"tar, {name}": lambda path, name=name: tar(path, (name, b"x"), GOOD) for name in OUTSIDE},
    **{
        f"zip, {name}": lambda path, name=name: zipped(path, (name, b"x"), GOOD) for name in OUTSIDE
    },
    **{
        f"tar, {name}": lambda path, member=member: tar(path, member, ("link/evil", b"x"), GOOD)
        for name, member in {
            "symbolic link outwards": ("link", tarfile.SYMTYPE, ".."),
            "absolute symbolic link": ("link", tarfile.SYMTYPE, "/tmp"),
            "hard link outwards": ("link", tarfile.LNKTYPE, "../evil"),
            "a link in the place of a file": ("good", tarfile.SYMTYPE, "/etc/passwd"),
            "character device": ("device", tarfile.CHRTYPE, ""),
            "named pipe": ("pipe", tarfile.FIFOTYPE, ""),
        }.items()
    },
    "zip, link": lambda path: zipped(path, link_in_zip(), GOOD),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_archive_with_hostile_members(tmp_path, name):
    """Nothing is written but the file that was asked for, as a regular file."""
    path = HOSTILE[name](tmp_path / "archive")
    download.unpack(path, tmp_path / "deep" / "target", {"good": ""}, 100_000)
    assert files_below(tmp_path).keys() == {"archive", "deep/target/good"}
    good = tmp_path / "deep/target/good"
    assert good.read_bytes() == b"x" and not good.is_symlink()
    assert not Path("/tmp/evil").exists()


ARCHIVES = {
    "tar bomb": (lambda path: tar(path, ("zeros", bytes(10_000_000))), LARGE),
    "zip bomb": (lambda path: zipped(path, ("zeros", bytes(10_000_000))), LARGE),
    "tar of many files": (lambda path: tar(path, *[(f"{i}", b"") for i in range(200)]), LARGE),
    "zip that lies about a size": (lying_zip, BROKEN),
    "a folder of that name": (lambda path: tar(path, ("zeros", tarfile.DIRTYPE, "")), LACKS),
    **{
        f"{mode}, {name}": (
            lambda path, mode=mode, change=change: damaged(path, mode, change),
            # these have no checksum that is read over their members' bytes, so ours tells
            "PATH lacks 1 published images (a, ...)"
            if (mode, name) in (("w", "garbled"), ("w:gz", "garbled"))
            else BROKEN,
        )
        for mode in ("w:gz", "w:bz2", "w:xz", "w", "zip")
        for name, change in CHANGES.items()
    },
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive(tmp_path, name):
    """Refused with nothing written: not even the good members before the bad one."""
    make, message = ARCHIVES[name]
    path, digest = make(tmp_path / "archive"), hashlib.sha256(NOISE).hexdigest()
    with pytest.raises(DataError) as caught:
        sums = {"zeros": ""} if "zeros" in message or message == LARGE else {"a": digest}
        download.unpack(path, tmp_path / "deep" / "target", sums, 100_000)
    says(str(caught.value), message, path)
    assert files_below(tmp_path).keys() == {"archive"}


# ------------------------------------------------------------------------------------ data folders

FIVE = ["baby_GT.bmp", "bird_GT.bmp", "butterfly_GT.bmp", "head_GT.bmp", "woman_GT.bmp"]
ADVICE = (
    "Download the 5 files below https://...Set5 to PATH, or let ASYREPRO_DATA name a folder ..."
)


def five(folder, name, data):
    """Set5 with one file of it made of ``data``."""
    fill(folder, FIVE)
    written(folder / name, data)


def five_with_broken_link(folder):
    fill(folder, FIVE[1:])
    broken_link(folder / FIVE[0])


FOLDERS = {
    "missing": (lambda folder: None, f"set5 is not available (not found). {ADVICE}"),
    "empty": (lambda folder: folder.mkdir(parents=True), "set5 is not available (not found). ..."),
    "files of another set": (
        lambda folder: fill(folder, ["a.bmp"]),
        "set5 is not available (...). ...",
    ),
    "two of five files": (
        lambda folder: fill(folder, FIVE[:2]),
        f"set5 is not available (PATH lacks 3 files ({', '.join(FIVE[2:])})). {ADVICE}",
    ),
    "a damaged image": (
        lambda folder: five(folder, "head_GT.bmp", PNG[:50]),
        "PATH/head_GT.bmp is damaged or cut short (...): fetch or copy it again",
    ),
    "an empty image": (
        lambda folder: five(folder, "head_GT.bmp", b""),
        "PATH/head_GT.bmp is empty: fetch or copy the file again",
    ),
    "a broken link": (
        five_with_broken_link,
        "PATH/baby_GT.bmp is a broken link: restore the file it names",
    ),
    "a file where the folder should be": (
        lambda folder: written(folder.parent, b""),
        "...data is no folder: name one that holds data sets",
    ),
}


@pytest.mark.filterwarnings("ignore:.*not the published ones:UserWarning")
@pytest.mark.parametrize("name", FOLDERS)
def test_folder(tmp_path, name):
    """Of data sets. That folders nested one level too deep are found: test_catalogue.py."""
    make, message = FOLDERS[name]
    make(tmp_path / "data" / "Set5")
    with pytest.raises(DataError) as caught:
        catalogue.test_set("set5", mode="rgb", root=tmp_path / "data", download=False)
    says(str(caught.value), message, tmp_path / "data" / "Set5")


def test_variable_that_names_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "typo"))
    with pytest.raises(DataError) as caught:
        catalogue.available("set12")
    message = "ASYREPRO_DATA names PATH, which is no folder: correct or unset it"
    says(str(caught.value), message, tmp_path / "typo")


LISTINGS = {
    "empty": (lambda path: path.mkdir(), "PATH holds no image (one of .png, .jpg, ...)"),
    "a file": (lambda path: path.touch(), "PATH is a file, not a folder: name a folder that ..."),
    "missing": (lambda path: None, "PATH does not exist: name a folder that holds images"),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_folder_of_pictures(tmp_path, name):
    make, message = LISTINGS[name]
    make(tmp_path / "pictures")
    with pytest.raises(DataError) as caught:
        images.list_images(tmp_path / "pictures")
    says(str(caught.value), message, tmp_path / "pictures")
