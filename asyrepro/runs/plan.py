"""The runs of a study: which there are to be, and which of them are still to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from asyrepro.runs import config, results
from asyrepro.runs.checks import check_folder, check_row, what_is_shared
from asyrepro.runs.resolve import begun_with, resolve, resolved
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
        named = any(item.startswith("study=") for item in overrides)
        with config.composing():
            chosen = [
                (experiment, loss, [f"experiment={experiment}", f"loss={loss}"])
                for experiment in experiments
                for loss in losses
            ]
            name = [] if named else ["study=${profile.name}"]
            plan = cls._composed(chosen, seeds, [*overrides, *name])
            if not named and any(item.values["dataset"]["name"] == "bundled" for item in plan.runs):
                begun = plan.study
                plan = cls._composed(chosen, seeds, [*overrides, "study=${profile.name}-bundled"])
                if any(item.values["dataset"]["name"] != "bundled" for item in plan.runs):
                    raise DataError(
                        f"{begun} holds runs with {results.STAND_IN}, and the real images can be "
                        f"had now: rename it to {plan.study}, or choose another study"
                    )
        plan._check()
        return plan

    @classmethod
    def _composed(cls, chosen: list, seeds: Sequence[str], overrides: list[str]) -> Plan:
        plain = [item for item in overrides if not _of_a_launcher(item)]
        shared = not any(item.lstrip("+~").startswith("loss.") for item in plain)
        found, rows = {}, {}
        for experiment, loss, own in chosen:
            # Losses share their row, unless settings of a loss are given.
            row = rows.get(experiment) if shared else None
            variants = _Seeds([*own, *plain], row)
            rows[experiment] = variants.row
            for seed in seeds:
                found[seed, experiment, loss] = variants.planned(seed)
        order = [(seed, *key[:2]) for seed in seeds for key in chosen]
        return cls([found[key] for key in order])

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


class _Seeds:
    """The runs of one experiment and loss, which differ in their seed: composed once."""

    def __init__(self, overrides: list[str], row: str | None):
        """``row``: the row's name, where it is known already."""
        self.overrides = overrides
        composed = config.compose(overrides)
        first = Run.of(composed, row)
        self.row, self.folder = first.row, first.folder.parent
        self.plain = config.plain(composed)
        config.check(self.plain)
        text = OmegaConf.to_yaml(config.without_hydra(composed))
        self.reads_seed = "${seed}" in text
        self.known: dict[tuple, dict] = {}

    def planned(self, seed: str) -> Planned:
        overrides = [*self.overrides, f"seed={seed}"]
        if self.reads_seed or not seed.isdigit():
            composed = config.compose(overrides)
            run = Run.of(composed)
            return Planned(OmegaConf.to_container(resolve(composed, run)), run, overrides)
        run = Run(self.folder / f"seed{int(seed)}")
        begun = begun_with(run) or {"dataset": {}, "task": {}}
        kept = begun["dataset"].get("name"), begun.get("amp"), begun["task"].get("border")
        key = (begun["dataset"] != {}, *kept, run.finished)
        if key not in self.known:
            self.known[key] = OmegaConf.to_container(resolved(self.plain.copy(), run))
        return Planned(self.known[key] | {"seed": int(seed)}, run, overrides)


def _of_a_launcher(item: str) -> bool:
    name = item.lstrip("+")
    return name.startswith(("hydra/", "hydra.")) and not name.startswith("hydra.searchpath")
