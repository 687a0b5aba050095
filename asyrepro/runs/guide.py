"""The settings in configs/ for people: the help of train and reproduce, and a first look.

Both are answered from the YAML files alone, without PyTorch.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from asyrepro.runs import config
from asyrepro.system.errors import UserError, say

WIDTH = 96
LISTS = ("experiment", "loss", "seed")  # of reproduce, which replace the profile's
TRAIN = """\
Train one network with one loss, and evaluate it.

    asyrepro train experiment=table4_dncnn loss=asy_mse seed=0
    asyrepro train -m experiment=table2_srcnn loss=mae,asy_mae seed=0,1,2
    asyrepro train experiment=table4_dncnn loss=asy_mse minutes=8   # as many steps as fit into it

A run that was cut off is continued, a finished one is skipped, and one whose configuration differs
from its folder's is refused. SIGTERM, Ctrl-C and runtime.max_minutes end a run or a sweep after a
checkpoint.

Exit status: 0 done; 1 runs of a sweep failed; 2 wrong settings, or the one run failed; 75 not
finished (the time limit, or another process works on the run); 143 SIGTERM, 130 Ctrl-C."""
SWEEPS = """\
Sweeps: -m and several values of any setting run all combinations, one after the other; with
hydra/launcher=processes several at once, with hydra/launcher=slurm as jobs of a cluster.

    asyrepro train -m model=dncnn task=denoising dataset=bsd400 task.sigma=15,25,50

Hydra's own: --cfg job shows the configuration, --config-dir adds a folder of your own options,
+name=value adds a setting, --hydra-help lists the rest."""
REPRODUCE = """\
Train and evaluate a whole study, and make its tables, figures, verdicts and page.

    asyrepro reproduce                                   # quick, or full with CUDA
    asyrepro reproduce profile=cpu study=overnight seed=0,1,2
    asyrepro reproduce profile=seeds loss=mse,mine         # is your own loss better?

A profile names the experiments, losses and seeds, and how long to train. experiment=, loss= and
seed=, each one or several, replace its lists; every other setting is one of asyrepro train. Runs
that are finished are skipped, others continued. On a CPU they go side by side, each on an equal
share of the cores; hydra/launcher=basic has them one after the other. SIGTERM, Ctrl-C and
runtime.max_minutes end the study after a checkpoint. Several processes may work on one study.

Exit status: 0 the study is complete; 1 runs failed; 2 wrong settings, or results cannot be written;
75 not finished (the time limit, or other processes work on the rest); 143 SIGTERM, 130 Ctrl-C."""


def answer(command: str, arguments: list[str]) -> int | None:
    """The exit status of a command line that is answered without running; None if it is to run.

    That is a question for help, and a setting that there is not.
    """
    try:
        if {"-h", "--help"} & set(arguments):
            say(train_help() if command == "train" else reproduce_help())
            return 0
        _first_look(command, arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return None


def _first_look(command: str, arguments: list[str]) -> None:
    """ConfigError for a setting that there is not; flags and sweeps are looked at later."""
    if any(item.startswith("-") or item.startswith("hydra.searchpath") for item in arguments):
        return
    others = LISTS if command == "reproduce" else ()
    plain = [item for item in arguments if item != "profile=auto"]
    plain = [item for item in plain if item.partition("=")[0] not in others]
    with config.explained(*others):
        config.compose(plain)


def train_help() -> str:
    """What train does, the options of each group, and every setting with its comment."""
    groups = [group for group in _defaults() if group != "runtime"]
    listed = "\n\n".join(_options(group) for group in groups)
    text = (config.CONFIGS / "train.yaml").read_text(encoding="utf-8")
    own = text[text.index("_self_") :].partition("\n\n")[2].partition("\nhydra:")[0]
    return "\n\n".join(
        [
            TRAIN,
            SWEEPS,
            "Groups, given as group=option; the first line of each option's file:",
            textwrap.indent(listed, "  "),
            "Settings, with their defaults:",
            textwrap.indent(own.strip(), "  "),
            "Settings of runtime, given as runtime.device=cpu:",
            textwrap.indent(_body("runtime", "default"), "  "),
            "Settings of the groups are given as task.sigma=50; --cfg job shows them.",
        ]
    )


def reproduce_help() -> str:
    """What reproduce does, and its profiles."""
    return f"{REPRODUCE}\n\nProfiles:\n\n{textwrap.indent(_options('profile'), '  ')}"


def _defaults() -> list[str]:
    """The groups of train.yaml, in its order."""
    text = (config.CONFIGS / "train.yaml").read_text(encoding="utf-8")
    return re.findall(r"^  - (\w+): ", text, re.MULTILINE)


def _options(group: str) -> str:
    """A group's options, each with the first sentence of its file's comment."""
    names = sorted(path.stem for path in (config.CONFIGS / group).glob("*.yaml"))
    width = max(map(len, names)) + 2
    lines = [f"{group}="]
    for name in names:
        about = _comment(config.CONFIGS / group / f"{name}.yaml")
        start = f"  {name:{width}}"
        lines += textwrap.wrap(
            about, WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
        )
    return "\n".join(lines)


def _comment(path: Path) -> str:
    """The first sentence of the comment at the head of a YAML file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(lines))[0].rstrip(".")


def _body(group: str, name: str) -> str:
    """The settings of an option's file, with their comments."""
    lines = (config.CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#")).strip()
