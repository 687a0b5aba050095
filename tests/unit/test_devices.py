"""A training step on a GPU, looked at without one.

PyTorch's fake tensors have a shape, a type and a device, but no values: with them operations on
tensors of two devices fail as on a GPU, and so does whatever needs a value on the host, where a
training would wait for the GPU. Gradients of fake tensors can be computed on the CPU only: there
the whole step is looked at for values, and on the GPU, with a stand-in for the gradients, for
devices.
"""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from asyrepro.data.sampler import PatchSampler
from asyrepro.muon import Muon
from asyrepro.runs import config, parts
from asyrepro.system import devices
from asyrepro.training.loop import Trainer

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
EXPERIMENTS = ["table2_srcnn", "table3_edsr", "table4_dncnn", "table5_dphsir"]
CASES = [
    *[(experiment, "asy_mae_shuffled", ()) for experiment in EXPERIMENTS],
    *[("table2_srcnn", loss, ()) for loss in ("mae", "asy_mse", "asy_mae_table1")],
    *[("table5_dphsir", "mae", options) for options in (["recipe.clip=0.4"], ["profile=quick"])],
]


def faked(tensor, device):
    """A fake one of the same shape and type."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


@pytest.fixture
def fake(monkeypatch):
    """Nothing but fake tensors, and what else needs a GPU replaced."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *args, **kwargs: module)
    return FakeTensorMode()


def trainer(fake, folder, experiment, loss, overrides, device=GPU):
    """Two steps of a run of the full profile, its network and patches on a device."""
    chosen = [f"experiment={experiment}", f"loss={loss}", "profile=full", *overrides]
    cfg = config.plain(config.compose(chosen))
    task = config.make(cfg.task)
    channels = 3 if task.mode == "rgb" else 1
    images = [torch.zeros(channels, side, 200, dtype=torch.uint8) for side in (180, 190)]
    sampler = PatchSampler(images, task, patch=cfg.recipe.patch, batch=cfg.recipe.batch, seed=0)
    with fake:
        for stack in (sampler._labels, sampler._stored):
            vars(stack).update({k: faked(tensor, device) for k, tensor in vars(stack).items()})
        sampler._cumulative, sampler.device = faked(sampler._cumulative, device), device
        with device:
            network, _ = parts.build(cfg, device)
            criterion = config.make(cfg.loss.criterion)
        criterion._validated_once = True  # the first call looks at the label's values
        criterion.validate = False  # as every call does on the CPU
        optimizer, scheduler = parts.optimization(cfg.recipe, network)
        return Trainer(
            network, criterion, sampler, optimizer, scheduler, steps=2, folder=folder, label=None,
            device=device, clip=cfg.recipe.clip, ema=cfg.recipe.ema,
        )  # fmt: skip


class Done(Exception):
    """After the last step a training looks at values, and may wait."""


@pytest.mark.filterwarnings("ignore:CUDA is not available")  # autocast's
@pytest.mark.parametrize(("experiment", "loss", "overrides"), CASES)
def test_a_step_stays_on_the_gpu_and_never_waits(
    fake, tmp_path, monkeypatch, experiment, loss, overrides
):
    run = trainer(fake, tmp_path, experiment, loss, overrides)
    losses = []

    def backward(loss):
        losses.append(loss.device)
        for p in run.network.parameters():
            p.grad = torch.empty_like(p)

    def look(self, rate):
        raise Done

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(Trainer, "_check_finite", look)
    with fake, pytest.raises(Done):
        run.run()
    assert losses == [GPU, GPU]
    assert run.step == 2
    assert {p.device for p in run.network.parameters()} == {GPU}


@pytest.mark.parametrize(("experiment", "loss", "overrides"), CASES)
def test_a_whole_step_reads_no_value(fake, tmp_path, monkeypatch, experiment, loss, overrides):
    run = trainer(fake, tmp_path, experiment, loss, overrides, CPU)

    def look(self, rate):
        raise Done

    monkeypatch.setattr(Trainer, "_check_finite", look)
    batched = mock.patch.object(Muon, "batches", lambda self, p: True)  # as on a GPU
    with fake, batched, pytest.raises(Done):
        run.run()
    assert run.step == 2
    assert sum(p.grad is not None for p in run.network.parameters()) >= 6  # GRUNet: partly used


def test_float32_is_float32_and_convolutions_are_measured_only_where_asked():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    devices.choose("cpu")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    with devices.measured_convolutions():
        assert torch.backends.cudnn.benchmark
        with devices.measured_convolutions(False):
            assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


SUBNORMAL = """
import torch
from asyrepro.system import devices
devices.choose("cpu")
torch.set_num_threads(2)
print(torch.full((2**22,), 1e-38).mul_(0.1).count_nonzero().item())
"""


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="not on this processor")
def test_what_a_dead_channels_momentum_falls_to_is_zero_in_all_threads():
    done = subprocess.run([sys.executable, "-c", SUBNORMAL], capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_freed_memory_goes_back_to_the_system_although_a_block_lies_above_it():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    freed = [b"x" * 100_000 for _ in range(3000)]
    above = b"x" * 100_000
    before = resident()
    freed.clear()
    devices.give_back_memory()
    assert before - resident() > 200e6
    assert len(above) == 100_000
