"""Store trained weights with a study: python scripts/keep_weights.py results/paper-cpu table2

The weights.pt of the run folders stay out of git. This stores those of every finished run, or of
the runs that are named (as table2 or table2/mae/seed0, with * for anything), as
results/<study>/weights/<row>/<loss>/seed<k>.pt: in half precision if every metric of rows.csv
stays the same (PSNR to 0.001 dB, SSIM and HaarPSI to 0.0001, and errors to what changes PSNR by
0.001 dB), and else in float32.

Needs the images of every test set of the runs. Nothing is written if the folder would come to more
than 20 MB. `evaluate`, `restore` and `verify` read these files as they read a weights.pt.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from asyrepro import metrics
from asyrepro.data import catalogue
from asyrepro.runs import evaluation, parts, provenance, results, verification
from asyrepro.runs.run import finished
from asyrepro.system import devices, files
from asyrepro.system.errors import CheckpointError, ConfigError, DataError, exit_status
from asyrepro.training import checkpoint

LIMIT = 20_000_000  # bytes of all the kept weights of a study
SAME = {  # of each metric the change that counts as none: absolute (PSNR in dB), and relative
    "psnr": (0.001, 0),
    "psnr_y": (0.001, 0),
    "ssim": (1e-4, 0),
    "ssim_y": (1e-4, 0),
    "rmse": (0, 1.15e-4),  # changes PSNR by 0.001 dB
    "nrmse": (0, 1.15e-4),
    **dict.fromkeys(metrics.FURTHER, (1e-4, 0)),
}


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2
    return exit_status(keep, Path(arguments[0]), arguments[1:])


def keep(study: Path, patterns: list[str]) -> None:
    """Store the weights of the chosen runs, all of them or none, and print what was stored."""
    folder = study / "weights"
    targets = {name: folder / f"{name}.pt" for name in chosen(study, patterns)}
    total = sum(p.stat().st_size for p in folder.rglob("*.pt") if p not in targets.values())
    told = {}
    with TemporaryDirectory() as staging:
        for name in tqdm(targets, unit="run", leave=False, disable=None):
            staged = Path(staging, f"{name}.pt")
            told[name] = store(study / name, staged)
            total += staged.stat().st_size
            if total > LIMIT:
                raise ConfigError(
                    f"{folder} would come to more than {LIMIT / 1e6:g} MB with {name}, "
                    f"run {len(told)} of {len(targets)}: name fewer runs; nothing was written"
                )
        for name, target in targets.items():
            content = Path(staging, f"{name}.pt").read_bytes()
            files.write_bytes(target, content)
            print(f"{target}: {len(content) / 1e3:.0f} kB, {told[name]}")
    print(f"{len(targets)} runs stored; {folder} has {total / 1e6:.2f} MB")


def chosen(study: Path, patterns: list[str]) -> list[str]:
    """The finished runs that fit a pattern, or all, as ["table2/mae/seed0", ...]."""
    runs = [run.name for run in finished(study)]
    if not runs:
        raise DataError(f"{study} is no study with finished runs: check its name")
    found = set() if patterns else set(runs)
    for pattern in patterns:
        fits = [n for n in runs if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}/*")]
        if not fits:
            raise ConfigError(
                f"{study} has no finished run that is called {pattern!r}; it has {runs[0]}"
            )
        found.update(fits)
    for name in sorted(found):
        if not (study / name / "weights.pt").is_file():
            raise CheckpointError(
                f"{study / name} has no weights.pt here: name the runs that have, or train it again"
            )
    return sorted(found)


def store(run: Path, target: Path) -> str:
    """Write a run's weights in as few bytes as its metrics allow; returns what was done."""
    state = checkpoint.load(run / "weights.pt", needs=("network", "config"))
    rows = results.read_rows(run / "rows.csv").set_index(["testset", "image"])
    half = state | {"network": provenance.halved(state["network"])}
    for precision, kept in (("half precision", half), ("float32", state)):
        if not all(tensor.isfinite().all() for tensor in kept["network"].values()):
            continue  # too large for half precision
        checkpoint.save(target, kept)
        testsets, further = rows.index.unique("testset"), verification.further(rows)
        again = evaluate(target, testsets, further).reindex(rows.index)
        if same(again, rows):
            change = (again["psnr"] - rows["psnr"]).abs().max()
            return f"{precision}, PSNR changes by at most {change:.6f} dB"
    raise CheckpointError(
        f"{run / 'weights.pt'} does not give the metrics in its rows.csv, whatever the precision: "
        "find out why with `asyrepro verify`; nothing was written"
    )


def evaluate(weights: Path, testsets: Iterable[str], further: list[str]) -> pd.DataFrame:
    """Metrics of a weights file on test sets, a row an image; ``further`` beside the usual ones."""
    device = devices.choose("auto")
    network, task, cfg = parts.load(weights, device)
    found = []
    for name in testsets:
        testset = images(verification.named(name, cfg), **parts.reading(task, cfg))
        found += evaluation.evaluate(network, testset, task, device=device, further=further)
    return pd.DataFrame(found).set_index(["testset", "image"])


@cache
def images(testset: str, **reading) -> catalogue.DataSet:
    return catalogue.test_set(testset, **reading, download=False)


def same(again: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Whether all metrics agree; both have an image's metrics in the same row."""
    return all(
        np.isclose(again[metric], rows[metric], atol=absolute, rtol=relative, equal_nan=True).all()
        for metric, (absolute, relative) in SAME.items()
        if metric in again
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
