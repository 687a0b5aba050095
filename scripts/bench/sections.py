"""What the bench measures: each function is a section, and returns its rows."""

from __future__ import annotations

import atexit
import copy
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from measuring import (
    LOSSES,
    NETWORKS,
    REPETITIONS,
    Setup,
    compare,
    in_turn,
    line,
    repeated,
)
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.io import write_jpeg

from asyrepro.data import catalogue
from asyrepro.runs import evaluation, parts
from asyrepro.system import devices, files
from asyrepro.tasks import Task


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
    """The loss alone, forward and backward, eager and under torch.compile."""
    compiled = {name: torch.compile(criterion, dynamic=False) for name, criterion in LOSSES.items()}
    lines = []
    for shape in ((16, 1, 96, 96), (4, 3, 192, 192)):
        output = torch.rand(shape, device=device, requires_grad=True)
        label = torch.rand(shape, device=device)

        def once(criterion: Callable, output=output, label=label) -> None:
            output.grad = None
            criterion(output, label).backward()

        for kind, criteria, mae, mse in (
            ("eager", LOSSES, "<= 2", "<= 4"),
            ("compiled", compiled, "<= 1.5", "<= 1.5"),
        ):
            what = f"loss alone, {kind}, {'x'.join(map(str, shape))}"
            rows = [
                (f"{what}: Asy_MAE / MAE", "asy_mae", "mae", mae),
                (f"{what}: Asy_MSE / MSE", "asy_mse", "mse", mse),
            ]
            runs = {name: repeated(100, once, loss) for name, loss in criteria.items()}
            lines += compare(device, runs, rows)
    return lines


class Decoded(Dataset):
    """The usual way to write it: each item decodes a file, crops it and reduces the crop."""

    def __init__(self, paths: list[Path], patch: int, items: int, task: Task):
        self.paths, self.items, self.task = paths, items, task
        self.crop, self.small = transforms.RandomCrop(patch), patch // task.scale

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index % len(self.paths)]) as image:
            label = self.crop(image.convert("RGB" if self.task.mode == "rgb" else "L"))
        small = label.resize((self.small, self.small), Image.BICUBIC)
        if self.task.enlarged:
            small = small.resize(label.size, Image.BICUBIC)
        to_tensor = transforms.ToTensor()
        return to_tensor(small), to_tensor(label)


def usual(device: torch.device, _: Path) -> list[dict]:
    """Our training, by its own recipe, against Adam on a DataLoader, at the same precision.

    The DataLoader has two workers on CUDA; on the CPU it decodes in the one thread that trains.
    """
    cuda, lines = device.type == "cuda", []
    kinds = {"float32": False}
    if devices.fast_bfloat16(device):
        kinds["bfloat16"] = True
    for name in ("srcnn", "edsr", "dncnn"):
        for kind, amp in kinds.items():
            this = Setup(name, device, f"amp={amp}")
            theirs = repeated(this.steps, their_step(this, workers=2 if cuda else 0))
            what = f"{name}: our training / the usual training, {kind}, patches per second"
            rows = [(what, "theirs", "ours", ">= 10" if cuda else ">= 1.1")]
            lines += compare(device, {"ours": this.train, "theirs": theirs}, rows)
    return lines


def their_step(this: Setup, workers: int) -> Callable[[], None]:
    """A step of the usual training; from here on ``this`` trains by its recipe's optimiser."""
    recipe, task = this.recipe, this.task
    network = copy.deepcopy(this.network).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    this.optimizer, _ = parts.optimization(recipe, this.network)
    sigma = getattr(task, "sigma", 0) / 255
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    paths = [folder / f"{number:03}.jpg" for number in range(len(this.images))]
    for path, image in zip(paths, this.images, strict=True):
        write_jpeg(image.contiguous(), str(path), quality=95)
    items = recipe.batch * this.steps * (REPETITIONS + 1)  # one epoch: a new one starts workers
    data = Decoded(paths, recipe.patch, items, task)
    cuda = this.device.type == "cuda"
    loader = DataLoader(data, batch_size=recipe.batch, num_workers=workers, pin_memory=cuda)
    batches = iter(loader)

    def step() -> None:
        small, label = (part.to(this.device) for part in next(batches))
        with torch.autocast(this.device.type, torch.bfloat16, enabled=this.cfg.amp):
            output = network(small + sigma * torch.randn_like(small) if sigma else small)
        loss = nn.functional.mse_loss(output.float(), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


FLOOR = "{}: step / the larger of its operations and bytes at the machine's fastest"


def empty(what: str) -> dict:
    """A line of what only a GPU can tell."""
    return {"what": what, "goal": "", "measured": "", "quartiles": "no GPU at hand", "met": ""}


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
            lines += [empty(what) for what, *_ in rows]
            continue
        this = Setup(name, device)
        runs = {kind: this.stepping(**how) for kind, how in kinds.items()}
        lines += compare(device, {"eager": this.stepping(graph=False), **runs}, rows)
    return lines


def precision(device: torch.device, _: Path) -> list[dict]:
    """A step of each network's recipe in float32 and in bfloat16."""
    if not devices.fast_bfloat16(device):
        return []
    profile, lines = "h200" if device.type == "cuda" else "cpu", []
    for name in NETWORKS:
        runs = {}
        for kind, amp in (("float32", False), ("bfloat16", True)):
            this = Setup(name, device, f"amp={amp}", profile=profile)
            this.steps = 5  # as many of either
            runs[kind] = this.stepping()
        rows = [(f"{name}: step, float32 / bfloat16, profile {profile}", *runs, "")]
        lines += compare(device, runs, rows)
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
    """CPU seconds of a command on one thread, and its peak in MB.

    The peak is read while the command runs: what wait4 tells includes this process's own memory.
    """
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # waiting threads take time of a core, too
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=one)
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
    """The optimiser's share of a training step, by recipe."""
    lines = []
    for profile in ("quick", "cpu"):
        for name in NETWORKS:
            this = Setup(name, device, profile=profile)
            this.steps = 5  # they need not be whole intervals of the log
            optimizer, _ = parts.optimization(this.recipe, this.network)
            optimise = repeated(this.steps, optimizer.step)  # on the gradients of the last step
            what = f"{name}: the optimiser's share of a step, profile {profile}"
            runs = {"optimiser": optimise, "step": this.stepping()}
            lines += compare(device, runs, [(what, "optimiser", "step", "<= 0.1")])
    return lines


def evaluating(device: torch.device, _: Path) -> list[dict]:
    """DnCNN on every eighth image of BSD68, four metrics, against its forward passes alone."""
    this = Setup("dncnn", device)
    try:
        testset = catalogue.test_set("bsd68", mode="grey", download=False)
    except catalogue.NotAvailable:
        testset = catalogue.test_set("bundled", mode="grey")
    every = 8 if len(testset) > 30 else 1
    testset = replace(testset, names=testset.names[::every], pixels=testset.pixels[::every])
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


class Moved(TorchDispatchMode):
    """Counts the bytes that convolutions and their gradients read and write.

    A step with all else fused into them moves as many.
    """

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        found = function(*arguments, **(named or {}))
        if "convolution" in function.name():
            tensors = (item for item in tree_leaves((arguments, found)) if torch.is_tensor(item))
            self.total += sum(tensor.nbytes for tensor in tensors)
        return found


def floor(device: torch.device, _: Path) -> list[dict]:
    """A step against the larger of its operations and bytes, each at the machine's fastest."""
    if device.type != "cuda":
        return [empty(FLOOR.format(name)) for name in NETWORKS]
    lines = []
    for name in NETWORKS:
        this = Setup(name, device, profile="h200")
        step, limit = this.stepping(graph=True, compile=True), 1.3 if name == "dncnn" else 2
        lines.append(above_floor(name, this, step, device, goal=f"<= {limit}"))
    return lines


def above_floor(name, this: Setup, step, device, goal="", side=8192, values=2**30) -> dict:
    """A line of :func:`floor`; ``side`` of the matrices and ``values`` of the copy set the pace."""
    kind = torch.bfloat16 if this.cfg.amp else torch.float32
    a, b = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    source = torch.rand(values, device=device)
    with FlopCounterMode(display=False) as operations, Moved() as moved:
        this.step()
    runs = {"product": partial(torch.mm, a, b), "copy": source.clone, "step": step}
    found = in_turn(runs, device)
    computing = operations.get_total_flops() / (2 * side**3) * statistics.median(found["product"])
    moving = moved.total / (2 * source.nbytes) * statistics.median(found["copy"])
    least = this.steps * max(computing, moving)
    return line(FLOOR.format(name), found["step"], [least] * len(found["step"]), goal)


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
        training, losses, usual, steps, floor, precision, study, grunet, optimizing, evaluating,
        quick,
    )
}  # fmt: skip
