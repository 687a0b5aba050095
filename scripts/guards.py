"""Have the committed runs kept their identity, and the committed studies their numbers?

    python scripts/guards.py identities        # every experiment x profile x loss, and every run
    python scripts/guards.py numbers [STUDY..] # reports made again in a temporary folder

Prints what differs; exit status 1 if anything does.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

from asyrepro.report import study
from asyrepro.runs import config
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run

ROOT = Path(__file__).parents[1]
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


def committed(results: Path = ROOT / "results") -> list[str]:
    """Runs of committed studies whose configuration has another identity than was recorded."""
    found = []
    for path in sorted(results.glob("*/reproducibility.json")):
        for name, record in json.loads(path.read_text())["cells"].items():
            run = Run(path.parent / name)
            if run.identity not in (None, record["config"]):
                found.append(str(run))
    return found


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
    if kind == "identities":
        found = composed(manifest()) + committed()
    elif kind == "numbers":
        there = sorted(path.parent.name for path in (ROOT / "results").glob("*/metrics.csv"))
        found = numbers(names or there)
    else:
        print(__doc__)
        return 2
    print("\n".join([*found, f"{len(found)} differ"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
