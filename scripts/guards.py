"""Have the committed runs kept their identity, and the committed studies their numbers?

    python scripts/guards.py identities        # every experiment x profile x loss, and every run
    python scripts/guards.py commands [STUDY..] # do the commands of commands.txt make these runs?
    python scripts/guards.py numbers [STUDY..] # reports made again in a temporary folder

Prints what differs; exit status 1 if anything does.
"""

from __future__ import annotations

import csv
import itertools
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from asyrepro.commands import reproduce
from asyrepro.report import study
from asyrepro.runs import commandline, config, results
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
MANIFEST = ROOT / "tests" / "guards" / "identities.csv"
NUMBERS = ("metrics", "claims", "verdicts", "changes", "mechanism", "goals", "regions")


def composed(rows: list[dict]) -> list[str]:
    """Lines of the manifest whose experiment, profile and loss compose to another identity."""
    found = []
    with config.composing():
        for row in rows:
            names = [f"{key}={row[key]}" for key in ("experiment", "profile", "loss")]
            now = config.identity(resolve(config.compose([*names, "amp=true"])))
            if now != row["identity"]:
                found.append(f"{' '.join(names)}: {now}, {row['identity']}")
    return found


def manifest() -> list[dict]:
    """What each experiment, profile and loss was, when the manifest was written."""
    with open(MANIFEST, newline="") as file:
        return [row for row in csv.DictReader(file) if row["identity"]]


def committed() -> list[str]:
    """Runs of committed studies whose configuration has another identity than was recorded."""
    found = []
    for path in sorted(RESULTS.glob("*/reproducibility.json")):
        for name, record in json.loads(path.read_text())["cells"].items():
            run = Run(path.parent / name)
            if run.identity not in (None, record["config"]):
                found.append(str(run))
    return found


def unmade(study: Path, losses: set[str] | None = None) -> list[str]:
    """Runs of a committed study that its commands.txt would not make as they are, and others that
    it would; with ``losses`` of these alone."""
    found = results.load(study)
    wanted = {row.config for row in results.of_runs(found).itertuples() if _in(row.loss, losses)}
    made = set()
    with config.composing():
        for line in commandline.noted(study):
            made |= {identity for loss, identity in _made(line, losses) if _in(loss, losses)}
    return sorted(made ^ wanted)


def _in(loss: str, losses: set[str] | None) -> bool:
    return losses is None or loss in losses


def _made(line: str, losses: set[str] | None) -> Iterator[tuple[str, str]]:
    """Loss and identity of each run of a command, with the real data sets."""
    _, command, *words = shlex.split(line)
    overrides, _ = config.search_path(words)
    if command == "reproduce":
        sweep, others, _ = reproduce._asked_for(overrides)
        lists = [f"{name}={','.join(values)}" for name, values in sweep.items()]
        overrides = [*others, *lists, "fallback=false"]
    seeds = next(item for item in overrides if item.startswith("seed=")).partition("=")[2]
    parsed = OverridesParser.create().parse_overrides(
        [item for item in overrides if not item.startswith("seed=")]
    )
    for job in itertools.chain(*BasicSweeper.split_arguments(parsed, None)):
        loss = next(item for item in job if item.startswith("loss=")).partition("=")[2]
        if not _in(loss, losses):
            continue
        cfg = resolve(config.compose(job))
        for seed in seeds.split(","):
            cfg.seed = int(seed)
            yield loss, config.identity(cfg)


def numbers(studies: list[str]) -> list[str]:
    """Number files of committed studies that a report made again does not give again."""
    found = []
    for name, folder in itertools.product(studies, [Path(tempfile.mkdtemp())]):
        shutil.copytree(ROOT / "results" / name, folder / name)
        study.build(folder / name, log=lambda line: None)
        files = ["profiles.csv.gz", *(f"{stem}.csv" for stem in NUMBERS)]
        files += [path.relative_to(folder / name) for path in (folder / name).glob("tables/*.csv")]
        for file in files:
            before, after = ROOT / "results" / name / file, folder / name / file
            if before.is_file() and (problem := _differs(before, after)):
                found.append(f"{name}/{file}: {problem}")
        shutil.rmtree(folder)
    return found


def _differs(before: Path, after: Path) -> str:
    if not after.is_file():
        return "missing"
    old, new = pd.read_csv(before), pd.read_csv(after)
    try:
        pd.testing.assert_frame_equal(old, new, rtol=1e-6, atol=1e-9)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return ""


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    kind, *names = arguments or [""]
    there = sorted(path.parent.name for path in RESULTS.glob("*/metrics.csv"))
    if kind == "identities":
        found = composed(manifest()) + committed()
    elif kind == "commands":
        found = [f"{name}: {run}" for name in names or there for run in unmade(RESULTS / name)]
    elif kind == "numbers":
        found = numbers(names or there)
    else:
        print(__doc__)
        return 2
    print("\n".join([*found, f"{len(found)} differ"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
