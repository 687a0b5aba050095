"""The study behind ``make reproduce``: all tables, from data to figures, in one command.

    python -m asyrepro.reproduce                               # quick, or full with CUDA
    python -m asyrepro.reproduce profile=cpu study=overnight seeds=0,1,2
    python -m asyrepro.reproduce profile=quick hydra/launcher=joblib

It prints what it is going to do, runs a Hydra multirun of asyrepro.train over the profile's
experiments, losses and seeds (cells that are finished are skipped, others continued), and makes
the report. ``experiments=``, ``losses=`` and ``seeds=`` replace the profile's lists; every other
override goes to asyrepro.train as it is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asyrepro import cell, study
from asyrepro.data import catalogue
from asyrepro.errors import ConfigError, UserError
from asyrepro.train import folder_of

# The first varies slowest: a study that is cut off has whole seeds, which can be compared.
LISTS = {"seeds": "seed", "experiments": "experiment", "losses": "loss"}


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status (0, 1 if cells failed, 2 for bad arguments)."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        return _reproduce(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _reproduce(arguments: list[str]) -> int:
    started = time.time()
    lists, overrides = _split(arguments)
    sweep = {name: _values(name, lists, overrides) for name in LISTS}
    cells = [
        (cfg, folder_of(cfg, chosen))
        for seed in sweep["seeds"]
        for experiment in sweep["experiments"]
        for loss in sweep["losses"]
        for chosen in [[f"experiment={experiment}", f"loss={loss}", f"seed={seed}", *overrides]]
        for cfg in [_compose(chosen)]
    ]
    first = cells[0][0]
    folder = Path(first.results) / first.study
    todo = [folder for _, folder in cells if not cell.finished(folder)]
    _print_plan(cells, todo, folder)
    if todo:
        multirun = [f"{key}={','.join(sweep[name])}" for name, key in LISTS.items()]
        command = [sys.executable, "-m", "asyrepro.train", "--multirun", *multirun, *overrides]
        status = subprocess.run(command, check=False).returncode
        if status < 0 or status == 130:
            print("stopped; the same command continues where this one was cut off")
            return 130
    done = [folder for _, folder in cells if cell.finished(folder)]
    if done:
        study.build(folder)
    failed = [folder for _, folder in cells if not cell.finished(folder)]
    for path in failed:
        note = path / "failed.txt"
        reason = note.read_text().strip() if note.is_file() else "did not run to its end"
        print(f"failed: {path}: {reason}", file=sys.stderr)
    minutes = (time.time() - started) / 60
    print(f"{len(done)} of {len(cells)} cells, {minutes:.1f} minutes; results in {folder}")
    if failed:
        print("the same command runs the failed cells again", file=sys.stderr)
    return 1 if failed else 0


def _split(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The lists that replace the profile's, and everything else."""
    lists, overrides = {}, ["fallback=true"]
    for item in arguments:
        key, _, value = item.partition("=")
        if key in LISTS:
            lists[key] = [part for part in value.split(",") if part]
            if not lists[key]:
                raise ConfigError(f"{key}= needs at least one value")
        elif key == "profile" and value == "auto":
            continue
        else:
            overrides.append(item)
    if not any(item.startswith("profile=") for item in overrides):
        device = [i.split("=")[1] for i in overrides if i.startswith("runtime.device=")]
        cuda = cell.choose_device(device[-1] if device else "auto").type == "cuda"
        overrides.append(f"profile={'full' if cuda else 'quick'}")
    return lists, overrides


def _values(name: str, lists: dict[str, list[str]], overrides: list[str]) -> list[str]:
    if name in lists:
        return lists[name]
    plain = [item for item in overrides if item.startswith("profile=")]
    profile = plain[-1].removeprefix("profile=")
    path = cell.CONFIGS / "profile" / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"there is no profile {profile!r}; there are {known}")
    return [str(value) for value in OmegaConf.load(path)[name]]


def _compose(overrides: list[str]) -> DictConfig:
    """The configuration of one cell, with data sets that can be had."""
    plain = [item for item in overrides if not item.startswith("hydra/")]
    try:
        with initialize_config_dir(str(cell.CONFIGS), version_base="1.3"):
            cfg = compose("train", overrides=plain)
        return cell.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0]) from error


def _print_plan(cells: list[tuple[DictConfig, Path]], todo: list[Path], folder: Path) -> None:
    first = cells[0][0]
    device = cell.choose_device(first.runtime.device)
    print(f"study    {folder}")
    print(f"profile  {first.profile.name}")
    print(f"device   {cell.device_name(device)}, {'bfloat16' if first.amp else 'float32'}")
    shown = {}
    for cfg, _ in cells:
        shown.setdefault((cfg.cell, cfg.dataset.name, cfg.testset), cfg)
    for cfg in shown.values():
        data = "bundled stand-in data" if cfg.dataset.name == "bundled" else cfg.dataset.name
        found = "" if cfg.dataset.name == "bundled" else f" ({_where(cfg)})"
        print(
            f"{cfg.cell:8} {cfg.model.name}, {cfg.recipe.steps} steps of {cfg.recipe.batch} "
            f"patches of {cfg.recipe.patch} x {cfg.recipe.patch}; trained on {data}{found}"
        )
    print(f"cells    {len(cells)}, of which {len(cells) - len(todo)} done and {len(todo)} to do")
    print(flush=True)


def _where(cfg: DictConfig) -> str:
    return catalogue.available(cfg.dataset.name, cfg.runtime.data) or "to be downloaded"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
