"""Hydra's launchers: runs one after the other, side by side, or as jobs of a cluster."""

from __future__ import annotations

from importlib.util import find_spec

from omegaconf import DictConfig, OmegaConf

from asyrepro.system.errors import ConfigError

EACH = {"processes": 1, "gpu": 4}  # launchers of processes -> how many work on each GPU at once
PLUGINS = {  # which launchers need
    "joblib": ("joblib", *EACH),
    "submitit": ("slurm", "slurm_local", "submitit_local", "submitit_slurm"),
}
CHOICE = "hydra/launcher="


def at_once(launcher: str) -> int:
    """How many processes a preset of the joblib launcher starts; -1, one a core, without a GPU."""
    import torch

    return EACH[launcher] * torch.cuda.device_count() or -1


OmegaConf.register_new_resolver("processes", at_once, replace=True)


def installed(plugin: str) -> bool:
    return find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is not None


def check(arguments: list[str]) -> None:
    """ConfigError if the command line asks for a launcher whose plugin is not installed."""
    chosen = [item.removeprefix(CHOICE) for item in arguments if item.startswith(CHOICE)]
    for plugin, names in PLUGINS.items():
        if {*names} & {*chosen} and not installed(plugin):
            raise ConfigError(
                f"{CHOICE}{chosen[-1]} needs a plugin that is not installed: "
                f"pip install hydra-{plugin}-launcher"
            )


def given(cfg: DictConfig) -> int | None:
    """How many runs the launcher that was asked for carries out at once; None if none was."""
    if not any(CHOICE in item for item in cfg.hydra.overrides.hydra):
        return None
    many = cfg.hydra.launcher.get("n_jobs", 1)
    return many if many > 0 else cores()


def cores() -> int:
    from joblib import cpu_count

    return cpu_count()
