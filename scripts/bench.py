"""Speed, as ratios within one run, beside the goals: ``make bench``.

    python scripts/bench.py                    # everything but "quick"
    python scripts/bench.py training losses    # some sections
    python scripts/bench.py steps device=cpu   # elsewhere than on the GPU
    python scripts/bench.py quick              # the quick profile's 16 runs, by the clock

Whatever is compared is measured in turn (A B A B ...), so that a machine whose speed drifts slows
both. A value is the ratio of the medians; the spread is the quartiles of the ratios pair by pair.
Prints the table and writes results/bench/ (results=FOLDER for another one than results/): bench.md,
bench.csv, and step_times.csv (the losses' step times, which the verdict on training time reads:
copy it into a study). A section that is not run again keeps its rows. Needs a quiet machine, and 10
minutes on two CPU cores.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from asyrepro import muon
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.losses import AsymmetricLoss
from asyrepro.runs import config, evaluation, parts, provenance
from asyrepro.runs.resolve import resolve
from asyrepro.system import devices, files
from asyrepro.system.errors import ConfigError, say
from asyrepro.system.options import argument, command, setting
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
SECONDS = 0.4  # of work between two looks at the clock, about


@dataclass(kw_only=True)
class Options:
    sections: list[str] = argument("what to measure", shown="SECTION", default=[])
    device: str = setting("auto", "on which")
    results: Path = setting(Path("results"), "folder of all studies", shown="FOLDER")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, Options, _measure, arguments)


def _measure(options: Options) -> None:
    for name in options.sections:
        if name not in SECTIONS:
            raise ConfigError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    device, folder = devices.choose(options.device), options.results / "bench"
    sections = SECTIONS | {"training": partial(training, folder=folder)}
    torch.backends.cudnn.benchmark = True
    for name in options.sections or [name for name in SECTIONS if name != "quick"]:
        say(f"{name} ...")
        rows = pd.DataFrame(sections[name](device))
        rows.insert(0, "section", name)
        rows["device"] = machine(device)
        merge(rows, folder / "bench.csv", ["section", "device"])
        table = pd.read_csv(folder / "bench.csv", keep_default_na=False)
        files.write_text(folder / "bench.md", markdown(table))
        say(markdown(table[table["section"] == name]))
    say(f"all rows: {folder / 'bench.md'}")


class Setup:
    """A network at its recipe in a profile: everything that a training needs."""

    def __init__(self, name: str, device: torch.device, profile: str = "quick"):
        overrides = [f"experiment={NETWORKS[name]}", f"profile={profile}", "dataset=bundled"]
        self.cfg = resolve(config.compose(overrides))
        self.device = device
        self.network, self.task = parts.build(self.cfg, device)
        self.images = catalogue.training_set("bundled", mode=self.task.mode).images
        recipe = self.cfg.recipe
        self.sampler = PatchSampler(
            self.images, self.task, patch=recipe.patch, batch=recipe.batch, seed=0, device=device
        )
        self.fixed = next(self.sampler)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-5, fused=True)
        self.step()  # the first is slow: CUDA starts, and convolutions choose their kernels
        wait(self.device)
        started = time.perf_counter()
        for _ in range(6):
            self.step()
        wait(self.device)
        enough = max(1, round(SECONDS * 6 / (time.perf_counter() - started)))
        self.steps = recipe.log_every * math.ceil(enough / recipe.log_every)  # whole log lines

    def step(self, criterion: nn.Module = LOSSES["mse"], plain: bool = False) -> None:
        """One training step on the fixed batch; ``plain``: GRUNet by 3-D convolutions."""
        inputs, label = self.fixed
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.cfg.amp):
            output = self.network(inputs, plain=True) if plain else self.network(inputs)
        self.optimizer.zero_grad(set_to_none=True)
        criterion(output.float(), label).backward()
        self.optimizer.step()

    def many(self, **options) -> None:
        for _ in range(self.steps):
            self.step(**options)

    def train(self) -> float:
        """Seconds of as many steps of real training, from drawing the patches to logging."""
        recipe = self.cfg.recipe
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=1e-5, total_steps=self.steps, cycle_momentum=False
        )
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                self.network, LOSSES["mse"], self.sampler, self.optimizer, scheduler,
                steps=self.steps, folder=Path(folder), device=self.device, amp=self.cfg.amp,
                channels_last=self.cfg.channels_last, clip=recipe.clip, ema=recipe.ema,
                log_every=recipe.log_every, label=None,
            )  # fmt: skip
            trainer.run()
        self.network.train()
        return trainer.seconds  # without the checkpoint at the end, which is due once a minute

    def stepping(self, **how) -> Callable[[], None]:
        """Steps of the network's own recipe on the fixed batch."""
        network = copy.deepcopy(self.network).train()
        optimizer, scheduler = parts.optimization(self.cfg.recipe, network)
        trainer = Trainer(
            network, LOSSES["asy_mse"], self.sampler, optimizer, scheduler, steps=1,
            folder=Path(), device=self.device, amp=self.cfg.amp, clip=self.cfg.recipe.clip, **how,
        )  # fmt: skip
        advance = trainer.stepping()

        def many() -> None:
            for _ in range(self.steps):
                advance(*self.fixed)

        return many


def training(device: torch.device, folder: Path) -> list[dict]:
    """Real training against steps on one fixed batch, and asymmetric against base losses."""
    goal = 0.95 if device.type == "cuda" else 0.97
    rows, times = [], []
    for name in NETWORKS:
        this = Setup(name, device)
        runs = {loss: lambda c=c, s=this: s.many(criterion=c) for loss, c in LOSSES.items()}
        seconds = interleaved({**runs, "real": this.train}, device)
        what = f"{name}: real training / fixed batch and plain MSE, patches per second"
        rows.append(row(what, seconds["mse"], seconds["real"], at_least=goal))
        for base in ("mae", "mse"):
            what = f"{name}: step time, Asy_{base.upper()} / {base.upper()}"
            rows.append(row(what, seconds[f"asy_{base}"], seconds[base], at_most=1.01))
        times += [
            {"model": name, "loss": loss, "step_ms": 1e3 * value / this.steps, "repetition": number}
            for loss in LOSSES
            for number, value in enumerate(seconds[loss])
        ]
    files.write_csv(folder / "step_times.csv", pd.DataFrame(times), numbers=None)
    return rows


def losses(device: torch.device) -> list[dict]:
    """The loss alone, forward and backward, eager and under torch.compile.

    On the CPU in CPU seconds, which other work on the machine changes little.
    """
    kinds = {
        "eager": (LOSSES, {"mae": 2, "mse": 4}),
        "compiled": ({k: torch.compile(v) for k, v in LOSSES.items()}, {"mae": 1.5, "mse": 1.5}),
    }
    rows = []
    for shape in ((16, 1, 96, 96), (4, 3, 192, 192)):
        output = torch.rand(shape, device=device, requires_grad=True)
        label = torch.rand(shape, device=device)

        def many(criterion: Callable, output=output, label=label) -> float | None:
            started = time.process_time()
            for _ in range(100):
                output.grad = None
                criterion(output, label).backward()
            return time.process_time() - started if device.type == "cpu" else None

        for kind, (criteria, goals) in kinds.items():
            runs = {name: lambda c=loss: many(c) for name, loss in criteria.items()}
            seconds = interleaved(runs, device)
            for base, goal in goals.items():
                size = "x".join(map(str, shape))
                what = f"loss alone, {kind}, {size}: Asy_{base.upper()} / {base.upper()}"
                rows.append(row(what, seconds[f"asy_{base}"], seconds[base], at_most=goal))
    return rows


class Decoded(Dataset):
    """The usual way to write it: each item decodes a file, crops it and reduces the crop."""

    def __init__(self, paths: list[Path], patch: int, items: int, scale: int, mode: str):
        self.paths, self.items, self.mode = paths, items, mode
        self.crop, self.small = transforms.RandomCrop(patch), patch // scale

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index % len(self.paths)]) as image:
            label = self.crop(image.convert(self.mode))
        small = label.resize((self.small, self.small), Image.BICUBIC)
        to_tensor = transforms.ToTensor()
        return to_tensor(small), to_tensor(label)


def usual(device: torch.device) -> list[dict]:
    """Our training, by its own recipe, against Adam on a DataLoader with two workers, float32."""
    goals = {"dncnn": 2.2, "edsr": 1.1}
    return [_usual(name, device, 10 if device.type == "cuda" else goals[name]) for name in goals]


def _usual(name: str, device: torch.device, goal: float) -> dict:
    this = Setup(name, device)
    recipe, task = this.cfg.recipe, this.task
    network = copy.deepcopy(this.network).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    this.optimizer, _ = parts.optimization(recipe, this.network)
    sigma = getattr(task, "sigma", 0) / 255
    mode = "RGB" if task.mode == "rgb" else "L"
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, image in enumerate(this.images):
            paths.append(Path(folder) / f"{number:03}.jpg")
            pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
            Image.fromarray(np.ascontiguousarray(pixels)).save(paths[-1], quality=95)
        # One epoch, as a new one would start the workers again.
        items = recipe.batch * this.steps * (REPETITIONS + 1)
        data = Decoded(paths, recipe.patch, items, task.scale, mode)
        batches = iter(DataLoader(data, batch_size=recipe.batch, num_workers=2, pin_memory=True))

        def their_steps() -> None:
            for _ in range(this.steps):
                small, label = (part.to(device) for part in next(batches))
                output = network(small + sigma * torch.randn_like(small) if sigma else small)
                loss = nn.functional.mse_loss(output, label)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

        seconds = interleaved({"ours": this.train, "theirs": their_steps}, device)
    what = f"{name}: our training / the usual DataLoader training, patches per second"
    return row(what, seconds["theirs"], seconds["ours"], at_least=goal)


def steps(device: torch.device) -> list[dict]:
    """A step of each network's recipe, eager, as a CUDA graph, compiled, and both."""
    kinds = {
        "graph": {"graph": True},
        "compiled": {"compile": True},
        "compiled graph": {"graph": True, "compile": True},
    }
    rows = []
    for name in NETWORKS:
        names = {kind: f"{name}: step, eager / {kind}" for kind in kinds}
        if device.type != "cuda":
            rows += [missing(what, "no GPU at hand") for what in names.values()]
            continue
        this = Setup(name, device)
        runs = {"eager": this.stepping(graph=False)}
        runs |= {kind: this.stepping(**{"graph": False} | how) for kind, how in kinds.items()}
        seconds = interleaved(runs, device)
        rows += [row(what, seconds["eager"], seconds[kind]) for kind, what in names.items()]
    return rows


def study(device: torch.device) -> list[dict]:
    """What a study of finished runs costs, where there is nothing to train: CPU seconds, memory."""
    rows = []
    for copies, goals in ((1, (6, 5)), (10, (10, 40))):
        with tempfile.TemporaryDirectory() as folder:
            seeds = _finished(Path(folder) / "many", copies)
            plan = "from asyrepro.commands import reproduce as r; r._report = lambda plan: None; "
            plan += (
                f"raise SystemExit(r.main(['profile=srcnn_seeds', 'study=many', 'seed={seeds}', "
            )
            plan += f"'results={folder}']))"
            commands = {
                "planning": ["-c", plan],
                "report": ["-m", "asyrepro", "report", "study=many", f"results={folder}"],
            }
            for (what, command), goal in zip(commands.items(), goals, strict=True):
                seconds, megabytes = _cost(command)
                what = f"{what} of {120 * copies:,} finished runs"
                rows.append(row(f"{what}, CPU seconds", [seconds], [1.0], at_most=goal))
                rows.append(row(f"{what}, MB", [megabytes], [1.0], at_most=1000))
    return rows


def _finished(folder: Path, copies: int) -> str:
    """Make a study of copies of the committed one, each with seeds of its own; returns these."""
    shutil.copytree(Path("results") / "srcnn-seeds", folder)
    for seed, copy_ in itertools.product(range(10), range(1, copies)):
        for run in folder.glob(f"table2/*/seed{seed}"):
            new = run.with_name(f"seed{seed + 10 * copy_}")
            shutil.copytree(run, new)
            text = (new / "config.yaml").read_text()
            text = text.replace(f"\nseed: {seed}\n", f"\nseed: {seed + 10 * copy_}\n")
            (new / "config.yaml").write_text(text)
            found = pd.read_csv(new / "rows.csv", dtype=str, keep_default_na=False)
            found["seed"] = seed + 10 * copy_
            files.write_csv(new / "rows.csv", found, numbers=None)
    return ",".join(map(str, range(10 * copies)))


def _cost(command: list[str]) -> tuple[float, float]:
    """CPU seconds of a command, which other work on the machine changes little, and its memory."""
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def grunet(device: torch.device) -> list[dict]:
    """GRUNet's path for grey images against its plain 3-D convolutions."""
    this = Setup("dphsir", device)
    inputs = this.fixed[0]

    def forward(plain: bool) -> None:
        with torch.inference_mode():
            for _ in range(this.steps):
                this.network(inputs, plain=plain)

    runs = {
        "step": this.many,
        "step 3-D": lambda: this.many(plain=True),
        "forward": lambda: forward(False),
        "forward 3-D": lambda: forward(True),
    }
    seconds = interleaved(runs, device)
    return [
        row(f"dphsir: {what} on grey images, speed-up over 3-D convolutions",
            seconds[f"{key} 3-D"], seconds[key], at_least=2.5)
        for key, what in {"step": "training step", "forward": "forward"}.items()
    ]  # fmt: skip


def optimizing(device: torch.device) -> list[dict]:
    """Muon's step at the cpu recipes against Newton-Schulz iteration on the kernels themselves."""

    def on_the_kernels(x: Tensor, iterations: int) -> Tensor:
        x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
        tall = x.shape[-2] > x.shape[-1]
        x = x.mT if tall else x
        a, b, c = muon.COEFFICIENTS
        for _ in range(iterations):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.mT if tall else x

    found = []
    for name in ("edsr", "dncnn", "dphsir"):
        this = Setup(name, device, profile="cpu")
        optimizer = config.make(this.cfg.recipe.optimizer)(this.network.parameters())

        def many(optimizer=optimizer) -> None:
            for _ in range(10):  # with the gradients of the set-up's last step
                optimizer.step()

        def many_on_the_kernels(many=many) -> None:
            with mock.patch.object(muon, "orthogonalized", on_the_kernels):
                many()

        seconds = interleaved({"gram": many, "kernels": many_on_the_kernels}, device)
        what = f"{name}: Muon's step, on Gram matrices / on the kernels"
        found.append(row(what, seconds["gram"], seconds["kernels"]))
    return found


def evaluating(device: torch.device) -> list[dict]:
    """DnCNN on every eighth image of BSD68, four metrics, against its forward passes alone."""
    this = Setup("dncnn", device)
    try:
        testset = catalogue.test_set("bsd68", mode="grey", download=False)
    except catalogue.NotAvailable:
        testset = catalogue.test_set("bundled", mode="grey")
    every = 8 if len(testset) > 30 else 1
    testset = replace(testset, names=testset.names[::every], images=testset.images[::every])
    inputs = [
        this.task.test_pair(image, name)[0].to(device)
        for name, image in zip(testset.names, testset.images, strict=True)
    ]

    def forward() -> None:
        with torch.inference_mode():
            for x in inputs:
                this.network(x).cpu()

    this.network.eval()
    runs = {
        "forward": forward,
        "evaluate": lambda: evaluation.evaluate(this.network, testset, this.task, device=device),
    }
    seconds = interleaved(runs, device, repetitions=3)
    what = f"dncnn: evaluation of {len(inputs)} images of {testset.title} / forward passes alone"
    return [row(what, seconds["evaluate"], seconds["forward"], at_most=1.5)]


def peak(device: torch.device) -> list[dict]:
    """DnCNN's training step as a share of the matrix products the device can do."""
    this = Setup("dncnn", device)
    kind = torch.bfloat16 if this.cfg.amp else torch.float32
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    if device.type == "cuda":  # the quick recipe's batch is far too small for a GPU
        patch = torch.rand(128, 1, 64, 64, device=device)
        this.fixed = (patch.contiguous(memory_format=torch.channels_last), patch)
    with FlopCounterMode(display=False) as counter:
        this.step()
    seconds = interleaved({"product": lambda: a @ b, "step": this.step}, device)
    fastest = 2 * side**3 / statistics.median(seconds["product"])
    share = [counter.get_total_flops() / value / fastest for value in seconds["step"]]
    goal = 0.3 if device.type == "cuda" else None
    what = f"dncnn: training step, share of the {str(kind)[6:]} matrix peak {fastest / 1e12:.2g} "
    return [row(what + "TFLOP/s", share, [1.0] * len(share), at_least=goal)]


def quick(device: torch.device) -> list[dict]:
    """The quick profile, all 16 cells side by side, by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "asyrepro", "reproduce", "profile=quick", "study=quick",
            f"results={folder}", "runtime.progress=false", "hydra/launcher=processes",
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True)
        minutes = (time.perf_counter() - started) / 60
    what = "quick profile, 16 cells (hydra/launcher=processes), minutes"
    return [row(what, [minutes], [1.0], at_most=10)]


SECTIONS = {
    "training": training,
    "losses": losses,
    "usual": usual,
    "steps": steps,
    "study": study,
    "grunet": grunet,
    "optimizing": optimizing,
    "evaluating": evaluating,
    "peak": peak,
    "quick": quick,
}


def wait(device: torch.device) -> None:
    """Until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    runs: dict[str, Callable], device: torch.device, repetitions: int = REPETITIONS
) -> dict[str, list[float]]:
    """Seconds of every run, measured in turn, after one round that is not counted.

    A run that returns a number has measured itself.
    """
    seconds: dict[str, list[float]] = {key: [] for key in runs}
    for number in range(repetitions + 1):
        for key, run in runs.items():
            started = time.perf_counter()
            itself = run()
            wait(device)
            elapsed = time.perf_counter() - started
            if number:
                seconds[key].append(itself if isinstance(itself, float) else elapsed)
    return seconds


def row(what: str, first: list, second: list, *, at_least=None, at_most=None) -> dict:
    """A line of the table: the ratio of the medians, its spread, and whether the goal is met."""
    value = statistics.median(first) / statistics.median(second)
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    lower, upper = np.quantile(ratios, [0.25, 0.75])
    goal = f">= {at_least}" if at_least else f"<= {at_most}" if at_most else ""
    met = (value >= at_least) if at_least else (value <= at_most) if at_most else None
    return {
        "what": what,
        "goal": goal,
        "measured": f"{value:.3g}",
        "quartiles": f"{lower:.3g} to {upper:.3g}" if len(ratios) > 1 else "",
        "met": "" if met is None else "yes" if met else "no",
    }


def missing(what: str, reason: str) -> dict:
    """A line of the table for what cannot be measured here."""
    return {"what": what, "goal": "", "measured": "", "quartiles": reason, "met": ""}


def merge(rows: pd.DataFrame, path: Path, keys: list[str]) -> None:
    """Replace the rows of a CSV that agree with new ones in ``keys``."""
    if path.is_file():
        old = pd.read_csv(path, keep_default_na=False)
        same = old[keys].apply(tuple, axis=1).isin(set(rows[keys].apply(tuple, axis=1)))
        rows = pd.concat([old[~same], rows])
        order = {name: number for number, name in enumerate(SECTIONS)}
        rank = {"section": lambda c: c.map(order), "device": lambda c: c}
        rows = rows.sort_values(["device", "section"], key=lambda c: rank[c.name](c), kind="stable")
    files.write_csv(path, rows, numbers=None)


def machine(device: torch.device) -> str:
    """The hardware and the versions, in a line."""
    name = devices.name_of(device)
    if device.type == "cpu":
        name = f"{os.cpu_count()} CPU cores ({processor()}), {torch.get_num_threads()} threads"
    return f"{name}; {provenance.decisive_versions()}"


def processor() -> str:
    return f"{provenance.cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"


def markdown(table: pd.DataFrame) -> str:
    """The table, by machine."""
    lines = ["# Speed, as ratios within one run", "", "`make bench`"]
    for device, rows in table.groupby("device", sort=False):
        lines += ["", f"On {device}:", ""]
        lines += ["| what | goal | measured | quartiles | met |", "|---|---|---|---|---|"]
        lines += [
            f"| {r.what} | {r.goal} | {r.measured} | {r.quartiles} | {r.met} |"
            for r in rows.itertuples()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
