"""What a study's numbers came from: software, device, settings of the arithmetic, and hashes.

A run keeps this in ``provenance.json``. Every process that trains a part of it adds the
environment it works in (a run that is continued elsewhere has two); the one that finishes it adds
the fingerprints of the data and the hashes of the configuration, weights and rows. :func:`collect`
gathers the runs' files in ``results/<study>/reproducibility.json``, which
``asyrepro verify`` checks a study against.

Names of machines and users, paths and times are left out, but for the day a run was finished: the
same runs give the same bytes. (The path of a folder of your own images is in config.yaml.)
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from asyrepro.data.download import file_digest
from asyrepro.runs.run import Run, finished
from asyrepro.system import files
from asyrepro.system.errors import DataError

if TYPE_CHECKING:
    import torch  # not to load it where only records are read, as by a report

STUDY = "reproducibility.json"
FORMAT = 1
PLAIN = ("config", "finished", "rows_sha256", "weights_half_sha256", "weights_sha256")
TOLD = ("model", "task", "recipe")  # settings that a study kept without run folders still tells
PACKAGES = (
    "asyrepro", "torch", "torchvision", "scikit-image", "numpy", "hydra-core", "omegaconf",
    "pandas", "matplotlib",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
CODE = ("asyrepro", "configs", "pyproject.toml")  # a change in these makes the tree dirty


# -------------------------------------------------------------------------------------- one run


def begin(run: Run, environment: dict, continued: bool) -> None:
    """Note at the start of a process's work on a run its :func:`environment`.

    ``continued``: whether the process goes on from a checkpoint, or evaluates a finished training
    again; otherwise what is there is of a run that began anew, and is forgotten.
    """
    record = (read(run.provenance) or {}) if continued else {}
    found = record.setdefault("environments", [])
    if environment not in found:
        found.append(environment)
    _write(run.provenance, record)


def finish(run: Run, *, config: str, data: dict[str, str], weights: dict, rows: str) -> None:
    """Complete a run's file.

    Args:
        config: hash of the configuration (:func:`asyrepro.runs.config.identity`).
        data: fingerprint of each data set used, as {"training bsd300": SHA-256, "test set5": ...}.
        weights: the trained state dictionary.
        rows: the text of rows.csv.
    """
    record = read(run.provenance)
    record |= {
        "config": config,
        "data": data,
        "finished": datetime.now(timezone.utc).date().isoformat(),
        "rows_sha256": hashlib.sha256(rows.encode()).hexdigest(),
        **weight_hashes(weights),
    }
    _write(run.provenance, record)


def fingerprints(run: Run) -> dict[str, str]:
    """Of the data sets that a finished training used; {} where they are not recorded."""
    return (read(run.provenance) or {}).get("data") or {}


def environment(device: torch.device, name: str, **settings) -> dict:
    """Versions, device, settings of the arithmetic and the code's commit, of this process.

    ``name`` is the device's, for people. ``settings`` are those of the run that change the
    arithmetic but that PyTorch does not know of.
    """
    import torch

    from asyrepro.system import devices

    flags = {
        "cpu_capability": devices.cpu_capability(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "threads": torch.get_num_threads(),
    }
    found = versions()
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return {
        "code": code(),
        "cpu": cpu_model(),
        "device": name,
        "flags": flags | settings,
        "versions": found,
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that results depend on; None if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def decisive_versions() -> str:
    """The versions that numbers depend on, in one line, as every row has it."""
    found = versions()
    return "; ".join(f"{k} {found[k]}" for k in ("python", "torch", "scikit-image", "numpy"))


@cache
def code() -> dict[str, str | bool | None]:
    """The commit that the code is at, and whether the code differs from it; None without git."""
    unknown = {"commit": None, "dirty": None}
    if _git("rev-parse", "--show-prefix") != "":  # no repository, or somebody else's
        return unknown
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *CODE)
    return unknown if None in (commit, changes) else {"commit": commit, "dirty": changes != ""}


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_model() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


# ------------------------------------------------------------------------------------- a study


def collect(study: Path | str) -> Path | None:
    """Write ``reproducibility.json`` of a study from its run folders.

    What a run's provenance.json says comes first, then what the file said before about the same
    rows; of a run that has no provenance.json there are hashes of what is there, and null for the
    rest. The settings :data:`TOLD` are the run folders'. Without run folders the file is left as it
    is.

    Returns:
        The file, or None if there are no run folders.

    Raises:
        DataError: a run's provenance.json, or the file itself, is damaged.
    """
    study = Path(study)
    found = finished(study)
    if not found:
        return None
    before = read(study / STUDY) or {"cells": {}}
    environments, data, settings, runs = {}, {}, {}, {}
    for run in found:
        record = read(run.provenance)
        if record is None or "config" not in record:
            record = _earlier(before, run) or _reconstructed(run)
        runs[run.name] = {
            **{key: record[key] for key in PLAIN},
            "data": record["data"] and _shared(data, record["data"]),
            "environments": [_shared(environments, each) for each in record["environments"]],
            "settings": run.settings and _shared(settings, {k: run.settings[k] for k in TOLD}),
        }
    tables = {"cells": runs, "data": data, "environments": environments, "settings": settings}
    return _write(study / STUDY, _of_report(study) | tables)


def _of_report(study: Path) -> dict:
    """What a report is made from beside the runs, by hashes, and the versions that make it."""
    return {
        "baselines": {path.name: file_digest(path) for path in study.glob("baselines/*.csv")},
        "metrics_sha256": file_digest(study / "metrics.csv"),
        "report": versions(),
    }


def up_to_date(study: Path) -> bool:
    """Whether ``reproducibility.json``, which a report ends with, is of the study's present rows.

    They are compared by their hashes, as are the baselines, metrics.csv and this program's version;
    not compared are the weights and test images that the report's pictures are made from.
    """
    known, found = read(study / STUDY), finished(study)
    if known is None or not found or not (study / "metrics.csv").is_file():
        return False
    rows = {name: entry["rows_sha256"] for name, entry in known["cells"].items()}
    same_rows = rows == {run.name: file_digest(run.rows) for run in found}
    return same_rows and all(known[key] == now for key, now in _of_report(study).items())


def _earlier(before: dict, run: Run) -> dict | None:
    """What reproducibility.json says of a run, if it still has the same rows."""
    entry = before["cells"].get(run.name)
    if entry is None or entry["rows_sha256"] != file_digest(run.rows):
        return None
    return entry | {
        "data": entry["data"] and before["data"][entry["data"]],
        "environments": [before["environments"][key] for key in entry["environments"]],
    }


def _reconstructed(run: Run) -> dict:
    """What can be told of a run that has no provenance.json."""
    from asyrepro.training import checkpoint

    path = run.kept_weights
    return {
        "config": run.identity,
        "data": None,
        "environments": [],
        "finished": None,
        "rows_sha256": file_digest(run.rows),
        **weight_hashes(checkpoint.load(path)["network"] if path else {}),
    }


def weight_hashes(weights: dict) -> dict[str, str | None]:
    """SHA-256 of a state dictionary as it is and in half precision; None where it cannot tell."""
    if not weights:
        return dict.fromkeys(("weights_sha256", "weights_half_sha256"))
    import torch

    from asyrepro.training import checkpoint

    whole = not any(value.dtype == torch.float16 for value in weights.values())
    return {
        "weights_sha256": checkpoint.digest(weights) if whole else None,
        "weights_half_sha256": checkpoint.digest(halved(weights)),
    }


def halved(weights: dict) -> dict:
    """A state dictionary in half precision; integers stay what they are."""
    return {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}


def read(path: Path) -> dict | None:
    """The content of a provenance.json or reproducibility.json; None if there is none.

    Raises:
        DataError: it is damaged, or was written by a newer version of this program.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        newer = content["format"] > FORMAT
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: restore it, or delete it and do without") from error
    if newer:
        raise DataError(f"{path} was written by a newer version: update asyrepro")
    return content


def _shared(table: dict[str, dict], content: dict) -> str:
    """The key of ``content`` in a table in which equal contents stand once."""
    text = json.dumps(content, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    table[key] = content
    return key


def _write(path: Path, content: dict) -> Path:
    text = json.dumps({"format": FORMAT, **content}, indent=1, sort_keys=True)
    return files.write_text(path, text + "\n")
