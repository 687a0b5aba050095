"""Which recipe a network is trained with, as configs/train.yaml refers to it.

The network's for the budget where there is one, recipe/edsr_quick.yaml; else the network's,
recipe/edsr.yaml; else recipe/adam.yaml. Files of a folder given with --config-dir count, too.
"""

from __future__ import annotations

from omegaconf import OmegaConf

FOR_ANY = "adam"


def recipe_of(budget: str, model: str) -> str:
    """The name of the recipe, for Hydra's list of defaults."""
    from hydra.core.global_hydra import GlobalHydra  # which is set up when this is called

    there = GlobalHydra.instance().config_loader().get_group_options("recipe")
    return next((name for name in (f"{model}_{budget}", model) if name in there), FOR_ANY)


OmegaConf.register_new_resolver("recipe_of", recipe_of, replace=True)
