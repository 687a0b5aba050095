"""The runs of a study: which there are to be, and which of them are still to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from asyrepro.data import STAND_IN
from asyrepro.runs import config, schema
from asyrepro.runs.checks import check_folder, check_row, what_is_shared
from asyrepro.runs.resolve import KEPT, begun_with, resolve, resolved
from asyrepro.runs.run import Run
from asyrepro.system.errors import DataError


@dataclass(frozen=True)
class Planned:
    """A run that is to be: its settings as it will be carried out, and what asks for it."""

    values: dict
    run: Run
    overrides: list[str]

    @property
    def cfg(self) -> DictConfig:
        return OmegaConf.create(self.values)


@dataclass(frozen=True)
class Plan:
    """All runs of a study, those of one seed together."""

    runs: list[Planned]

    @classmethod
    def of(
        cls,
        experiments: Sequence[str],
        losses: Sequence[str],
        seeds: Sequence[str],
        overrides: Sequence[str],
    ) -> Plan:
        """Compose once for an experiment and loss, and set the seed in copies.

        Without a study among the overrides it is called as the profile; if the real images cannot
        be had, and the stand-in takes their place, with "-bundled" behind it.

        Raises:
            ConfigError: a setting is wrong, or a folder or row holds other runs.
            DataError: see :func:`asyrepro.runs.resolve.resolve`.
        """
        chosen = list(product(experiments, losses))
        named = any(item.startswith("study=") for item in overrides)
        with config.composing():
            study = [] if named else ["study=${profile.name}"]
            plan = cls(_composed(chosen, seeds, [*overrides, *study]))
            if not named and any(map(_on_stand_in, plan.runs)):
                begun = plan.study
                study = ["study=${profile.name}-bundled"]
                plan = cls(_composed(chosen, seeds, [*overrides, *study]))
                if not all(map(_on_stand_in, plan.runs)):
                    raise DataError(
                        f"{begun} holds runs with {STAND_IN}, and the real images can be "
                        f"had now: rename it to {plan.study}, or choose another study"
                    )
        plan._check()
        return plan

    @property
    def cfg(self) -> DictConfig:
        """The first run's configuration, for what all have in common."""
        return self.runs[0].cfg

    @property
    def study(self) -> Path:
        return self.runs[0].run.study

    def todo(self) -> list[Planned]:
        """What is not finished now."""
        return [item for item in self.runs if not item.run.finished]

    def _check(self) -> None:
        met = set()
        for item in self.runs:
            shared = item.run.row, str(what_is_shared(item.values))
            if not check_folder(item.values, item.run) and shared not in met:
                check_row(item.values, item.run)
                met.add(shared)


def _on_stand_in(item: Planned) -> bool:
    return item.values["dataset"]["name"] == "bundled"


def _composed(
    chosen: list[tuple[str, str]], seeds: Sequence[str], overrides: list[str]
) -> list[Planned]:
    """The runs of each experiment and loss with each seed, the first seed's in front."""
    plain = [item for item in overrides if not _of_a_launcher(item)]
    variants = [_Seeds([f"experiment={e}", f"loss={loss}", *plain]) for e, loss in chosen]
    return [each.planned(seed) for seed in seeds for each in variants]


def _of_a_launcher(item: str) -> bool:
    name = item.lstrip("+")
    return name.startswith(("hydra/", "hydra.")) and not name.startswith("hydra.searchpath")


class _Seeds:
    """The runs of one experiment and loss, which differ in their seed: composed once."""

    def __init__(self, overrides: list[str]):
        self.overrides = overrides
        composed = config.compose(overrides)
        self.folder = Run.of(composed).folder.parent
        self.plain = config.checked(composed)
        schema.check(self.plain)
        self.reads_seed = "${seed}" in OmegaConf.to_yaml(config.without_hydra(composed))
        self.known: dict[tuple, dict] = {}  # by what resolving looks at in the run's row

    def planned(self, seed: str) -> Planned:
        overrides = [*self.overrides, f"seed={seed}"]
        if self.reads_seed or not seed.isdigit():
            composed = config.compose(overrides)
            run = Run.of(composed)
            return Planned(OmegaConf.to_container(resolve(composed, run)), run, overrides)
        run = Run(self.folder / f"seed{int(seed)}")
        begun = begun_with(run) or {}
        data, task = begun.get("dataset", {}).get("name"), begun.get("task", {})
        key = (bool(begun), run.finished, data, begun.get("amp"), *map(task.get, KEPT))
        if key not in self.known:
            self.known[key] = OmegaConf.to_container(resolved(self.plain.copy(), run))
        return Planned(self.known[key] | {"seed": int(seed)}, run, overrides)
