"""Carrying out a run: train a network with one loss and one seed, evaluate it, write its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from asyrepro import whitening
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs import (
    checks,
    commandline,
    config,
    evaluation,
    parts,
    profiles,
    provenance,
    results,
)
from asyrepro.runs.resolve import or_give
from asyrepro.runs.run import Run
from asyrepro.system import devices, files, locks, randomness
from asyrepro.system.errors import CheckpointError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint, distributed, foreign, logger
from asyrepro.training.loop import Diverged, Trainer

VALIDATION_SIDE = 160  # pixels of the centre crops that validation while training looks at
Fingerprints = dict[str, str]  # of data sets, as {"training bsd300": SHA-256}

Batch = tuple[Tensor, Tensor]  # (input, label) of the patches of a step, or of one image


class Outcome(NamedTuple):
    """What :func:`carry_out` returns: a run's rows, and whether they were there already."""

    rows: list[dict]
    finished_before: bool


@dataclass(frozen=True)
class Trained:
    """A trained network, and the data sets that it was trained and validated on."""

    network: nn.Module
    seen: Fingerprints


@dataclass(frozen=True)
class Validation:
    """The images that a network is validated on while it is trained."""

    pairs: list[Batch]  # of (1, C, H, W), on the device
    seen: Fingerprints

    def psnr(self, network: nn.Module) -> float:
        """The mean PSNR in dB."""
        return evaluation.mean_psnr(network, self.pairs)


@dataclass(frozen=True)
class Evaluated:
    """What a trained network scores on the test sets of its run."""

    rows: list[dict]
    profile: pd.DataFrame | None  # of the errors on a table's test set; None without a table
    seen: Fingerprints


def carry_out(cfg: DictConfig, run: Run) -> Outcome:
    """Train or continue a run and evaluate it, unless it is finished: then its rows are read.

    A run that is trained but lacks its rows (somebody removed rows.csv, to evaluate it again)
    is not repeated: its weights.pt is evaluated. :func:`asyrepro.runs.resolve.resolve` has gone
    over ``cfg``.

    Raises:
        ConfigError: the folder belongs to another configuration, or the run's row to another one.
        locks.InUse: another process is working in the folder.
        CheckpointError: weights.pt or the checkpoint is damaged, or of another configuration.
        DataError: images of your own are damaged, or not those that the other runs of the row were
            trained or tested on.
        Diverged: the loss, or the trained network's output, is not finite.
        devices.OutOfMemory: the network, the training set or a batch does not fit into the memory.
    """
    with ExitStack() as held:
        rows = distributed.on_main(lambda: _open(cfg, run, held))
        if rows is not None:
            return Outcome(rows, finished_before=True)
        job = Job.prepared(cfg, run)
        job.load_initial_weights()
        checks.check_tests(cfg, run, job.network, job.task)
        before = job.trained_before()
        distributed.on_main(lambda: job.note_beginning(continued=before is not None))
        trained = before or job.train()
        return Outcome(distributed.on_main(lambda: job.finish(trained)), finished_before=False)


def _open(cfg: DictConfig, run: Run, held: ExitStack) -> list[dict] | None:
    """Hold the folder for this run; returns its rows if it is finished."""
    held.enter_context(locks.locked(run.folder))
    files.remove_leftovers(run.folder)
    run = Run(run.folder)  # as it is now that nobody else writes to it
    begun = checks.check_folder(cfg, run)
    if not begun:
        checks.check_row(cfg, run)
    if not begun or run.base != (cfg.loss.get("base") or ""):
        files.write_text(run.config, config.to_yaml(cfg))
    if not run.finished:
        return None
    checks.check_rows(run)
    run.checkpoint.unlink(missing_ok=True)
    return files.read_csv(run.rows)


@dataclass
class Job:
    """A run on its device: its network with the initial weights, and its task."""

    cfg: DictConfig
    run: Run
    device: torch.device
    network: nn.Module
    task: Task

    @classmethod
    def prepared(cls, cfg: DictConfig, run: Run) -> Job:
        """Refuses, before any data is read, a network that does not fit its task or its device."""
        device = parts.device_of(cfg)
        with devices.memory(
            f"the network does not fit into the free memory of {devices.name_of(device)}: make "
            "room there (end what else uses it), or choose another runtime.device"
        ):
            network, task = parts.build(cfg, device)
            checks.check_fit(cfg, network, task, device)
        return cls(cfg, run, device, network, task)

    def load_initial_weights(self) -> None:
        """Take over the weights of the file that ``from=`` names, if it does."""
        if self.cfg.get("from"):
            black, _ = parts.black_patches(self.task, self.cfg.recipe.patch, self.device)
            foreign.load_into(self.network, black, self.cfg["from"])

    def trained_before(self) -> Trained | None:
        """What weights.pt holds, if the training was done before; else None."""
        path = self.run.weights
        recorded = provenance.fingerprints(self.run)
        if self.run.checkpoint.is_file() or not path.is_file() or not recorded:
            return None
        state = checkpoint.load(path)
        stored = checkpoint.configuration(state, path, checkpoint.targets(self.cfg))
        if config.identity(stored) != config.identity(self.cfg):
            raise CheckpointError(f"{path} is of another configuration; delete it to train anew")
        checkpoint.load_weights(self.network, state.get("network"), path)
        return Trained(self.network, self._seen_in_training(recorded))

    def _seen_in_training(self, recorded: Fingerprints) -> Fingerprints:
        """Those of the data sets of a run that it was trained and validated on, not only tested."""
        names = {name for name in recorded if name.startswith("training ")}
        if self.cfg.validation:
            names.add(f"test {catalogue.short(self.cfg.validation)}")
        return {name: recorded[name] for name in recorded if name in names}

    def note_beginning(self, continued: bool) -> None:
        chosen = {key: self.cfg[key] for key in ("amp", "channels_last")}
        chosen["compile"] = self.cfg.runtime.compile
        with devices.measured_convolutions():  # as in training
            found = provenance.environment(self.device, devices.name_of(self.device), **chosen)
        continued = continued or self.run.checkpoint.is_file()
        provenance.begin(self.run, found, continued=continued)
        commandline.note(self.run.study)

    # ------------------------------------------------------------------------------- training

    def bare_step(self, batch: int | None = None) -> Callable[[], None]:
        """A training step on so many black patches (the recipe's batch), to measure its time."""
        batch = batch or self.cfg.recipe.batch
        inputs, label = parts.black_patches(self.task, self.cfg.recipe.patch, self.device, batch)
        if self.cfg.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        advance = self._trainer(repeat((inputs, label))).stepping()
        self.network.train()
        return lambda: advance(inputs, label)

    def train(self) -> Trained:
        """Train, or continue from the checkpoint in the run's folder, to the last step."""
        cfg, log = self.cfg, self.cfg.runtime.logger
        with devices.memory(
            f"the training set {cfg.dataset.name} does not fit into the memory, where it lies "
            f"decoded as a whole, here and on {devices.name_of(self.device)}: make room, or choose "
            "another dataset"
        ):
            images = self._training_images()
            sampler = PatchSampler(
                images.images,
                self.task,
                patch=cfg.recipe.patch,
                batch=cfg.recipe.batch,
                seed=cfg.seed,
                device=self.device,
                names=images.names,
            )
        with devices.memory(self._smaller_batch()):
            if cfg.recipe.get("whiten"):
                parts.whiten(self.network, cfg.recipe.whiten, sampler)
            validation = self.validation()
            trainer = self._trainer(sampler, self._signature(images), validation)
            with logger.opened(log.name, self.run.folder, log.get("options")) as trainer.logger:
                network = whitening.fold(trainer.run())
        seen = {f"training {images.name}": images.fingerprint}
        return Trained(network, seen | (validation.seen if validation else {}))

    def _training_images(self) -> catalogue.DataSet:
        """The training set; DataError if it is a folder with other images than the row's runs."""
        chosen = self.cfg.dataset
        with or_give(f"fallback=true for {chosen.instead} instead, as in reproduce"):
            images = catalogue.training_set(chosen.name, **parts.reading_here(self.task, self.cfg))
        if catalogue.is_folder(chosen.name):
            key = f"training {images.name}"
            checks.check_same_images(self.run, chosen.name, key, images.fingerprint)
        return images

    def _signature(self, images: catalogue.DataSet) -> str:
        """What must agree for a checkpoint to be continued: the identity, and images of a folder.

        Those of the catalogue need no mention: a name there stands for the same images always.
        """
        identity = config.identity(self.cfg)
        own = catalogue.is_folder(self.cfg.dataset.name)
        return f"{identity} {images.fingerprint}" if own else identity

    def validation(self) -> Validation | None:
        """The validation images, of which the centres are taken; None without validation."""
        cfg = self.cfg
        if not cfg.recipe.validate_every:
            return None
        without = "recipe.validate_every=0 to train without validation"
        with or_give(f"validation= a folder of your own, or {without}"):
            chosen = catalogue.test_set(cfg.validation, **parts.reading_here(self.task, cfg))
        images = zip(chosen.names, chosen.images, strict=True)
        pairs = [self._validation_pair(name, image) for name, image in images]
        if not checks.takes_any_size(cfg):
            named = dict(zip(chosen.names, pairs, strict=True))
            checks.check_shapes(self.network, self.task, cfg.recipe.patch, named)
        return Validation(pairs, {f"test {chosen.name}": chosen.fingerprint})

    def _validation_pair(self, name: str, image: Tensor) -> Batch:
        step = self.task.scale if self.task.pairs else 1
        inputs, label = evaluation.test_pair(self.task, _centre(image, step), name)
        return inputs.to(self.device), label.to(self.device)

    def _trainer(
        self, sampler: Iterator[Batch], signature: str = "", validation: Validation | None = None
    ) -> Trainer:
        cfg, recipe = self.cfg, self.cfg.recipe
        optimizer, scheduler = parts.optimization(recipe, self.network)
        randomness.seed(cfg.seed)  # for losses that draw (shuffled weights)
        criterion = parts.module(cfg.loss.criterion).to(self.device)
        _, black = parts.black_patches(self.task, recipe.patch, self.device)
        distributed.check(recipe.batch, lambda: criterion(black, black))
        return Trainer(
            self.network,
            criterion,
            sampler,
            optimizer,
            scheduler,
            steps=recipe.steps,
            folder=self.run.folder,
            signature=signature,
            device=self.device,
            amp=cfg.amp,
            channels_last=cfg.channels_last,
            compile=cfg.runtime.compile,
            graph=cfg.runtime.graph,
            clip=recipe.clip,
            ema=recipe.ema,
            log_every=recipe.log_every,
            validate=validation.psnr if validation else None,
            validate_every=recipe.validate_every,
            checkpoint_seconds=cfg.runtime.checkpoint_seconds,
            label=f"{cfg.row} {cfg.loss.name} seed {cfg.seed}" if cfg.runtime.progress else None,
        )

    def _smaller_batch(self) -> str:
        batch, patch = self.cfg.recipe.batch, self.cfg.recipe.patch
        if batch > 1:
            less, wrong = f"recipe.batch={batch // 2}", f"recipe.batch={batch}"
        else:
            less, wrong = f"a recipe.patch below {patch}", "a single patch"
        return (
            f"{wrong} does not fit into the memory of {devices.name_of(self.device)}; try {less} "
            "for all runs of the study (it is another recipe, so its results are not comparable "
            "with these)"
        )

    # ----------------------------------------------------------------------------- evaluation

    def finish(self, trained: Trained) -> list[dict]:
        """Evaluate the trained network, and write what the run's folder is to hold."""
        run = self.run
        with devices.memory(
            f"a test image does not fit into the free memory of {devices.name_of(self.device)}; "
            "the training is done and kept: make room there (end what else uses it), and run the "
            "same command again"
        ):
            evaluated = self.evaluate(trained.network)
        weights = {k: v.cpu() for k, v in trained.network.state_dict().items()}
        checkpoint.save(run.weights, {"network": weights, "config": config.to_yaml(self.cfg)})
        if evaluated.profile is not None:
            profiles.save(evaluated.profile, run.file("profiles.csv"))
        text = results.to_csv(evaluated.rows)
        provenance.finish(
            run,
            config=config.identity(self.cfg),
            data=trained.seen | evaluated.seen,
            weights=weights,
            rows=text,
        )
        files.write_text(run.rows, text)
        run.checkpoint.unlink(missing_ok=True)
        return evaluated.rows

    def evaluate(self, network: nn.Module) -> Evaluated:
        """Score a network on the experiment's test set and the benchmarks.

        Also writes the scores of the degraded images, where they are not there yet.
        """
        cfg = self.cfg
        made_by = {
            "loss": cfg.loss.name,
            "seed": cfg.seed,
            "config": config.identity(cfg),
            "iterations": cfg.recipe.steps,
            "device": devices.name_of(self.device),
        }
        rows, sums, seen = [], [], {}
        for name, table in self._test_sets():
            testset = catalogue.test_set(name, **parts.reading_here(self.task, cfg))
            seen[f"test {testset.name}"] = testset.fingerprint
            about = {
                "table": table,
                "model": cfg.model.name,
                "dataset": catalogue.short(cfg.dataset.name),
                "variant": self.run.variant,
                "versions": provenance.decisive_versions(),
            }
            for image, output, label in self._outputs(network, testset):
                found = evaluation.row(image, output, label, self.task, testset.name, cfg.metrics)
                rows.append(about | made_by | found)
                if table is not None:
                    where = {key: rows[-1][key] for key in profiles.WHERE}
                    sums.append(profiles.profile_rows(label, output, **where))
            if catalogue.is_folder(name) or not self.run.baseline(testset.name).is_file():
                self._write_baseline(testset, about)  # other images may be in a folder now
        return Evaluated(rows, pd.concat(sums) if sums else None, seen)

    def _test_sets(self) -> list[tuple[str, str | None]]:
        """(name, table of the paper) of the test sets, each once; None as a benchmark's table."""
        wanted = [(self.cfg.testset, self.cfg.table)] if self.cfg.testset else []
        wanted += [(name, None) for name in self.cfg.benchmarks]
        by_short_name: dict[str, tuple[str, str | None]] = {}
        for name, table in wanted:
            by_short_name.setdefault(catalogue.short(name), (name, table))
        return list(by_short_name.values())

    def _outputs(
        self, network: nn.Module, testset: catalogue.DataSet
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(name, output, label) of every test image; Diverged if one is not finite."""
        for image, _, output, label in evaluation.outputs(
            network, testset, self.task, self.device, self.cfg.runtime.progress
        ):
            if not output.isfinite().all():
                raise Diverged(
                    f"the trained network returns no finite image for {image} of {testset.name}: "
                    "its training diverged; choose a smaller learning rate or set recipe.clip, and "
                    f"delete {self.run}"
                )
            yield image, output, label

    def _write_baseline(self, testset: catalogue.DataSet, about: dict) -> None:
        """Once for all losses and seeds: results/<study>/baselines/<row>_<test set>.csv."""
        about = about | {"loss": self.task.baseline}
        rows = evaluation.evaluate_baseline(testset, self.task, self.cfg.metrics)
        path = self.run.baseline(testset.name)
        files.write_text(path, results.to_csv(about | row for row in rows))


def _centre(image: Tensor, step: int) -> Tensor:
    """The middle of an image, whose corners lie at multiples of ``step``."""
    height, width = (min(VALIDATION_SIDE, side) // step * step for side in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    top, left = top // step * step, left // step * step
    return image[:, top : top + height, left : left + width]
