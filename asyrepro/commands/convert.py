"""Turn the weights of another program into a weights file of this one.

    asyrepro convert dncnn25.pth model=dncnn_public task=denoising task.sigma=25 output=dncnn25.pt
    asyrepro evaluate checkpoint=dncnn25.pt testset=set12

It takes state dictionaries as KAIR, BasicSR, EDSR-PyTorch and others save them, and runs nothing
that is in the file. Layers are matched by name or, where names differ, in their order.

Settings: output=FILE (by default the same name with .pt), and what describes the network and the
task that it was trained for, as for train: model=, model.network.layers=, task=, task.scale=,
task.sigma=. Tables call the loss that it was trained with loss.name=, by default "public".
"""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from asyrepro.runs import cell, configuration, settings
from asyrepro.system.errors import ConfigError, command, say
from asyrepro.training import checkpoint, foreign


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, _convert, arguments)


def _convert(arguments: list[str]) -> None:
    files = [item for item in arguments if "=" not in item]
    outputs = [item for item in arguments if item.startswith("output=")]
    if len(files) != 1:
        raise ConfigError(f"one file of weights is needed, and {len(files)} are given")
    path = Path(files[0])
    output = Path(outputs[-1].partition("=")[2] if outputs else path.with_suffix(".pt"))
    if output.exists():
        raise ConfigError(f"{output} is there already: give another output=")
    chosen = [item for item in arguments if item not in (*files, *outputs)]
    with settings.explained(), initialize_config_dir(str(settings.CONFIGS), version_base="1.3"):
        cfg = compose("train", ["loss.name=public", *chosen, "~recipe", "~loss.criterion"])
        cfg = settings.resolved(cfg)
        cfg.dataset = {"name": "unknown"}
        network, task = cell.build(cfg, "cpu")
    foreign.load_into(network, cell.black_input(task, 32), path)
    cfg = OmegaConf.masked_copy(cfg, ["model", "task", "dataset", "loss", "seed", "channels_last"])
    state = {"network": network.state_dict(), "config": configuration.to_yaml(cfg)}
    checkpoint.save(output, state)
    say(f"{output}: {cfg.model.name}, {sum(p.numel() for p in network.parameters()):,} parameters")
