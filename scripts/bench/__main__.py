"""Speed, as ratios within one run, beside the goals: ``make bench``.

    python scripts/bench                    # everything but "quick"
    python scripts/bench training losses    # some sections
    python scripts/bench steps device=cpu   # elsewhere than on the GPU
    python scripts/bench quick              # the quick profile's 16 runs, by the clock

Whatever is compared is measured in turn (A B A B ...), so that a machine whose speed drifts slows
both. A value is the median of the ratios pair by pair, beside their quartiles. On a CPU these are
ratios of CPU seconds of one thread; on a GPU the clock's.
Prints the table and writes results/bench/ (results=FOLDER for another one than results/): bench.md,
bench.csv, and step_times.csv (the losses' step times, which the verdict on training time reads:
copy it into a study). A section that is not run again keeps its rows. Needs a quiet machine, and 15
minutes of two CPU cores.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from sections import SECTIONS

from asyrepro.runs import provenance
from asyrepro.system import devices, files
from asyrepro.system.errors import ConfigError, say
from asyrepro.system.options import argument, command, setting


@dataclass(kw_only=True)
class Options:
    sections: list[str] = argument("what to measure", shown="SECTION", default=[])
    device: str = setting("auto", "on which")
    results: Path = setting(Path("results"), "folder of all studies", shown="FOLDER")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, Options, _measure, arguments)


def _measure(options: Options) -> None:
    for name in options.sections:
        if name not in SECTIONS:
            raise ConfigError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    device, folder = devices.choose(options.device), options.results / "bench"
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(1)
    for name in options.sections or [name for name in SECTIONS if name != "quick"]:
        say(f"{name} ...")
        rows = pd.DataFrame(SECTIONS[name](device, folder))
        rows.insert(0, "section", name)
        rows["device"] = machine(device)
        table = merge(rows, folder / "bench.csv")
        files.write_text(folder / "bench.md", markdown(table))
        say(markdown(table[table["section"] == name]))
    say(f"all rows: {folder / 'bench.md'}")


def merge(lines: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Replace what a CSV holds of the same sections and devices; returns the whole, in order."""
    keys = ["device", "section"]
    if path.is_file():
        old = pd.read_csv(path, keep_default_na=False)
        again = old[keys].apply(tuple, axis=1).isin(lines[keys].apply(tuple, axis=1))
        lines = pd.concat([old[~again], lines])
    ranks = {name: number for number, name in enumerate(SECTIONS)}
    lines = lines.sort_values(keys, key=lambda column: column.replace(ranks), kind="stable")
    files.write_csv(path, lines, numbers=None)
    return lines


def machine(device: torch.device) -> str:
    """The hardware and the versions, in a line."""
    name = devices.name_of(device)
    if device.type == "cpu":
        processor = f"{provenance.cpu_model()}, {devices.cpu_capability()}"
        name = f"one of {os.cpu_count()} CPU cores ({processor})"
    return f"{name}; {provenance.decisive_versions()}"


def markdown(table: pd.DataFrame) -> str:
    """The table, by machine."""
    text = "# Speed, as ratios within one run\n\n`make bench`\n"
    for device, lines in table.groupby("device", sort=False):
        shown = lines.drop(columns=["section", "device"])
        text += f"\nOn {device}:\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n"
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
