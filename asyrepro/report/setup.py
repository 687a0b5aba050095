"""What was run: task, data, recipe and machine of a study's runs, in words.

From the tidy table, the configurations in the run folders, and reproducibility.json; what none of
these tells is not said.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from asyrepro import paper
from asyrepro.analysis import comparisons, titles
from asyrepro.analysis.changes import WHERE, place
from asyrepro.analysis.summary import Summary
from asyrepro.analysis.titles import loss_title
from asyrepro.data import STAND_IN
from asyrepro.data.catalogue import TABLE2
from asyrepro.report import curves, wording
from asyrepro.runs import commandline, results

MODES = {"luma": "luma", "rgb": "RGB", "grey": "grey"}
PAPERS_OWN = {4: "Set12, images 03 to 12", 5: "ten of BSD300's test images"}
COMMIT = 10  # digits of a commit that are shown


def runs(record: dict, summary: Summary) -> dict:
    """A table's network, task, data, recipe and number of seeds, of reproducibility.json."""
    found = configurations(record, f"table{summary.table}")
    tasks = list(dict.fromkeys(filter(None, map(_task, found))))
    recipes = list(dict.fromkeys(filter(None, map(_recipe, found))))
    steps = f"{wording.span(summary.iterations)} steps"
    seeds = sorted({len(seeds) for seeds in summary.seeds.values()})
    return {
        "table": summary.table,
        "network": summary.model_title,
        "task": " or ".join(tasks) or titles.TASK_TITLES[summary.table].lower(),
        "modes": {cfg["task"].get("mode") for cfg in found if cfg.get("task")},
        "trained": titles.dataset_title(summary.dataset),
        "tested": _tested(summary),
        "seeds": wording.span(seeds),
        "training": f"{steps} {' or '.join(recipes)}" if recipes else steps,
    }


def commands(study: Path) -> dict:
    """The commands that a study's runs come from, where it lists them, and whether the project's
    protocol has a heading that begins with its name."""
    protocol = study.parents[1] / "docs" / "protocol.md"
    heading = re.compile(rf"^#+ {re.escape(study.name)}:", re.MULTILINE)
    found = protocol.is_file() and heading.search(protocol.read_text(encoding="utf-8"))
    return {"lines": commandline.noted(study), "protocol": bool(found)}


def other_runs(record: dict, frame: pd.DataFrame) -> list[dict]:
    """The same of runs outside the paper's tables: sweeps, and your own data or networks."""
    rows = results.of_runs(frame).assign(variant=frame["variant"].fillna(""))
    tabled = rows[rows["table"].notna() & (rows["variant"] == "")]
    known = set(zip(tabled["model"], tabled["dataset"], strict=True))  # their further test sets
    found = []
    for (model, dataset, variant), part in rows.groupby(
        ["model", "dataset", "variant"], sort=False
    ):
        if not variant and (model, dataset) in known:
            continue
        table = part["table"].dropna().unique()
        folders = [f"table{number},{variant}" for number in table if variant]
        tasks = [_task(cfg) for folder in folders for cfg in configurations(record, folder)]
        settings = variant.replace(",", ", ") or wording.NOTHING
        sets = sorted(set(part["testset"]) - {""}, key=lambda name: comparisons.order("", "", name))
        found.append(
            {
                "table": wording.NOTHING,
                "network": titles.model_title(model),
                "task": "; ".join(dict.fromkeys([*filter(None, tasks), settings])),
                "trained": titles.dataset_title(dataset),
                "tested": wording.listed(map(titles.testset_title, sets)) if sets else "",
                "seeds": wording.span(part.groupby("loss")["seed"].nunique()),
                "training": f"{wording.span(part['iterations'].dropna())} steps",
            }
        )
    return found


def configurations(record: dict, folder: str) -> list[dict]:
    """The settings of each loss's first run in a row of the study, where they are recorded."""
    first: dict[str, dict] = {}
    for name, run in record.get("cells", {}).items():
        row, loss, _ = name.split("/")
        if row == folder and run.get("settings"):
            first.setdefault(loss, record["settings"][run["settings"]])
    return list(first.values())


def _task(cfg: dict) -> str:
    """``super-resolution x3 (bicubic), luma`` or ``denoising, sigma = 25, grey``."""
    task = cfg.get("task") or {}
    mode = MODES.get(task.get("mode"), task.get("mode"))
    if task.get("normalize") == "minmax":
        mode = f"{mode}; training pairs stretched to [0, 1], eq. (1)"
    if "scale" in task:
        return f"super-resolution \u00d7{task['scale']} (bicubic), {mode}"
    if "sigma" in task:
        return f"denoising, \u03c3 = {task['sigma']}, {mode}"
    return ""


def _recipe(cfg: dict) -> str:
    """``of 8 patches, 72 x 72; Adam, learning rate up to 0.002 (OneCycleLR)``."""
    recipe = cfg.get("recipe") or {}
    optimizer, scheduler = recipe.get("optimizer") or {}, recipe.get("scheduler") or {}
    said = []
    if "batch" in recipe and "patch" in recipe:
        said.append(f"of {recipe['batch']} patches, {recipe['patch']} \u00d7 {recipe['patch']}")
    if "_target_" in optimizer and "lr" in optimizer:
        rate = f"{scheduler.get('max_lr', optimizer['lr']):g}"
        plan = f"up to {rate} ({_name(scheduler)})" if "_target_" in scheduler else rate
        said.append(f"{_name(optimizer)}, learning rate {plan}")
    return "; ".join(said)


def _name(made: dict) -> str:
    return made["_target_"].rpartition(".")[2]


def _tested(summary: Summary) -> str:
    images = summary.images
    if summary.stand_in:
        return f"{len(images)} images, {STAND_IN}"
    if summary.same_images:
        whole = images == paper.known_images()[summary.table]
        title = PAPERS_OWN[summary.table]
        return f"{title if whole else f'{len(images)} of {title}'}, the paper's own"
    title = f"{len(images)} images"
    if list(images) == TABLE2:
        title = "the first ten of BSD300's test images, by number"
    return f"{title}; not the paper's"


def bicubic(summaries: list[Summary], ran: list[dict]) -> str:
    """Why bicubic has another PSNR in Table 3 than in Table 2, where both are of the same images.

    The one is of luma, the other of three colours.
    """
    modes = {2: {"luma"}, 3: {"rgb"}}
    both = [s for s, run in zip(summaries, ran, strict=True) if run["modes"] == modes.get(s.table)]
    if len(both) < 2:
        return ""
    luma, rgb = both  # in the order of their tables
    if luma.images != rgb.images or {luma.baseline, rgb.baseline} != {"bicubic"}:
        return ""
    first, second = (wording.number(s.mean("bicubic", "psnr"), 2) for s in (luma, rgb))
    return (
        f"Bicubic upsampling scores {first} dB in Table 2 and {second} dB in Table 3 on the same "
        "images: Table 2 measures luma, Table 3 the three colours (RGB)."
    )


def below_baseline(frame: pd.DataFrame) -> list[dict]:
    """On which test sets runs score less than the degraded input itself, and how many."""
    found = []
    for where, part in comparisons.below_baseline(frame).groupby(list(WHERE), sort=False):
        model, _, *rest = where
        baseline = part["baseline"].iloc[0]
        found.append(
            {
                "title": f"{titles.model_title(model)}, {place(*rest)}",
                "below": len(part),
                "count": int(part["runs"].iloc[0]),
                "input": "bicubic upsampling" if baseline == "bicubic" else f"the {baseline} image",
                "psnr": wording.number(part["baseline_psnr"].iloc[0], 2),
            }
        )
    return found


# ---------------------------------------------------------------------------- facts of the machine


def facts(frame: pd.DataFrame, histories, record: dict) -> list[tuple[str, str]]:
    """Losses, machine, precision, time, versions and commits: names and values, where known."""
    losses = sorted(set(results.of_runs(frame)["loss"]), key=results.loss_rank)
    environments = pd.json_normalize(list(record.get("environments", {}).values()))
    cells = pd.DataFrame(list(record.get("cells", {}).values()))
    days, training = _known(cells, "finished"), ""
    if histories is not None:
        times = histories.groupby(curves.RUN)["seconds"].max()
        training = f"{_duration(times.sum())}, the sum of {len(times)} runs"
    found = {
        "Losses": ", ".join(map(loss_title, losses)),
        "Device": ", ".join(_known(frame, "device")) or "not recorded",
        "Processor": ", ".join(_known(environments, "cpu")),
        "Threads": ", ".join(_known(environments, "flags.threads")),
        "Precision": _precision(record),
        "Training time": training,
        "Finished": " to ".join(dict.fromkeys([*days[:1], *days[-1:]])),
        "Versions": " / ".join(_known(frame, "versions")),
        "Code": ", ".join(commit[:COMMIT] for commit in _known(environments, "code.commit")),
    }
    return [(name, text) for name, text in found.items() if text]


def _precision(record: dict) -> str:
    """``bfloat16 and float32 (Table 4), float32 (Table 2)``, as the runs' environments tell."""
    tables: dict[str, set[str]] = {}
    for name, run in record.get("cells", {}).items():
        for key in run.get("environments", []):
            amp = record["environments"][key].get("flags", {}).get("amp")
            table = re.match(r"table(\d)/", name)
            if amp is not None and table:
                tables.setdefault(table[1], set()).add("bfloat16" if amp else "float32")
    kinds: dict[str, list[str]] = {}
    for number, found in sorted(tables.items()):
        kinds.setdefault(" and ".join(sorted(found)), []).append(number)
    if len(kinds) < 2:
        return "".join(kinds)
    return ", ".join(f"{kind} ({wording.tables(numbers)})" for kind, numbers in kinds.items())


def _known(table: pd.DataFrame, column: str) -> list[str]:
    """The different values as text; whole numbers that pandas made floats are whole again."""
    found = table[column].dropna() if column in table else []
    return sorted({f"{v:g}" if isinstance(v, float) else str(v) for v in found} - {""})


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
