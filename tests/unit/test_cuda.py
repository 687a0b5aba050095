"""CUDA against the CPU, to be run wherever there is a GPU: ``make gpu``, or pytest -m cuda.

ASYREPRO_TEST_DEVICE=cpu rehearses it without one: the CPU is compared with itself.
"""

import copy
import math
import os
from contextlib import nullcontext

import pandas as pd
import pytest
import torch
from helpers import ROOT
from torch import nn

from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs import config, evaluation, parts
from asyrepro.runs.resolve import resolve
from asyrepro.system import devices
from asyrepro.training import graphs
from asyrepro.training.loop import Trainer

DEVICE = torch.device(os.environ.get("ASYREPRO_TEST_DEVICE", "cuda"))
MISSING = DEVICE.type == "cuda" and not torch.cuda.is_available()
NETWORKS = {
    "srcnn": "table2_srcnn",
    "edsr": "table3_edsr",
    "dncnn": "table4_dncnn",
    "dphsir": "table5_dphsir",
}
RANDOM_LAST = {"dncnn", "dphsir"}  # whose untrained output would be the input
STORED, LOSSES = ROOT / "results" / "paper-cpu", ROOT / "configs" / "loss"

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(MISSING, reason="PyTorch finds no CUDA here: run make gpu where it does"),
]
on_cuda_alone = pytest.mark.skipif(DEVICE.type != "cuda", reason="a rehearsal on the CPU")


def relative(found, expected):
    """The error's norm as a share of the expected values' norm."""
    found, expected = (
        torch.cat([tensor.detach().double().cpu().flatten() for tensor in tensors])
        for tensors in (found, expected)
    )
    return ((found - expected).norm() / expected.norm()).item()


class Setup:
    """A network at its quick recipe on the CPU, and the same on the GPU."""

    def __init__(self, name):
        overrides = [f"experiment={NETWORKS[name]}", "loss=asy_mse", "dataset=bundled"]
        if name in RANDOM_LAST:
            overrides.append("model.network.zero_last=false")
        overrides += ["profile=quick", f"runtime.device={DEVICE}"]
        self.name, self.cfg = name, resolve(config.compose(overrides))
        self.cfg.amp = False
        self.here, self.task = parts.build(self.cfg, "cpu")
        self.there = copy.deepcopy(self.here).to(DEVICE)
        self.images = catalogue.training_set("bundled", mode=self.task.mode).images
        self.x, self.y = next(self.sampler("cpu"))
        self.criterion = config.make(self.cfg.loss.criterion)

    def sampler(self, device):
        size = {"patch": self.cfg.recipe.patch, "batch": 2}
        return PatchSampler(self.images, self.task, **size, seed=0, device=device)

    def gradients(self, network, device):
        network.train().zero_grad()
        self.criterion(network(self.x.to(device)), self.y.to(device)).backward()
        return [p.grad for p in network.parameters() if p.grad is not None]

    def trainer(self, folder, steps, total=None, **options):
        torch.manual_seed(0)
        network = parts.build(self.cfg, DEVICE)[0]
        recipe = copy.deepcopy(self.cfg.recipe)
        recipe.steps = recipe.scheduler.total_steps = total or steps
        optimizer, scheduler = parts.optimization(recipe, network)
        return Trainer(
            network, copy.deepcopy(self.criterion).to(DEVICE), self.sampler(DEVICE), optimizer,
            scheduler, steps=steps, folder=folder, device=DEVICE, log_every=10**6, label=None,
            **{"amp": False} | options,
        )  # fmt: skip


@pytest.fixture(scope="module", params=NETWORKS)
def setup(request):
    devices.choose("auto")  # float32 is float32
    return Setup(request.param)


def test_forward(setup):
    with torch.inference_mode():
        here, there = setup.here.eval()(setup.x), setup.there.eval()(setup.x.to(DEVICE))
    assert relative([there], [here]) < 1e-5


def test_gradient(setup):
    here, there = (setup.gradients(n, d) for n, d in ((setup.here, "cpu"), (setup.there, DEVICE)))
    assert relative(there, here) < 2e-3


def test_bfloat16_is_near_float32(setup):
    x = setup.x.to(DEVICE)
    with torch.no_grad():
        full = setup.there.eval()(x)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            half = setup.there(x)
    assert relative([half], [full]) < 0.05


def test_the_optimisers_step_on_the_same_gradients(setup):
    networks = [copy.deepcopy(setup.here) for _ in range(2)]
    networks[1].to(DEVICE)
    setup.gradients(networks[0], "cpu")
    before = [p.detach().clone() for p in networks[0].parameters()]
    for p, q in zip(*(network.parameters() for network in networks), strict=True):
        q.grad = None if p.grad is None else p.grad.to(DEVICE)
    for network in networks:
        made = parts.optimization(setup.cfg.recipe, network)
        made[0].step()
    here, there = (
        [p.detach().cpu() - b for p, b in zip(network.parameters(), before, strict=True)]
        for network in networks
    )
    assert relative(there, here) < 1e-3


def test_patches_and_noise(setup):
    one, two = setup.sampler("cpu"), setup.sampler(DEVICE)
    labels = torch.cat([next(two)[1] for _ in range(8)])
    assert labels.min() >= 0 and labels.max() <= 1 and labels.device.type == DEVICE.type
    images = torch.tensor([0, 1])
    place = torch.tensor([3, 5])
    a, b = (
        sampler._labels.gather(images.to(d), place.to(d), place.to(d), 24, place.to(d))
        for sampler, d in ((one, "cpu"), (two, DEVICE))
    )
    assert torch.equal(a, b.cpu())
    if setup.task.draws:
        drawn = [next(two) for _ in range(32)]
        noise = torch.cat([setup.task.degraded(x) - y for x, y in drawn])
        assert noise.std().item() * 255 == pytest.approx(setup.task.sigma, rel=0.02)


@pytest.fixture
def same_kernels(monkeypatch):
    """Convolutions are not chosen by measurement: the same kernels every time."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(devices, "measured_convolutions", lambda on=True: nullcontext())


def test_a_run_in_two_parts_ends_as_one_run(setup, tmp_path, same_kernels):
    setup.trainer(tmp_path / "whole", 12).run()
    setup.trainer(tmp_path / "parts", 6, total=12).run()
    found = [setup.trainer(tmp_path / name, 12) for name in ("whole", "parts")]
    networks = [run.run() for run in found]
    states = [run.sampler.state_dict()["generator"] for run in found]
    assert torch.equal(*states)
    # Atomic additions, as of GRUNet's upsampling, have no fixed order on CUDA.
    exact = setup.name != "dphsir" or DEVICE.type == "cpu"
    limit = 0 if exact else 1e-3
    assert relative(networks[1].parameters(), networks[0].parameters()) <= limit


def change(run):
    """What a training changes of the weights."""
    before = [p.detach().clone() for p in run.network.parameters()]
    return [p.detach() - b for p, b in zip(run.run().parameters(), before, strict=True)]


@on_cuda_alone
@pytest.mark.parametrize("amp", [False, True])
def test_steps_as_a_graph_are_the_same_steps(setup, tmp_path, amp, same_kernels, monkeypatch):
    # DnCNN's first steps are chaotic: gradients that differ by 1e-7 change six by a tenth, with
    # amp by a third. Of EDSR's twenty with amp it is a twentieth, of the others' 3e-4 at most.
    steps, limit = (6, 0.5) if setup.name == "dncnn" else (20, 0.2 if amp else 0.01)
    changes = []
    for plain in (3, steps):  # of all steps, the later ones being replayed
        monkeypatch.setattr(graphs, "EAGER", plain)
        run = setup.trainer(tmp_path / str(plain), steps, graph=True, amp=amp)
        changes.append(change(run))
    assert relative(*changes) <= limit


@pytest.mark.parametrize("loss", sorted(path.stem for path in LOSSES.glob("*.yaml")))
def test_every_loss_trains(tmp_path, loss):
    this = Setup("srcnn")
    this.criterion = config.make(config.compose([f"loss={loss}"]).loss.criterion)
    run = this.trainer(tmp_path, 6)  # on CUDA the fourth step is captured
    run.run()
    assert run.step == 6 and math.isfinite(run.history[-1]["loss"])


@on_cuda_alone
@pytest.mark.parametrize("ema", [None, 0.9])
def test_no_step_waits_for_the_gpu(setup, tmp_path, ema):
    run = setup.trainer(tmp_path, 12, ema=ema)
    steps, step, finite = [], run.scheduler.step, run._check_finite

    def counted():
        step()
        steps.append(None)
        if len(steps) == 6:  # the graph is captured
            torch.cuda.set_sync_debug_mode("error")

    def looked(rate):
        torch.cuda.set_sync_debug_mode("default")
        finite(rate)

    run.scheduler.step, run._check_finite = counted, looked
    try:
        run.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) == 12


@on_cuda_alone
def test_a_compiled_step_is_the_same_step(setup, tmp_path):
    changes = []
    for compiled in (False, True):
        run = setup.trainer(tmp_path / str(compiled), 1, compile=compiled)
        run.optimizer = torch.optim.SGD(run.network.parameters(), lr=1.0)  # the gradient itself
        run.scheduler = torch.optim.lr_scheduler.ConstantLR(run.optimizer, 1)
        changes.append(change(run))
    assert relative(*changes) < 2e-3


@on_cuda_alone
def test_patches_from_beyond_two_to_the_31_pixels():
    """DIV2K has 2.3e9."""
    side, many = 2048, 2**9 + 2
    pixels = torch.randint(0, 256, (many, 1, side, side), dtype=torch.uint8)
    images = list(pixels.unbind())
    task = config.make(config.compose(["experiment=table4_dncnn"]).task)
    sampler = PatchSampler(images, task, patch=32, batch=2, seed=0, device=DEVICE)
    last = torch.tensor([many - 1, many - 2], device=DEVICE)
    corner = torch.tensor([side - 32, 7], device=DEVICE)
    found = sampler._labels.gather(last, corner, corner, 32, torch.zeros_like(last))
    for patch, image, at in zip(found.cpu(), last.tolist(), corner.tolist(), strict=True):
        expected = pixels[image, :, at : at + 32, at : at + 32] / 255
        torch.testing.assert_close(patch, expected, rtol=0, atol=1e-6)


@on_cuda_alone
def test_one_process_of_nccl():
    import torch.distributed as dist

    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16)).to(DEVICE)
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        parallel = nn.parallel.DistributedDataParallel(network, device_ids=[DEVICE.index or 0])
        with torch.autocast("cuda", torch.bfloat16):
            parallel(torch.rand(4, 1, 16, 16, device=DEVICE)).float().square().mean().backward()
        total = torch.ones((), device=DEVICE)
        dist.all_reduce(total)
        assert total.item() == 1 and all(p.grad is not None for p in network.parameters())
    finally:
        dist.destroy_process_group()


def test_stored_weights_score_what_they_scored():
    weights = STORED / "weights" / "table4" / "mse" / "seed0.pt"
    if not weights.is_file() or catalogue.available("set12") is None:
        pytest.skip("the stored weights or Set12 are not here")
    network, task, cfg = parts.load(weights, DEVICE)
    testset = catalogue.test_set("set12", mode=task.mode, download=False)
    found, here = (
        {
            row["image"]: row["psnr"]
            for row in evaluation.evaluate(network.to(device), testset, task, device=device)
        }
        for device in (DEVICE, torch.device("cpu"))
    )
    assert max(abs(found[name] - psnr) for name, psnr in here.items()) < 0.001
    rows = pd.read_csv(STORED / "metrics.csv")
    kept = rows[(rows.model == "dncnn") & (rows.loss == "mse") & (rows.seed == cfg.seed)]
    kept = kept[kept.testset == "set12"].set_index("image").psnr
    assert len(kept) >= 12
    # weights kept in half precision differ by up to 0.002 dB from the rows
    assert max(abs(found[name] - psnr) for name, psnr in kept.items()) < 0.003
