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

import atexit
import copy
import math
import operator
import os
import re
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
from torchvision.io import write_jpeg

from asyrepro import muon
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.losses import AsymmetricLoss
from asyrepro.runs import config, estimate, evaluation, parts, provenance
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
    torch.backends.cudnn.benchmark = True
    for name in options.sections or [name for name in SECTIONS if name != "quick"]:
        say(f"{name} ...")
        rows = pd.DataFrame(SECTIONS[name](device, folder))
        rows.insert(0, "section", name)
        rows["device"] = machine(device)
        table = merge(rows, folder / "bench.csv")
        files.write_text(folder / "bench.md", markdown(table))
        say(markdown(table[table["section"] == name]))
    say(f"all rows: {folder / 'bench.md'}")


# ------------------------------------------------------------------------------- measuring


def compare(device: torch.device, runs: dict, rows: list[tuple], again=REPETITIONS) -> list[dict]:
    """Measure runs in turn; a line for each row (what, one run, another, goal).

    A line is the first run's time by the second's.
    """
    seconds = in_turn(runs, device, again)
    return [line(what, seconds[one], seconds[other], goal) for what, one, other, goal in rows]


def in_turn(
    runs: dict[str, Callable[[], float | None]], device: torch.device, again: int = REPETITIONS
) -> dict[str, list[float]]:
    """Seconds of every run, measured in turn, after one round that is not counted.

    A run that returns a number has measured itself.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(again + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            itself = run()
            estimate.wait(device)
            elapsed = time.perf_counter() - started
            if number:
                seconds[name].append(itself if isinstance(itself, float) else elapsed)
    return seconds


def line(what: str, first: list[float], second: list[float], goal: str = "") -> dict:
    """A line of the table: the ratio of the medians, its spread, and whether the goal is met.

    ``goal`` is as ">= 0.97", "<= 1.01" or empty.
    """
    value = statistics.median(first) / statistics.median(second)
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    lower, upper = np.quantile(ratios, [0.25, 0.75])
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

    def __init__(self, name: str, device: torch.device, profile: str = "quick"):
        overrides = [f"experiment={NETWORKS[name]}", f"profile={profile}", "dataset=bundled"]
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
        enough = math.ceil(SECONDS / estimate.measure(self.step, device, seconds=0, least=6))
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

    def train(self) -> float:
        """Seconds of as many steps of real training, from drawing the patches to logging."""
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=1e-5, total_steps=self.steps, cycle_momentum=False
        )
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.trainer("mse", folder, self.network, self.optimizer, schedule)
            trainer.run()
        self.network.train()
        return trainer.seconds  # without the checkpoint at the end, which is due once a minute

    def stepping(self, **how) -> Callable[[], None]:
        """Steps of the network's own recipe on the fixed batch."""
        network = copy.deepcopy(self.network).train()
        own = parts.optimization(self.recipe, network)
        step = self.trainer("asy_mse", "", network, *own, **how).stepping()
        return repeated(self.steps, step, *self.fixed)

    def trainer(self, loss, folder, network, optimizer, scheduler, **how) -> Trainer:
        return Trainer(
            network, LOSSES[loss], self.sampler, optimizer, scheduler, steps=self.steps,
            folder=folder, device=self.device, amp=self.cfg.amp, clip=self.recipe.clip,
            channels_last=self.cfg.channels_last, ema=self.recipe.ema,
            log_every=self.recipe.log_every, label=None, **how,
        )  # fmt: skip


# -------------------------------------------------------------------------------- sections


def training(device: torch.device, folder: Path) -> list[dict]:
    """Real training against steps on one fixed batch, and asymmetric against base losses."""
    real = ">= 0.95" if device.type == "cuda" else ">= 0.97"
    rows = [
        ("real training / fixed batch and plain MSE, patches per second", "mse", "real", real),
        ("step time, Asy_MAE / MAE", "asy_mae", "mae", "<= 1.01"),
        ("step time, Asy_MSE / MSE", "asy_mse", "mse", "<= 1.01"),
    ]
    lines, times = [], []
    for name in NETWORKS:
        this = Setup(name, device)
        runs = {loss: this.many(criterion=criterion) for loss, criterion in LOSSES.items()}
        found = in_turn({**runs, "real": this.train}, device)
        lines += [line(f"{name}: {what}", found[a], found[b], goal) for what, a, b, goal in rows]
        times += [
            {"model": name, "loss": loss, "step_ms": 1e3 * value / this.steps, "repetition": number}
            for loss in LOSSES
            for number, value in enumerate(found[loss])
        ]
    files.write_csv(folder / "step_times.csv", pd.DataFrame(times), numbers=None)
    return lines


def losses(device: torch.device, _: Path) -> list[dict]:
    """The loss alone, forward and backward, eager and under torch.compile.

    On the CPU in CPU seconds of one thread, which other work on the machine changes little.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    compiled = {name: torch.compile(criterion) for name, criterion in LOSSES.items()}
    lines = []
    for shape in ((16, 1, 96, 96), (4, 3, 192, 192)):
        output = torch.rand(shape, device=device, requires_grad=True)
        label = torch.rand(shape, device=device)

        def many(criterion: Callable, output=output, label=label) -> float | None:
            started = time.process_time()
            for _ in range(100):
                output.grad = None
                criterion(output, label).backward()
            return time.process_time() - started if device.type == "cpu" else None

        for kind, criteria, mae, mse in (
            ("eager", LOSSES, "<= 2", "<= 4"),
            ("compiled", compiled, "<= 1.5", "<= 1.5"),
        ):
            what = f"loss alone, one thread, {kind}, {'x'.join(map(str, shape))}"
            rows = [
                (f"{what}: Asy_MAE / MAE", "asy_mae", "mae", mae),
                (f"{what}: Asy_MSE / MSE", "asy_mse", "mse", mse),
            ]
            runs = {name: partial(many, criterion) for name, criterion in criteria.items()}
            lines += compare(device, runs, rows)
    torch.set_num_threads(threads)
    return lines


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


def usual(device: torch.device, _: Path) -> list[dict]:
    """Our training, by its own recipe, against Adam on a DataLoader with two workers, float32."""
    lines = []
    for name, least in {"dncnn": 2.2, "edsr": 1.1}.items():
        this = Setup(name, device)
        runs = {"ours": this.train, "theirs": repeated(this.steps, their_step(this))}
        what = f"{name}: our training / the usual DataLoader training, patches per second"
        goal = f">= {10 if device.type == 'cuda' else least}"
        lines += compare(device, runs, [(what, "theirs", "ours", goal)])
    return lines


def their_step(this: Setup) -> Callable[[], None]:
    """A step of the usual training; from here on ``this`` trains by its recipe's optimiser."""
    recipe, task = this.recipe, this.task
    network = copy.deepcopy(this.network).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    this.optimizer, _ = parts.optimization(recipe, this.network)
    sigma = getattr(task, "sigma", 0) / 255
    mode = "RGB" if task.mode == "rgb" else "L"
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    paths = [folder / f"{number:03}.jpg" for number in range(len(this.images))]
    for path, image in zip(paths, this.images, strict=True):
        write_jpeg(image.contiguous(), str(path), quality=95)
    items = recipe.batch * this.steps * (REPETITIONS + 1)  # one epoch: a new one starts workers
    data = Decoded(paths, recipe.patch, items, task.scale, mode)
    batches = iter(DataLoader(data, batch_size=recipe.batch, num_workers=2, pin_memory=True))

    def step() -> None:
        small, label = (part.to(this.device) for part in next(batches))
        output = network(small + sigma * torch.randn_like(small) if sigma else small)
        loss = nn.functional.mse_loss(output, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def steps(device: torch.device, _: Path) -> list[dict]:
    """A step of each network's recipe, eager, as a CUDA graph, compiled, and both."""
    kinds = {
        "graph": {"graph": True},
        "compiled": {"graph": False, "compile": True},
        "compiled graph": {"graph": True, "compile": True},
    }
    lines = []
    for name in NETWORKS:
        rows = [(f"{name}: step, eager / {kind}", "eager", kind, "") for kind in kinds]
        if device.type != "cuda":
            empty = {"goal": "", "measured": "", "quartiles": "no GPU at hand", "met": ""}
            lines += [{"what": what, **empty} for what, *_ in rows]
            continue
        this = Setup(name, device)
        runs = {kind: this.stepping(**how) for kind, how in kinds.items()}
        lines += compare(device, {"eager": this.stepping(graph=False), **runs}, rows)
    return lines


def study(device: torch.device, _: Path) -> list[dict]:
    """What a study of finished runs costs, where there is nothing to train: CPU seconds, memory."""
    lines = []
    for copies, plan_goal, report_goal in ((1, "<= 6", "<= 5"), (10, "<= 10", "<= 40")):
        with tempfile.TemporaryDirectory() as folder:
            seeds = _finished(Path(folder) / "many", copies)
            settings = ["profile=srcnn_seeds", "study=many", f"seed={seeds}", f"results={folder}"]
            planning = (
                "from asyrepro.commands import reproduce; reproduce._report = lambda plan: None; "
                f"raise SystemExit(reproduce.main({settings}))"
            )
            report = ["-m", "asyrepro", "report", "study=many", f"results={folder}"]
            for what, arguments, goal in (
                ("planning", ["-c", planning], plan_goal),
                ("report", report, report_goal),
            ):
                seconds, megabytes = _cost(arguments)
                what = f"{what} of {120 * copies:,} finished runs"
                lines.append(line(f"{what}, CPU seconds", [seconds], [1.0], goal))
                lines.append(line(f"{what}, MB", [megabytes], [1.0], "<= 1000"))
    return lines


def _finished(folder: Path, copies: int) -> str:
    """Make a study of copies of the committed one, each with seeds of its own; returns these."""
    shutil.copytree(Path("results") / "srcnn-seeds", folder)
    for run in [*folder.glob("table2/*/seed*")]:
        seed = int(run.name.removeprefix("seed"))
        for other in range(seed + 10, 10 * copies, 10):
            new = shutil.copytree(run, run.with_name(f"seed{other}"))
            text = (new / "config.yaml").read_text()
            text = text.replace(f"\nseed: {seed}\n", f"\nseed: {other}\n")
            (new / "config.yaml").write_text(text)
            found = pd.read_csv(new / "rows.csv", dtype=str, keep_default_na=False)
            files.write_csv(new / "rows.csv", found.assign(seed=other), numbers=None)
    return ",".join(map(str, range(10 * copies)))


def _cost(arguments: list[str]) -> tuple[float, float]:
    """CPU seconds of a command, which other work on the machine changes little, and its peak in MB.

    The peak is read while the command runs: what wait4 tells includes this process's own memory.
    """
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{child.pid}/status")
    peak = 0
    while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
        peak = max(peak, *map(int, re.findall(r"VmHWM:\s+(\d+)", status.read_text())), 0)
        time.sleep(0.05)
    _, code, used = ended
    if code:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(code), arguments)
    return used.ru_utime + used.ru_stime, peak / 1024


def grunet(device: torch.device, _: Path) -> list[dict]:
    """GRUNet's path for grey images against its plain 3-D convolutions."""
    this = Setup("dphsir", device)
    forward = torch.inference_mode()(this.network)
    runs = {
        "step": this.many(),
        "step 3-D": this.many(plain=True),
        "forward": repeated(this.steps, forward, this.fixed[0]),
        "forward 3-D": repeated(this.steps, forward, this.fixed[0], plain=True),
    }
    what = "on grey images, speed-up over 3-D convolutions"
    rows = [
        (f"dphsir: training step {what}", "step 3-D", "step", ">= 2.5"),
        (f"dphsir: forward {what}", "forward 3-D", "forward", ">= 2.5"),
    ]
    return compare(device, runs, rows)


def optimizing(device: torch.device, _: Path) -> list[dict]:
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

    lines = []
    for name in ("edsr", "dncnn", "dphsir"):
        this = Setup(name, device, profile="cpu")
        optimizer = config.make(this.recipe.optimizer)(this.network.parameters())
        many = repeated(10, optimizer.step)  # with the gradients of the set-up's last step
        runs = {
            "gram": many,
            "kernels": mock.patch.object(muon, "orthogonalized", on_the_kernels)(many),
        }
        what = f"{name}: Muon's step, on Gram matrices / on the kernels"
        lines += compare(device, runs, [(what, "gram", "kernels", "")])
    return lines


def evaluating(device: torch.device, _: Path) -> list[dict]:
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
    this.network.eval()

    @torch.inference_mode()
    def forward() -> None:
        for x in inputs:
            this.network(x).cpu()

    def evaluate() -> None:
        evaluation.evaluate(this.network, testset, this.task, device=device)

    what = f"dncnn: evaluation of {len(inputs)} images of {testset.title} / forward passes alone"
    rows = [(what, "evaluate", "forward", "<= 1.5")]
    return compare(device, {"forward": forward, "evaluate": evaluate}, rows, again=3)


def peak(device: torch.device, _: Path) -> list[dict]:
    """DnCNN's training step as a share of the matrix products the device can do."""
    this = Setup("dncnn", device)
    cuda = device.type == "cuda"
    kind = torch.bfloat16 if this.cfg.amp else torch.float32
    side = 8192 if cuda else 2048
    a, b = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    if cuda:  # the quick recipe's batch is far too small for a GPU
        patch = torch.rand(128, 1, 64, 64, device=device)
        this.fixed = (patch.contiguous(memory_format=torch.channels_last), patch)
    with FlopCounterMode(display=False) as counter:
        this.step()
    seconds = in_turn({"product": lambda: a @ b, "step": this.step}, device)
    fastest = 2 * side**3 / statistics.median(seconds["product"])
    share = [counter.get_total_flops() / value / fastest for value in seconds["step"]]
    what = f"dncnn: training step, share of the {str(kind)[6:]} matrix peak {fastest / 1e12:.2g} "
    return [line(what + "TFLOP/s", share, [1.0] * len(share), ">= 0.3" if cuda else "")]


def quick(device: torch.device, _: Path) -> list[dict]:
    """The quick profile, 16 runs, tables, figures and page, by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "asyrepro", "reproduce", "profile=quick", "study=quick",
            f"results={folder}", "runtime.progress=false",
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True)
        minutes = (time.perf_counter() - started) / 60
    return [line("quick profile, the whole, minutes", [minutes], [1.0], "<= 3.5")]


SECTIONS = {
    section.__name__: section
    for section in (
        training, losses, usual, steps, study, grunet, optimizing, evaluating, peak, quick,
    )
}  # fmt: skip


# -------------------------------------------------------------------------------- the table


def merge(lines: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Replace what a CSV holds of the same sections and devices; returns the whole, in order."""
    keys = ["device", "section"]
    if path.is_file():
        old = pd.read_csv(path, keep_default_na=False)
        again = old[keys].apply(tuple, axis=1).isin(lines[keys].apply(tuple, axis=1))
        lines = pd.concat([old[~again], lines])
    ranks = {name: number for number, name in enumerate(SECTIONS)}
    lines = lines.sort_values(keys, key=lambda column: column.replace(ranks), kind="stable")
    files.write_csv(path, lines, numbers=None)
    return lines


def machine(device: torch.device) -> str:
    """The hardware and the versions, in a line."""
    name = devices.name_of(device)
    if device.type == "cpu":
        processor = f"{provenance.cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"
        name = f"{os.cpu_count()} CPU cores ({processor}), {torch.get_num_threads()} threads"
    return f"{name}; {provenance.decisive_versions()}"


def markdown(table: pd.DataFrame) -> str:
    """The table, by machine."""
    text = "# Speed, as ratios within one run\n\n`make bench`\n"
    for device, lines in table.groupby("device", sort=False):
        shown = lines.drop(columns=["section", "device"])
        text += f"\nOn {device}:\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n"
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
