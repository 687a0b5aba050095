"""The training loop: what it computes, and that nothing is lost when it is cut off."""

import dataclasses
import math
import random
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from functools import partial
from operator import methodcaller
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import NEVER, Lines, refuses, trainer
from torch import nn

from asyrepro.losses import AsymmetricLoss
from asyrepro.models import SRCNN, GRUNet
from asyrepro.runs import config
from asyrepro.system import randomness
from asyrepro.system.errors import CheckpointError, ConfigError
from asyrepro.training import checkpoint, graphs
from asyrepro.training.loop import CHECKPOINT, HISTORY, Diverged, parameter_groups


def test_one_step_of_gradient_descent_by_hand(tmp_path):
    # w = 0, b = 0: the mean squared error's gradient is -2 mean(x y) and -2 mean(y).
    run = trainer(tmp_path, steps=1)
    nn.init.zeros_(run.network.weight)
    nn.init.zeros_(run.network.bias)
    run.optimizer = torch.optim.SGD(run.network.parameters(), lr=0.1)
    run.scheduler = torch.optim.lr_scheduler.ConstantLR(run.optimizer, 1)
    x, y = next(Lines())
    assert not run.run().training
    assert run.network.weight.item() == pytest.approx(0.2 * (x * y).mean().item(), rel=1e-5)
    assert run.network.bias.item() == pytest.approx(0.2 * y.mean().item(), rel=1e-5)
    assert run.history[0]["loss"] == pytest.approx(y.square().mean().item(), rel=1e-5)


def test_clipping_bounds_the_step(tmp_path):
    run = trainer(tmp_path, steps=1, clip=0.01)
    run.optimizer = torch.optim.SGD(run.network.parameters(), lr=1.0)
    run.scheduler = torch.optim.lr_scheduler.ConstantLR(run.optimizer, 1)
    before = torch.cat([p.detach().flatten() for p in run.network.parameters()])
    run.run()
    after = torch.cat([p.detach().flatten() for p in run.network.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_running_average_of_the_weights(tmp_path):
    # The average starts at the first step's weights, then a <- decay a + (1 - decay) w.
    run = trainer(tmp_path, steps=3, ema=0.8)
    seen = []
    run.optimizer.register_step_post_hook(lambda *_: seen.append(run.network.weight.item()))
    averaged = run.run()
    expected = 0.8 * (0.8 * seen[0] + 0.2 * seen[1]) + 0.2 * seen[2]
    assert averaged.weight.item() == pytest.approx(expected, rel=1e-5)


def test_running_average_of_all_that_a_network_holds(tmp_path):
    network = nn.Sequential(GRUNet(width=4), nn.BatchNorm3d(1))
    run = dataclasses.replace(trainer(tmp_path, ema=0.8), network=network)
    run.step = 1
    changed = [*network.parameters(), network[1].running_mean]
    with torch.no_grad():
        for value in changed:
            value += 1
    before = [value.clone() for value in (*run.average.parameters(), run.average[1].running_mean)]
    network[1].num_batches_tracked += 3
    run._average()
    after = [*run.average.parameters(), run.average[1].running_mean]
    for average, old, value in zip(after, before, changed, strict=True):
        assert torch.allclose(average, 0.8 * old + 0.2 * value, atol=1e-6)
    assert run.average[1].num_batches_tracked == 3


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"clip": 0.1}])
def test_a_continued_run_is_the_undisturbed_one_bit_for_bit(tmp_path, settings):
    loss = {"criterion": AsymmetricLoss("mae", shuffle=True)}  # draws random numbers itself
    loss["criterion"].validate = False
    whole = trainer(tmp_path / "whole", steps=40, **settings, **loss)
    whole.run()
    first = trainer(tmp_path / "cut", steps=20, total=40, **settings, **loss)
    first.run()
    second = trainer(tmp_path / "cut", steps=40, **settings, **loss)
    torch.rand(3)
    network = second.run()
    assert checkpoint.digest(network.state_dict()) == checkpoint.digest(whole.trained.state_dict())
    assert [r["loss"] for r in second.history] == [r["loss"] for r in whole.history]
    seconds = [row["seconds"] for row in second.history]
    assert seconds == sorted(seconds)


def test_a_continued_run_goes_on_with_the_losss_state_and_all_random_numbers(tmp_path):
    class Drawing(nn.MSELoss):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, output, label):
            self.calls += 1
            drawn = random.random() + np.random.rand()
            return super().forward(output, label) * (self.calls + drawn)

    def run(name, steps):
        made = trainer(tmp_path / name, steps=steps, total=20, criterion=Drawing())
        randomness.seed(2**40 + 3)
        made.run()
        return [row["loss"] for row in made.history]

    whole = run("whole", 20)
    assert run("cut", 10) == whole[: len(whole) // 2]
    assert run("cut", 20) == whole


def test_a_schedule_that_computes_with_numpy_is_continued(tmp_path):
    def run(name, steps):
        made = trainer(tmp_path / name, steps=steps, log_every=1)
        rule = lambda step: np.cos(step / 20)  # noqa: E731
        made.scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, rule)
        return checkpoint.digest(made.run().state_dict()), [row["lr"] for row in made.history]

    whole = run("whole", 20)
    run("cut", 10)
    assert run("cut", 20) == whole


def test_what_an_optimiser_keeps_and_no_checkpoint_can_hold_is_told_at_the_first_step(tmp_path):
    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.state[self.param_groups[0]["params"][0]]["count"] = Fraction(1)

    run = trainer(tmp_path, checkpoint_seconds=NEVER)
    run.optimizer = Counting(run.network.parameters())
    run.scheduler = torch.optim.lr_scheduler.ConstantLR(run.optimizer, 1)
    with refuses(ConfigError, "optimizer", "count", "Fraction"):
        run.run()
    assert run.step == 0


def test_a_network_whose_output_has_no_gradient_is_refused(tmp_path):
    class Detached(nn.Conv2d):
        def forward(self, x):
            return super().forward(x).detach()

    run = trainer(tmp_path)
    run.network = Detached(1, 1, 1)
    with refuses(ConfigError, "Detached"):
        run.run()


def test_modules_of_other_programs_are_not_captured_unasked():
    class Own(nn.Module):
        pass

    known = SRCNN(), AsymmetricLoss("mse"), nn.L1Loss()
    assert graphs.are_known(*known)
    assert not graphs.are_known(*known, nn.Sequential(nn.ReLU(), Own()))
    with_piq = config.make(
        config.compose(["experiment=table2_srcnn", "loss=mae_ms_ssim"]).loss.criterion
    )
    assert not graphs.are_known(with_piq)


@pytest.mark.parametrize("finite", [False, True], ids=["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, finite):
    class Breaks(nn.MSELoss):
        calls = 0

        def forward(self, output, label):
            self.calls += 1
            loss = super().forward(output, label)
            if self.calls <= 12:
                return loss
            # the root of 0 is 0, and its slope infinite
            return (loss - loss.detach()).sqrt() if finite else loss * math.nan

    with refuses(Diverged, "step 13"):
        trainer(tmp_path, criterion=Breaks()).run()
    assert checkpoint.load(tmp_path / CHECKPOINT)["step"] == 12


@pytest.mark.parametrize("ema", [None, 0.9])
def test_history_by_hand(tmp_path, ema):
    class Numbered(nn.Module):
        """A loss of 1 in the first step, 2 in the second, and so on."""

        calls = 0

        def forward(self, output, label):
            assert run.network.training
            self.calls += 1
            return 0 * output.mean() + self.calls

    def validate(network):
        assert network is run.trained and not network.training
        return 30.125

    settings = {"validate": validate, "validate_every": 4, "ema": ema}
    run = trainer(tmp_path, steps=12, criterion=Numbered(), **settings)
    run.scheduler = torch.optim.lr_scheduler.ExponentialLR(run.optimizer, 0.5)
    first = run.optimizer.param_groups[0]["lr"]
    run.run()
    head, *lines = (tmp_path / HISTORY).read_text().splitlines()
    assert head == "step,loss,lr,val_psnr,patches_per_second,seconds"
    steps, losses, rates, scores, *_ = zip(*(line.split(",") for line in lines), strict=True)
    assert steps == ("4", "5", "8", "10", "12")
    assert losses == ("2.5", "5", "7", "9.5", "11.5")  # means since the line before
    assert [*map(float, rates)] == pytest.approx(
        [first * 0.5 ** (int(step) - 1) for step in steps], rel=1e-3
    )
    assert scores == ("30.125", "", "30.125", "", "30.125")
    for row, before in zip(run.history[1:], run.history, strict=False):
        rate = 4 * (row["step"] - before["step"]) / (row["seconds"] - before["seconds"])
        assert row["patches_per_second"] == pytest.approx(rate)  # four a step


def test_another_runs_checkpoint_is_refused(tmp_path):
    trainer(tmp_path, signature="one").run()
    with refuses(CheckpointError, tmp_path / CHECKPOINT):
        trainer(tmp_path, signature="other").run()


def other_parameters(state):
    state["optimizer"]["param_groups"][0]["params"].append(99)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *((methodcaller("pop", key), key) for key in ("criterion", "random", "step", "history")),
        (lambda state: state.update(device="cuda"), "cuda"),
        (other_parameters, CHECKPOINT),  # as of an earlier version
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, change, name):
    trainer(tmp_path).run()
    state = checkpoint.load(tmp_path / CHECKPOINT)
    change(state)
    checkpoint.save(tmp_path / CHECKPOINT, state)
    with refuses(CheckpointError, tmp_path / CHECKPOINT, name):
        trainer(tmp_path).run()


class Recorded:
    """A stand-in for CUDA's graph: what is captured is not carried out, and is repeated."""

    def __init__(self):
        self.replay = None


def test_a_captured_step_takes_each_batch_and_rate_once(monkeypatch):
    graph, capturing = Recorded(), []

    @contextmanager
    def capture(graph, **_):
        capturing.append(graph)
        yield
        capturing.pop()

    for name, stand_in in {
        "CUDAGraph": lambda: graph,
        "Stream": lambda device: mock.MagicMock(),
        "current_stream": mock.MagicMock,
        "stream": lambda stream: nullcontext(),
        "graph": capture,
        "device": lambda device: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)

    def weight():
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(3))
        optimizer = torch.optim.SGD([weight], lr=1.0)
        return weight, optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def stepping(weight, optimizer):
        def step(x, y):
            if capturing:
                rate = optimizer.param_groups[0]["lr"]

                def replay():
                    weight.grad = x * y
                    weight.data.sub_(weight.grad * rate)

                capturing[0].replay = replay
                return
            weight.grad = x * y
            optimizer.step()

        return step

    ends = []
    for wrapped in (False, True):
        one, optimizer, scheduler = weight()
        step = stepping(one, optimizer)
        if wrapped:
            step = graphs.captured(step, optimizer)
        generator = torch.Generator().manual_seed(1)
        for _ in range(graphs.EAGER + 4):
            step(torch.rand(3, generator=generator), torch.rand(3, generator=generator))
            scheduler.step()
        assert isinstance(optimizer.param_groups[0]["lr"], float)
        ends.append(one.detach())
    assert graph.replay is not None
    torch.testing.assert_close(*ends)


def test_a_step_is_captured_only_if_the_schedule_changes_rates_alone():
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, optimizer, max_lr=1.0, total_steps=9)
    assert graphs.can_capture(optimizer, cycle(cycle_momentum=False))
    assert not graphs.can_capture(optimizer, cycle())  # Adam's first beta
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert not graphs.can_capture(plain, torch.optim.lr_scheduler.ConstantLR(plain))


def test_every_run_of_a_process_is_compiled(tmp_path, monkeypatch):
    compiled = []

    def backend(module, inputs):
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    with torch._dynamo.config.patch(recompile_limit=2):  # setattr and back would delete it
        for number in range(4):
            trainer(tmp_path / str(number), steps=2, compile=True).run()
    assert len(compiled) == 4


def test_layers_with_a_learning_rate_of_their_own():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1))
    groups = parameter_groups(network, 1e-4, {"1.": 0.1, "1.bias": 0.2})  # the longest name counts
    assert [len(group["params"]) for group in groups] == [2, 1, 1]
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-5, 2e-5])
    with refuses(ValueError, "'tail'"):
        parameter_groups(network, 1e-4, {"tail": 0.1})
