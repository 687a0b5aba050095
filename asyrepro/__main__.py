"""The one door: ``asyrepro COMMAND name=value ...``, or ``python -m asyrepro COMMAND ...``."""

from __future__ import annotations

import sys
from importlib import import_module

from asyrepro import __version__
from asyrepro.system.options import command, no_such_choice

GROUPS = {
    "A study": {
        "reproduce": "train and evaluate a whole study, and make its report",
        "report": "make a study's tables, figures and page again, and the front page over all",
        "verify": "check a study against its weights and hashes",
        "data": "download data sets, or list them",
    },
    "One network": {
        "train": "train one network with one loss, or sweep over settings",
        "evaluate": "score trained weights on a test set",
        "convert": "take over the weights of another program",
    },
    "Your own pictures": {
        "restore": "denoise or upsample pictures",
        "compare": "PSNR and SSIM of two images or folders under every convention",
        "radar": "draw a radar chart of your own numbers",
    },
    "The paper": {
        "audit": "establish what the paper's printed numbers measure",
        "identify": "search a folder for the test images of the paper's tables",
    },
}
EXAMPLES = {
    "reproduce": "asyrepro reproduce profile=quick",
    "report": "asyrepro report study=quick",
    "radar": "asyrepro radar mine.csv title='My losses'",
    "verify": "asyrepro verify results/quick",
    "data": "asyrepro data set12 bsd300",
    "train": "asyrepro train experiment=table4_dncnn loss=asy_mse",
    "evaluate": "asyrepro evaluate checkpoint=WEIGHTS testset=set12",
    "convert": "asyrepro convert dncnn25.pth model=dncnn_public task=denoising output=dncnn25.pt",
    "restore": "asyrepro restore photo.jpg checkpoint=WEIGHTS",
    "compare": "asyrepro compare REFERENCE OUTPUT scale=3",
    "audit": "asyrepro audit",
    "identify": "asyrepro identify FOLDER",
}
COMMANDS = [name for group in GROUPS.values() for name in group]


def overview() -> str:
    """All commands in groups, each with what it does and an example."""
    lines = ["usage: asyrepro COMMAND name=value ...", ""]
    for title, group in GROUPS.items():
        lines.append(f"{title}:")
        for name, what in group.items():
            lines.append(f"  {name:10} {what}")
            lines.append(f"  {'':10}   {EXAMPLES[name]}")
        lines.append("")
    return "\n".join([*lines, "asyrepro COMMAND --help explains a command's settings."])


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status. A command's imports load only when it runs."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("", "-h", "--help"):
        print(overview())
        return 0 if name else 2
    if name == "--version":
        print(f"asyrepro {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"error: {no_such_choice('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    module = import_module(f"asyrepro.commands.{name}")
    if hasattr(module, "main"):  # of train and reproduce, whose settings are Hydra's
        return module.main(rest)
    return command(module.__doc__, module.Options, module.run, rest)


if __name__ == "__main__":
    sys.exit(main())
