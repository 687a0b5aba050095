"""Speed as ratios within one run: ``make bench``, or python scripts/bench.py [network ...].

Each pair is measured in turn (A B A B ...), so that a machine whose speed drifts slows both; the
ratio is that of the medians, and the spread is the quartiles of the ratios pair by pair. Prints a
table and writes results/bench/bench.{csv,md} and results/bench/step_times.csv (for the verdict on
training time: copy it into a study). On the CPU it takes some minutes.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from asyrepro import cell, files
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.losses import AsymmetricLoss

NETWORKS = {
    "srcnn": "table2_srcnn",
    "edsr": "table3_edsr",
    "dncnn": "table4_dncnn",
    "dphsir": "table5_dphsir",
}
REPETITIONS = 15


def main(names: list[str]) -> None:
    device = cell.choose_device("auto")
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        sys.exit(f"error: there is no network {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    rows, times = [], []
    for name in names or NETWORKS:
        found, steps = bench(name, device)
        rows += found
        times += steps
    table = pd.DataFrame(rows)
    folder = Path("results/bench")
    about = f"{cell.device_name(device)}, {torch.get_num_threads()} threads; {cell.versions()}"
    text = f"# Speed, as ratios within one run\n\n`make bench` on {about}\n\n{markdown(table)}\n"
    files.write_text(folder / "bench.md", text)
    files.write_text(folder / "bench.csv", table.to_csv(index=False))
    files.write_text(folder / "step_times.csv", pd.DataFrame(times).to_csv(index=False))
    print(text)


def bench(name: str, device: torch.device) -> tuple[list[dict], list[dict]]:
    """The ratios of one network at its quick recipe, and its step times by loss."""
    with initialize_config_dir(str(cell.CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=[f"experiment={NETWORKS[name]}", "profile=quick"])
    cfg.dataset.name = "bundled"
    cfg = cell.resolve(cfg)
    network, task = cell.build(cfg, device)
    images = catalogue.training_set("bundled", mode=task.mode).images
    recipe = cfg.recipe
    sampler = PatchSampler(
        images, task, patch=recipe.patch, batch=recipe.batch, seed=0, device=device
    )
    fixed = next(sampler)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True)
    losses = {
        "mae": nn.L1Loss(),
        "asy_mae": AsymmetricLoss("mae"),
        "mse": nn.MSELoss(),
        "asy_mse": AsymmetricLoss("mse"),
    }

    def step(criterion: nn.Module, batch) -> None:
        inputs, label = batch
        with torch.autocast(device.type, torch.bfloat16, enabled=cfg.amp):
            output = network(inputs)
        optimizer.zero_grad(set_to_none=True)
        criterion(output.float(), label).backward()
        optimizer.step()

    runs = {f"step {loss}": lambda c=c: step(c, fixed) for loss, c in losses.items()}
    runs["real mse"] = lambda: step(losses["mse"], next(sampler))
    if name == "dphsir":
        inputs = fixed[0]
        runs["forward D=1"] = lambda: network(inputs)
        runs["forward 3-D"] = lambda: network(inputs, plain=True)
    seconds = interleaved(runs, device)
    pairs = [
        ("real training / fixed batch, throughput", "step mse", "real mse"),
        ("step time, Asy_MAE / MAE", "step asy_mae", "step mae"),
        ("step time, Asy_MSE / MSE", "step asy_mse", "step mse"),
    ]
    if name == "dphsir":
        pairs.append(("speed-up of grey images' 2-D path, forward", "forward 3-D", "forward D=1"))
    rows = [
        {"network": name, "what": what, **ratio(seconds[a], seconds[b])} for what, a, b in pairs
    ]
    times = [
        {"model": name, "loss": loss, "step_ms": 1e3 * value, "repetition": number}
        for loss in losses
        for number, value in enumerate(seconds[f"step {loss}"])
    ]
    return rows, times


def interleaved(runs: dict, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every run, measured in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {key: [] for key in runs}
    for number in range(REPETITIONS + 1):
        for key, run in runs.items():
            started = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[key].append(time.perf_counter() - started)
    return seconds


def ratio(first: list[float], second: list[float]) -> dict:
    """Ratio of the medians, and the quartiles of the ratios pair by pair."""
    lower, _, upper = statistics.quantiles([a / b for a, b in zip(first, second, strict=True)], n=4)
    middle = statistics.median(first) / statistics.median(second)
    return {"ratio": round(middle, 3), "lower": round(lower, 3), "upper": round(upper, 3)}


def markdown(table: pd.DataFrame) -> str:
    lines = ["| network | what | ratio | quartiles |", "|---|---|---|---|"]
    for row in table.itertuples():
        lines.append(f"| {row.network} | {row.what} | {row.ratio} | {row.lower} to {row.upper} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
