"""Bad checkpoints, in a table: each is refused in a line that names the file, and runs nothing."""

import functools
import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from helpers import refuses
from omegaconf import OmegaConf

from asyrepro.models import SRCNN, DnCNN
from asyrepro.runs import config, parts
from asyrepro.system.errors import CheckpointError
from asyrepro.tasks import SuperResolution
from asyrepro.training import checkpoint
from asyrepro.training.loop import CHECKPOINT, Trainer


class Evil:
    """Makes a folder when it is unpickled by a reader that runs what a pickle asks for."""

    def __init__(self, path):
        self.folder = str(path.parent / "evil")

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@functools.cache
def trained():
    """What a weights.pt of SRCNN holds."""
    cfg = config.compose(["profile=smoke", "dataset=bundled", "experiment=table2_srcnn"])
    text = OmegaConf.to_yaml(OmegaConf.to_container(cfg, resolve=True))
    return {"network": SRCNN().state_dict(), "config": text}


def weights(path, **changes):
    checkpoint.save(path, {**trained(), **changes})


def with_config(path, **changes):
    """Weights whose configuration has other values; ``__`` stands for a dot."""
    cfg = OmegaConf.create(trained()["config"])
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value, merge=False, force_add=True)
    weights(path, config=OmegaConf.to_yaml(cfg))


def with_weight(path, name, value):
    weights(path, network={**trained()["network"], name: value})


def changed(path, change):
    weights(path)
    path.write_bytes(change(path.read_bytes()))


def one_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def compressed(path):
    """20 MB in 20 kB: torch would unpack it without a word."""
    file = io.BytesIO()
    torch.save({"format": 1, "zeros": torch.zeros(5_000_000)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    assert path.stat().st_size < 50_000


def broken(value):
    bias = trained()["network"][BIAS].clone()
    bias[1] = value
    return bias


def makes_a_folder(path, target="os.mkdir"):
    return {"_target_": target, "path": str(path.parent / "evil")}


BIAS = "map.bias"
NETWORK = "asyrepro.models."
ALIASES = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
CHECKPOINTS = {  # how it is made, and what the sentence names beside the file
    "missing": (lambda p: None,),
    "a folder": (lambda p: p.mkdir(),),
    "zero bytes": (lambda p: p.write_bytes(b""),),
    "text": (lambda p: p.write_text("not a checkpoint"),),
    "cut in half": (lambda p: changed(p, lambda data: data[:20_000]),),
    "cut by its last byte": (lambda p: changed(p, lambda data: data[:-1]),),
    "one bit changed": (lambda p: changed(p, one_bit),),
    "compressed": (compressed, "compressed"),
    "another program's": (lambda p: torch.save({"x": torch.ones(2)}, p), "asyrepro convert"),
    "a list": (lambda p: torch.save([1], p), "asyrepro convert"),
    "format that is no number": (lambda p: torch.save({"format": torch.ones(2)}, p), "convert"),
    "format of 600 digits": (lambda p: torch.save({"format": 10**600}, p), "convert"),
    "newer format": (lambda p: torch.save({"format": 99}, p), "format 99", "1"),
    "pickle that runs code": (lambda p: p.write_bytes(pickle.dumps(Evil(p))),),
    "torch file that runs code": (lambda p: torch.save({"format": 1, "x": Evil(p)}, p),),
    "of an unfinished training": (lambda p: checkpoint.save(p, {"network": {}}), "weights.pt"),
    "of another network": (
        lambda p: weights(p, network=DnCNN(3, 8).state_dict()), "SRCNN", "extract.bias",
    ),
    "of another size": (
        lambda p: weights(p, network=SRCNN((9, 5, 5)).state_dict()), "SRCNN", "map.weight",
    ),
    "a weight too few": (
        lambda p: weights(p, network={BIAS: trained()["network"][BIAS]}), "extract.bias",
    ),
    "a weight too many": (lambda p: with_weight(p, "other", torch.ones(1)), "SRCNN", "other"),
    "other precision": (lambda p: with_weight(p, BIAS, broken(0).double()), "SRCNN", BIAS),
    "sparse": (lambda p: with_weight(p, BIAS, broken(0).to_sparse()), "SRCNN", BIAS),
    "a weight's name of two lines": (
        lambda p: with_weight(p, "map\n\x1b[31m.bias", broken(0)), r"'map\n\x1b[31m.bias'",
    ),
    "a number as weight": (lambda p: with_weight(p, BIAS, 5), "SRCNN", BIAS),
    "no weights": (lambda p: weights(p, network=None),),
    "NaN": (lambda p: with_weight(p, BIAS, broken(float("nan"))), BIAS),
    "infinite": (lambda p: with_weight(p, BIAS, broken(float("inf"))), BIAS),
    "network that runs code": (
        lambda p: with_config(p, model__network=makes_a_folder(p)), "model.network", "os.mkdir",
    ),
    "task that runs code": (lambda p: with_config(p, task=makes_a_folder(p)), "task", "os.mkdir"),
    "option that runs code": (
        lambda p: with_config(p, task__mode=makes_a_folder(p)), "task", "os.mkdir",
    ),
    "code reached through this program's modules": (
        lambda p: with_config(p, task=makes_a_folder(p, "asyrepro.tasks.torch.os.mkdir")),
        "task", "asyrepro.tasks.torch.os.mkdir",
    ),
    "partial network": (
        lambda p: with_config(p, model__network___partial_=True), "model.network", "_partial_",
    ),
    "network without a class": (
        lambda p: with_config(p, model__network={"layers": 3}), "model.network",
    ),
    "a thousand million layers": (
        lambda p: with_config(p, model__network={"_target_": NETWORK + "DnCNN", "layers": 10**9}),
        "layers", "1,024",
    ),
    "a network of 77 GB": (  # within the largest numbers, so made without memory, and compared
        lambda p: with_config(
            p, model__network={"_target_": NETWORK + "EDSR", "blocks": 1024, "channels": 999}
        ),
        "EDSR", "blocks.0.conv1.bias",
    ),
    "configuration with scale 5": (lambda p: with_config(p, task__scale=5), "scale is 5"),
    "configuration without a model": (lambda p: weights(p, config="task: {}"), "model.name"),
    "a text as network": (lambda p: with_config(p, model__network="abc"), "model.network"),
    "a list as network": (lambda p: with_config(p, model__network=["_target_"]), "model.network"),
    "a text as task": (lambda p: with_config(p, task="abc"), "task"),
    "a text as seed": (lambda p: with_config(p, seed="abc"), "seed"),
    "configuration that is no YAML": (lambda p: weights(p, config="a: [b"),),
    "configuration that is no text": (lambda p: weights(p, config=torch.ones(3)),),
    "configuration that multiplies": (
        lambda p: weights(p, config=trained()["config"] + ALIASES), "repeats",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint(tmp_path, name):
    make, *names = CHECKPOINTS[name]
    path = tmp_path / "weights.pt"
    make(path)
    with refuses(CheckpointError, path, *names):
        parts.load(path)
    assert not (tmp_path / "evil").exists()


def test_the_code_in_these_files_does_run_elsewhere(tmp_path):
    """The side effect that the tests above do not see is a real one."""
    readers = {
        "pickle that runs code": lambda path: pickle.loads(path.read_bytes()),
        "torch file that runs code": lambda path: torch.load(path, weights_only=False),
        "task that runs code": lambda path: config.make(
            OmegaConf.create(checkpoint.load(path)["config"]).task
        ),
    }
    for number, (name, read) in enumerate(readers.items()):
        path = tmp_path / str(number) / "weights.pt"
        path.parent.mkdir()
        CHECKPOINTS[name][0](path)
        read(path)
        assert (path.parent / "evil").is_dir()


def test_good_weights_are_read(tmp_path):
    weights(tmp_path / "weights.pt")
    network, task, _ = parts.load(tmp_path / "weights.pt")
    assert isinstance(network, SRCNN) and isinstance(task, SuperResolution)


def test_weights_are_read_without_their_seed(tmp_path):
    """Which may be any number, and is none of whoever loads them."""
    with_config(tmp_path / "weights.pt", seed=10**30)
    before = random.getstate()
    network, _, _ = parts.load(tmp_path / "weights.pt")
    assert checkpoint.digest(network.state_dict()) == checkpoint.digest(trained()["network"])
    assert random.getstate() == before


def test_checkpoint_without_permission(tmp_path, monkeypatch):
    weights(tmp_path / "weights.pt")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with refuses(CheckpointError, tmp_path / "weights.pt"):
        checkpoint.load(tmp_path / "weights.pt")


def test_weights_in_the_place_of_a_runs_checkpoint(tmp_path):
    weights(tmp_path / CHECKPOINT)
    trainer = Trainer(SRCNN(), None, None, None, None, steps=1, folder=tmp_path)
    with refuses(CheckpointError, tmp_path / CHECKPOINT):
        trainer.resume()
