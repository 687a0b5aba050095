"""Measuring in turn, and a network at its recipe to measure."""

from __future__ import annotations

import copy
import math
import operator
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.losses import AsymmetricLoss
from asyrepro.runs import config, estimate, parts
from asyrepro.runs.resolve import resolve
from asyrepro.training.loop import Trainer

NETWORKS = {
    "srcnn": "table2_srcnn",
    "edsr": "table3_edsr",
    "dncnn": "table4_dncnn",
    "dphsir": "table5_dphsir",
}
LOSSES = {
    "mae": nn.L1Loss(),
    "asy_mae": AsymmetricLoss("mae"),
    "mse": nn.MSELoss(),
    "asy_mse": AsymmetricLoss("mse"),
}
REPETITIONS = 11
SECONDS = {"cpu": 1.0, "cuda": 0.4}  # of work between two looks at the clock, about


def compare(device: torch.device, runs: dict, rows: list[tuple], again=REPETITIONS) -> list[dict]:
    """Measure runs in turn; a line for each row (what, one run, another, goal).

    A line is the first run's time over the second's.
    """
    seconds = in_turn(runs, device, again)
    return [line(what, seconds[one], seconds[other], goal) for what, one, other, goal in rows]


def in_turn(
    runs: dict[str, Callable[[], object]], device: torch.device, again: int = REPETITIONS
) -> dict[str, list[float]]:
    """Seconds of every run, measured in turn, after one round that is not counted.

    On a CPU these are CPU seconds of this process, which other work on the machine changes little.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(again + 1):
        for name, run in runs.items():
            started = clock()
            run()
            estimate.wait(device)
            if number:
                seconds[name].append(clock() - started)
    return seconds


def line(what: str, first: list[float], second: list[float], goal: str = "") -> dict:
    """A line of the table: the median of the ratios pair by pair, and whether the goal is met.

    ``goal`` is as ">= 0.97", "<= 1.01" or empty.
    """
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    lower, value, upper = np.quantile(ratios, [0.25, 0.5, 0.75])
    met = ""
    if goal:
        sign, bound = goal.split()
        reaches = {">=": operator.ge, "<=": operator.le}[sign]
        met = "yes" if reaches(value, float(bound)) else "no"
    return {
        "what": what,
        "goal": goal,
        "measured": f"{value:.3g}",
        "quartiles": f"{lower:.3g} to {upper:.3g}" if len(ratios) > 1 else "",
        "met": met,
    }


def repeated(times: int, run: Callable, *arguments, **options) -> Callable[[], None]:
    """``run(*arguments, **options)`` so many times, as one run."""

    def many() -> None:
        for _ in range(times):
            run(*arguments, **options)

    return many


class Setup:
    """A network at its recipe in a profile: everything that a training needs."""

    def __init__(self, name: str, device: torch.device, *more: str, profile: str = "quick"):
        overrides = [f"experiment={NETWORKS[name]}", f"profile={profile}", *more]
        overrides += ["dataset=bundled", f"runtime.device={device}"]
        self.cfg = resolve(config.compose(overrides))
        self.recipe = recipe = self.cfg.recipe
        self.device = device
        self.network, self.task = parts.build(self.cfg, device)
        self.images = catalogue.training_set("bundled", mode=self.task.mode).images
        self.sampler = PatchSampler(
            self.images, self.task, patch=recipe.patch, batch=recipe.batch, seed=0, device=device
        )
        self.fixed = next(self.sampler)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-5, fused=True)
        enough = math.ceil(
            SECONDS.get(device.type, 1) / estimate.measure(self.step, device, seconds=0, least=6)
        )
        self.steps = recipe.log_every * math.ceil(enough / recipe.log_every)  # whole log lines

    def step(self, criterion: nn.Module = LOSSES["mse"], plain: bool = False) -> None:
        """One training step on the fixed batch; ``plain``: GRUNet by 3-D convolutions."""
        inputs, label = self.fixed
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.cfg.amp):
            output = self.network(inputs, plain=True) if plain else self.network(inputs)
        self.optimizer.zero_grad(set_to_none=True)
        criterion(output.float(), label).backward()
        self.optimizer.step()

    def many(self, **options) -> Callable[[], None]:
        """So many steps that the clock tells them apart, as one run."""
        return repeated(self.steps, self.step, **options)

    def train(self) -> None:
        """As many steps of real training, from drawing the patches to logging."""
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=1e-5, total_steps=self.steps, cycle_momentum=False
        )
        trainer = self.trainer("mse", self.network, self.optimizer, schedule)
        trainer.resume = trainer.save = lambda: None  # a checkpoint is due once a minute
        trainer.run()
        self.network.train()

    def stepping(self, **how) -> Callable[[], None]:
        """Steps of the network's own recipe on the fixed batch."""
        network = copy.deepcopy(self.network).train()
        own = parts.optimization(self.recipe, network)
        step = self.trainer("asy_mse", network, *own, **how).stepping()
        return repeated(self.steps, step, *self.fixed)

    def trainer(self, loss, network, optimizer, scheduler, **how) -> Trainer:
        return Trainer(
            network, LOSSES[loss], self.sampler, optimizer, scheduler, steps=self.steps,
            folder="", device=self.device, amp=self.cfg.amp, clip=self.recipe.clip,
            channels_last=self.cfg.channels_last, ema=self.recipe.ema,
            log_every=self.recipe.log_every, label=None, **how,
        )  # fmt: skip
