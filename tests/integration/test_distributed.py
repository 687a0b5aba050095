"""One training as two processes: what it computes, what it writes, and how it ends."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from asyrepro.losses import AsymmetricLoss
from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import files, randomness
from asyrepro.system.errors import ConfigError
from asyrepro.training import checkpoint, distributed, stopping
from asyrepro.training.loop import CHECKPOINT, HISTORY, Trainer

ROOT = Path(__file__).parents[2]
STEPS = 24


class Noisy:
    """A sampler of noisy images, four a batch; ``signal_at`` is when the process signals itself."""

    batch = 4

    def __init__(self, signal_at=None):
        self.generator = torch.Generator().manual_seed(0)
        self.signal_at, self.calls = signal_at, 0

    def __next__(self):
        self.calls += 1
        if self.calls == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        label = torch.rand(4, 1, 8, 8, generator=self.generator)
        return label + torch.randn(label.shape, generator=self.generator) / 10, label

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


def trainer(folder, steps=STEPS, criterion=None, sampler=None, norm=False):
    torch.manual_seed(0)
    middle = nn.BatchNorm2d(8) if norm else nn.ReLU()
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), middle, nn.Conv2d(8, 1, 3, padding=1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    return Trainer(
        network,
        criterion or AsymmetricLoss("mae", normalize=True),
        sampler or Noisy(),
        optimizer,
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS),
        steps=steps,
        folder=folder,
        amp=False,
        clip=0.1,
        ema=0.5,
        log_every=5,
        validate=lambda network: network[2].bias.item() + distributed.size(),
        validate_every=6,
        label=None,
    )  # fmt: skip


def as_two_processes(root):
    """What both processes do; each leaves what it saw in a file of its own."""
    seen = {}
    with stopping.handled(), distributed.started():
        rank = torch.distributed.get_rank()
        run = trainer(root / "two")
        seen["images"] = []
        run.network.register_forward_hook(lambda _, x, y: seen["images"].append(len(y)))
        seen["weights"] = checkpoint.digest(run.run().state_dict())
        seen["losses"] = [row["loss"] for row in run.history]
        trainer(root / "one-two").run()
        trainer(root / "two-one", steps=STEPS // 2).run()

        def refuse():
            raise ConfigError(f"refused by {rank}")

        seen["errors"] = []
        shuffled, black = AsymmetricLoss("mae", shuffle=True), torch.zeros(1, 1, 4, 4)
        for attempt in (
            lambda: distributed.on_main(refuse),
            lambda: distributed.check(3, lambda: nn.MSELoss()(black, black)),
            lambda: distributed.check(4, lambda: shuffled(black, black)),
            lambda: trainer(root / "norm", norm=True).run(),
        ):
            try:
                attempt()
            except ConfigError as error:
                seen["errors"].append([str(error), distributed.says(str(error))])
        try:  # a signal that only one of the processes gets
            trainer(root / "stopped", sampler=Noisy(signal_at=3 if rank else None)).run()
        except stopping.Stopped as stop:
            seen["stopped"] = [str(stop), stop.code]
            (root / f"{rank}.json").write_text(json.dumps(seen))
            raise


def torchrun(*arguments):
    """Run two processes of a script or module."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **settings}
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folders of trainings by one process and by two, and what the two have seen."""
    root = tmp_path_factory.mktemp("runs")
    trainer(root / "one").run()
    trainer(root / "one-two", steps=STEPS // 2).run()
    done = torchrun(__file__, root)
    assert (root / "1.json").exists(), done.stderr
    trainer(root / "two-one").run()
    return root


def state(folder):
    return checkpoint.load(folder / CHECKPOINT)


def largest_difference(a, b):
    return max((a[key] - b[key]).abs().max().item() for key in a)


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), random.random, np.random.rand])
def test_a_loss_that_draws_is_refused_whatever_it_draws_from(monkeypatch, draw):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    randomness.seed(0)
    first = draw()
    randomness.seed(0)
    with pytest.raises(ConfigError, match="random"):
        distributed.check(4, draw)
    assert draw() == first  # the training draws as if nothing had been tried
    distributed.check(4, lambda: None)


@pytest.mark.parametrize("folder", ["two", "one-two", "two-one"])
def test_two_processes_compute_what_one_does(root, folder):
    one, other = state(root / "one"), state(root / folder)
    assert one["step"] == other["step"] == STEPS
    assert largest_difference(one["network"], other["network"]) < 1e-6
    assert largest_difference(one["average"], other["average"]) < 1e-6
    assert torch.equal(one["sampler"]["generator"], other["sampler"]["generator"])
    for a, b in zip(one["history"], other["history"], strict=True):
        assert (a["step"], a["lr"]) == (b["step"], b["lr"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_each_takes_half_a_batch_and_both_have_the_same_weights_and_mean_losses(root):
    first, second = (json.loads((root / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["images"] == second["images"] == [2] * STEPS
    assert first["weights"] == second["weights"]
    assert first["losses"] == second["losses"]
    assert len(first["losses"]) == 8  # steps 5, 6, 10, 12, 15, 18, 20, 24
    assert {path.name for path in (root / "two").iterdir()} == {CHECKPOINT, HISTORY}


def test_an_error_reaches_both_and_is_said_once(root):
    first, second = (json.loads((root / f"{rank}.json").read_text())["errors"] for rank in (0, 1))
    assert [text for text, _ in first] == [text for text, _ in second]
    assert [a + b for (_, a), (_, b) in zip(first, second, strict=True)] == [1, 1, 1, 1]
    for (text, _), names in zip(first, ("refused by 0", "(1, 3)", "random", "GPU"), strict=True):
        assert names in text


def test_a_signal_to_one_process_stops_both_at_the_same_step(root):
    for rank in (0, 1):
        seen = json.loads((root / f"{rank}.json").read_text())
        assert "step 10" in seen["stopped"][0] and seen["stopped"][1] == 143
    assert state(root / "stopped")["step"] == 10


@pytest.mark.parametrize(
    "network",
    [("model=srcnn",), ("model=dphsir", "model.network.width=4", "task=denoising")],
    ids=["srcnn", "dphsir"],
)
def test_torchrun_trains_a_run_like_one_process(network, tmp_path):
    overrides = [
        *network, "profile=smoke", "dataset=bundled", "testset=bundled_validation", "study=s",
        "loss=asy_mse", "runtime.device=cpu", "runtime.download=false", "runtime.progress=false",
        "amp=false",  # bfloat16 rounds more than is compared here
    ]  # fmt: skip
    done = torchrun("-m", "asyrepro", "train", *overrides, f"results={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 and "bundled_validation" in done.stdout

    cfg = config.compose([*overrides, f"results={tmp_path / 'one'}"])
    one = Run.of(cfg).folder
    carry_out(resolve(cfg), Run(one))
    two = tmp_path / "two" / one.relative_to(tmp_path / "one")
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    for a, b in zip(*(files.read_csv(f / "rows.csv") for f in (one, two)), strict=True):
        assert a["config"] == b["config"]
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=1e-4)


def test_a_process_of_torchrun_ends_without_cleaning_up():
    # Python's cleaning up is where a gloo thread that is still at work aborts the process.
    code = (
        "import atexit; from asyrepro.training import distributed\n"
        "atexit.register(print, 'cleaned'); print('kept')\n"
        "distributed.leave(3); raise SystemExit(3)"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC_")}
    for environment, said in (
        (plain, "kept\ncleaned\n"),
        ({**plain, "TORCHELASTIC_RUN_ID": "one"}, "kept\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (3, said), done.stderr


if __name__ == "__main__":
    as_two_processes(Path(sys.argv[1]))
    distributed.leave(0)
