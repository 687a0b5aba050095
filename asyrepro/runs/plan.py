"""The runs of a study: which there are to be, and which of them are still to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from asyrepro.runs import config, results
from asyrepro.runs.resolve import begun_with, check_folder, check_row, resolve, resolved
from asyrepro.runs.run import Run
from asyrepro.system.errors import DataError


@dataclass(frozen=True)
class Planned:
    """A run that is to be: its configuration as it will be carried out, and what asks for it."""

    cfg: DictConfig
    run: Run
    overrides: list[str]


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
            if not named and any(item.cfg.dataset.name == "bundled" for item in plan.runs):
                begun = plan.study
                plan = cls._composed(chosen, seeds, [*overrides, "study=${profile.name}-bundled"])
                if any(item.cfg.dataset.name != "bundled" for item in plan.runs):
                    raise DataError(
                        f"{begun} holds runs with {results.STAND_IN}, and the real images can be "
                        f"had now: rename it to {plan.study}, or choose another study"
                    )
        plan._check()
        return plan

    @classmethod
    def _composed(cls, chosen: list, seeds: Sequence[str], overrides: list[str]) -> Plan:
        found = {}
        for experiment, loss, own in chosen:
            variants = _Seeds([*own, *_without_launcher(overrides)])
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
        rows = set()
        for item in self.runs:
            if not check_folder(item.cfg, item.run) and (item.run.row, item.run.loss) not in rows:
                check_row(item.cfg, item.run)
                rows.add((item.run.row, item.run.loss))


class _Seeds:
    """The runs of one experiment and loss, which differ in their seed: composed once."""

    def __init__(self, overrides: list[str]):
        self.overrides = overrides
        self.composed = config.compose(overrides)
        self.folder = Run.of(self.composed).folder.parent
        self.plain = config.plain(self.composed)
        config.check(self.plain)
        ours = OmegaConf.masked_copy(
            self.composed, [key for key in self.composed if key != "hydra"]
        )
        self.reads_seed = "${seed}" in OmegaConf.to_yaml(ours)
        self.known: dict[tuple, DictConfig] = {}

    def planned(self, seed: str) -> Planned:
        overrides = [*self.overrides, f"seed={seed}"]
        if self.reads_seed or not seed.isdigit():
            composed = config.compose(overrides)
            run = Run.of(composed)
            return Planned(resolve(composed, run), run, overrides)
        run = Run(self.folder / f"seed{int(seed)}")
        begun = begun_with(run) or {"dataset": {"name": None}}
        key = (begun["dataset"]["name"], begun.get("amp"), run.finished)
        if key not in self.known:
            self.known[key] = resolved(self.plain.copy(), run)
        cfg = self.known[key].copy()
        cfg.seed = int(seed)
        return Planned(cfg, run, overrides)


def _without_launcher(overrides: Sequence[str]) -> list[str]:
    kept = ("hydra.searchpath",)
    return [
        item
        for item in overrides
        if item.startswith(kept) or not item.lstrip("+").startswith(("hydra/", "hydra."))
    ]
