"""Train one network with one loss, and evaluate it.

    python -m asyrepro.train experiment=table4_dncnn loss=asy_mse seed=0
    python -m asyrepro.train -m experiment=table2_srcnn loss=mae,asy_mae seed=0,1,2

A run folder, results/<study>/<cell>/<loss>/seed<k>/, is one cell of a study. A run that was cut
off is continued, a finished one is skipped, and one whose configuration differs from its folder's
is refused.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from asyrepro import cell, files
from asyrepro.errors import UserError

PLACED = (  # overrides that the run folder's name already shows, or that do not change the run
    "experiment", "loss", "seed", "study", "profile", "results", "fallback", "max_steps", "cell",
)  # fmt: skip


def folder_of(cfg: DictConfig, overrides: list[str]) -> Path:
    """The run folder; further overrides, as in a sweep over ``task.scale``, become part of it."""
    extra = [
        item.lstrip("+~") for item in sorted(overrides)
        if item.lstrip("+~").split("=")[0] not in PLACED and not item.startswith("runtime.")
    ]  # fmt: skip
    if cfg.table is None:
        extra = [item for item in extra if not item.startswith("model=")]
    name = ",".join([cfg.cell, *(item.replace("/", ".") for item in extra)])
    return Path(cfg.results) / cfg.study / name / cfg.loss.name / f"seed{cfg.seed}"


@hydra.main(version_base="1.3", config_path=str(cell.CONFIGS), config_name="train")
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    sweep = job.mode == RunMode.MULTIRUN
    folder = folder_of(cfg, list(job.overrides.task))
    try:
        done = cell.finished(folder)
        rows = cell.run(cell.resolve(cfg), folder)
        files.remove(folder / "failed.txt")
        print(f"{folder}: {'already finished, ' if done else ''}{summary(rows)}", flush=True)
    except cell.InUse as busy:
        print(f"{folder}: skipped, {busy}", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        _give_up(sweep, folder, str(error))
    except Exception as error:
        traceback.print_exc()
        _give_up(sweep, folder, f"{type(error).__name__}: {error}")


def _give_up(sweep: bool, folder: Path, reason: str) -> None:
    """End the process, or in a sweep leave a note and let the other cells go on."""
    if not sweep:
        sys.exit(2)
    files.write_text(folder / "failed.txt", reason + "\n")


def summary(rows: list[dict]) -> str:
    """Mean PSNR of each test set, in a line."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["testset"], []).append(float(row["psnr"]))
    return ", ".join(f"{k} {sum(v) / len(v):.2f} dB" for k, v in found.items()) or "no test set"


if __name__ == "__main__":
    main()
