"""Turn the weights of another program into a weights file of this one.

    asyrepro convert dncnn25.pth model=dncnn_public task=denoising task.sigma=25 output=dncnn25.pt
    asyrepro evaluate checkpoint=dncnn25.pt testset=set12
    asyrepro convert edsr_x3.pt model=edsr task=super_resolution task.scale=3 range=255 output=x3.pt

It takes state dictionaries as KAIR, BasicSR, EDSR-PyTorch and others save them, and runs nothing
that is in the file. Layers are matched by name or, where names differ, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.errors import ConfigError, say
from asyrepro.system.options import argument, rest, setting


@dataclass(kw_only=True)
class Options:
    path: Path = argument("the weights of another program", shown="FILE")
    output: Path | None = setting(
        None, "what to write (default: the same name with .pt)", shown="FILE.pt"
    )
    range: float | None = setting(
        None,
        "value of white in the images that the other program gives the network, as 255 (EDSR, "
        "which needs it, and SRCNN; default: 1)",
        above=0,
    )
    chosen: list[str] = rest(
        "the network and the task that it was trained for, as for train: model.network.layers=, "
        "task.scale=, task.sigma=; loss.name= is what tables call its loss (default: public)",
        shown="model=, task=, ...",
    )


def run(options: Options) -> None:
    from omegaconf import OmegaConf

    from asyrepro.runs import config, evaluation, parts
    from asyrepro.training import checkpoint, foreign

    output = options.output or options.path.with_suffix(".pt")
    if output.exists():
        raise ConfigError(f"{output} is there already: give another output=")
    with config.explained():
        chosen = ["loss.name=public", *options.chosen, "~recipe", "~loss.criterion"]
        cfg = config.checked(config.compose(chosen))
        cfg.dataset = {"name": "unknown"}
        network, task = parts.build(cfg, "cpu")
        black, label = parts.black_patches(task, 32 // task.scale * task.scale)
        evaluation.output_of(network.eval(), black, label, "a black patch")
    foreign.load_into(network, black, options.path, options.range)
    cfg = OmegaConf.masked_copy(cfg, ["model", "task", "dataset", "loss", "seed", "channels_last"])
    state = {"network": network.state_dict(), "config": config.to_yaml(cfg)}
    checkpoint.save(output, state)
    say(f"{output}: {cfg.model.name}, {sum(p.numel() for p in network.parameters()):,} parameters")
