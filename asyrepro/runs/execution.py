"""Carrying out a run: train a network with one loss and one seed, evaluate it, write its rows."""

from __future__ import annotations

import csv
import io
import math
import platform
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from asyrepro import whitening
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs import config, evaluation, profiles, provenance, results
from asyrepro.runs.config import make
from asyrepro.runs.resolve import check_folder, check_row, have, or_give
from asyrepro.runs.run import Run
from asyrepro.system import devices, files, locks
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint, distributed, foreign, logger
from asyrepro.training.loop import Diverged, Trainer, parameter_groups

PATCHES_WHITENED = 120  # patches that a layer's input is whitened on
VALIDATION_SIDE = 160  # pixels of the centre crops that validation while training looks at
COLUMNS = list(results.COLUMNS)
Fingerprints = dict[str, str]  # of data sets, as {"training bsd300": SHA-256}


def carry_out(cfg: DictConfig, run: Run) -> tuple[list[dict], bool]:
    """The rows of a run, and whether it was finished already; else it is trained or continued.

    A training that is finished but lacks its rows (somebody removed rows.csv, to evaluate it again)
    is not repeated: its weights.pt is evaluated.

    Args:
        cfg: a configuration that :func:`asyrepro.runs.resolve.resolve` has gone over.
        run: its folder.

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
            return rows, True
        job = Job.prepared(cfg, run)
        if cfg.get("from"):
            foreign.load_into(job.network, job.black_input(), cfg["from"])
        job.check_tests()
        done = job.trained_before()
        distributed.on_main(lambda: job.note_beginning(continued=done is not None))
        network, seen = done or job.train()
        return distributed.on_main(lambda: job.finish(network, seen)), False


def _open(cfg: DictConfig, run: Run, held: ExitStack) -> list[dict] | None:
    """Hold the folder for this run; returns its rows if it is finished."""
    held.enter_context(locks.locked(run.folder))
    files.remove_leftovers(run.folder)
    run = Run(run.folder)  # as it is now that nobody else writes to it
    begun = check_folder(cfg, run)
    if not begun:
        check_row(cfg, run)
    if not begun or run.base != (cfg.loss.get("base") or ""):
        files.write_text(run.config, config.to_yaml(cfg))
    if not run.finished:
        return None
    files.remove(run.checkpoint)
    return read_rows(run.rows)


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
        device = _device(cfg)
        with devices.memory(
            f"the network does not fit into the free memory of {devices.name_of(device)}: make "
            "room there (end what else uses it), or choose another runtime.device"
        ):
            network, task = build(cfg, device)
            job = cls(cfg, run, device, network, task)
            job._check_fit()
        return job

    def _check_fit(self) -> None:
        """Refuse what network, loss or optimiser refuse, with a black patch."""
        cfg = self.cfg
        label = self.black_label()
        try:
            with torch.inference_mode():
                output = self.network.eval()(self.black_input())
        except ValueError as error:
            raise ConfigError(f"{error}; or check model.input") from error
        if output.shape != label.shape:
            raise ConfigError(
                f"the network returns {tuple(output.shape)} where the label is "
                f"{tuple(label.shape)}, and no loss compares these; check model.network and "
                "model.input"
            )
        criterion = make(cfg.loss.criterion).to(self.device)
        try:
            with torch.inference_mode():
                loss = criterion(output.float(), label)
        except ValueError as error:
            raise ConfigError(
                f"the loss {cfg.loss.name} refuses patches of {cfg.recipe.patch} pixels: {error}"
            ) from error
        if loss.ndim:
            raise ConfigError(
                f"the loss {cfg.loss.name} returns {tuple(loss.shape)} where a training needs one "
                "number; check loss.criterion (its reduction?)"
            )
        optimization(cfg.recipe, self.network)

    def black_input(self, batch: int = 1) -> Tensor:
        """What the network is given for black patches."""
        return black_input(self.task, self.cfg.recipe.patch, self.device, batch)

    def black_label(self, batch: int = 1) -> Tensor:
        """The labels of black patches."""
        side = self.cfg.recipe.patch
        return torch.zeros(batch, _channels(self.task), side, side, device=self.device)

    def check_tests(self) -> None:
        """DataError, before the training, if benchmarks cannot be had, or test images of your own
        are damaged, too small or new."""
        cfg = self.cfg
        with or_give("benchmarks=[] to do without"):
            for name in cfg.benchmarks:
                have(name, cfg.runtime)
        tests = [cfg.testset, *cfg.benchmarks] if cfg.testset else cfg.benchmarks
        for name in filter(catalogue.is_folder, tests):
            testset = catalogue.test_set(name, **self.task.reading(), **where(cfg))
            evaluation.check_sizes(testset, self.task)
            self._check_same(name, f"test {testset.name}", testset.fingerprint)

    def _check_same(self, name: str, key: str, fingerprint: str) -> None:
        """DataError if another run of the row was carried out with other images of that name."""
        for mate in [self.run, *self.run.mates()]:
            if provenance.fingerprints(mate).get(key) not in (None, fingerprint):
                raise DataError(
                    f"the images of {name} are not those that {mate} was run with, and the "
                    "rows would not be comparable: choose another study, or put the images back"
                )

    def trained_before(self) -> tuple[nn.Module, Fingerprints] | None:
        """The network of a training that is finished, and what it was trained and validated on."""
        path = self.run.weights
        recorded = provenance.fingerprints(self.run)
        if self.run.checkpoint.is_file() or not path.is_file() or not recorded:
            return None
        state = checkpoint.load(path)
        named = [node["_target_"] for node in (self.cfg.model.network, self.cfg.task)]
        stored = checkpoint.configuration(state, path, named)
        if config.identity(stored) != config.identity(self.cfg):
            raise CheckpointError(f"{path} is of another configuration; delete it to train anew")
        checkpoint.load_weights(self.network, state.get("network"), path)
        validated = f"test {self.cfg.validation and catalogue.short(self.cfg.validation)}"
        return self.network, {
            name: fingerprint
            for name, fingerprint in recorded.items()
            if name.startswith("training ") or name == validated
        }

    def note_beginning(self, continued: bool) -> None:
        chosen = {key: self.cfg[key] for key in ("amp", "channels_last")}
        chosen["compile"] = self.cfg.runtime.compile
        with devices.measured_convolutions():  # as in training
            found = provenance.environment(self.device, devices.name_of(self.device), **chosen)
        continued = continued or self.run.checkpoint.is_file()
        provenance.begin(self.run, found, continued=continued)

    # ------------------------------------------------------------------------------- training

    def bare_step(self) -> Callable[[], None]:
        """One training step on black patches as a function, to measure its time."""
        batch = self.cfg.recipe.batch
        inputs, label = self.black_input(batch), self.black_label(batch)
        if self.cfg.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        advance = self._trainer(None, "", None).stepping()
        self.network.train()
        return lambda: advance(inputs, label)

    def train(self) -> tuple[nn.Module, Fingerprints]:
        """The trained network, and the fingerprints of what it was trained and validated on."""
        cfg = self.cfg
        with devices.memory(
            f"the training set {cfg.dataset.name} does not fit into the memory, where it lies "
            f"decoded as a whole, here and on {devices.name_of(self.device)}: make room, or choose "
            "another dataset"
        ):
            reading = {**self.task.reading(), **where(cfg)}
            with or_give(f"fallback=true for {cfg.dataset.instead} instead, as in reproduce"):
                images = catalogue.training_set(cfg.dataset.name, **reading)
            key = f"training {images.name}"
            if catalogue.is_folder(cfg.dataset.name):
                self._check_same(cfg.dataset.name, key, images.fingerprint)
            size = {"patch": cfg.recipe.patch, "batch": cfg.recipe.batch}
            sampler = PatchSampler(
                images.images, self.task, **size, seed=cfg.seed, device=self.device
            )
        seen = {key: images.fingerprint}
        signature = config.identity(cfg)  # what must agree for a checkpoint to be continued
        if catalogue.is_folder(cfg.dataset.name):
            signature += f" {images.fingerprint}"
        with devices.memory(self._smaller_batch()):
            if cfg.recipe.get("whiten"):
                _whiten(self.network, cfg.recipe.whiten, sampler)
            validate, validated = self._validation()
            trainer = self._trainer(sampler, signature, validate)
            log = cfg.runtime.logger
            with logger.opened(log.name, self.run.folder, log.get("options")) as trainer.logger:
                return whitening.fold(trainer.run()), seen | validated

    def _validation(self):
        """The PSNR of a network on the validation images as a function, and their fingerprint."""
        cfg = self.cfg
        if not cfg.recipe.validate_every:
            return None, {}
        without = "recipe.validate_every=0 to train without validation"
        with or_give(f"validation= a folder of your own, or {without}"):
            chosen = catalogue.test_set(cfg.validation, **self.task.reading(), **where(cfg))
        step = self.task.scale if self.task.pairs else 1
        pairs = [
            tuple(part.to(self.device) for part in self.task.test_pair(_centre(image, step), name))
            for name, image in zip(chosen.names, chosen.images, strict=True)
        ]

        def validate(trained: nn.Module) -> float:
            return evaluation.mean_psnr(trained, pairs)

        return validate, {f"test {chosen.name}": chosen.fingerprint}

    def _trainer(self, sampler: PatchSampler | None, signature: str, validate) -> Trainer:
        cfg, recipe = self.cfg, self.cfg.recipe
        optimizer, scheduler = optimization(recipe, self.network)
        torch.manual_seed(cfg.seed)  # for losses that draw (shuffled weights)
        criterion = make(cfg.loss.criterion).to(self.device)
        black = self.black_label()
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
            clip=recipe.clip,
            ema=recipe.ema,
            log_every=recipe.log_every,
            validate=validate,
            validate_every=recipe.validate_every,
            checkpoint_seconds=cfg.runtime.checkpoint_seconds,
            label=f"{cfg.cell} {cfg.loss.name} seed {cfg.seed}" if cfg.runtime.progress else None,
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

    def finish(self, network: nn.Module, seen: Fingerprints) -> list[dict]:
        """Evaluate the trained network, and write what the run's folder is to hold."""
        run = self.run
        with devices.memory(
            f"a test image does not fit into the free memory of {devices.name_of(self.device)}; "
            "the training is done and kept: make room there (end what else uses it), and run the "
            "same command again"
        ):
            rows, profile, tested = self.evaluate(network)
        weights = {k: v.cpu() for k, v in network.state_dict().items()}
        checkpoint.save(run.weights, {"network": weights, "config": config.to_yaml(self.cfg)})
        if profile is not None:
            profiles.save(profile, run.file("profiles.csv"))
        text = to_csv(rows, COLUMNS)
        provenance.finish(
            run,
            config=config.identity(self.cfg),
            data=seen | tested,
            weights=weights,
            rows=text,
        )
        files.write_text(run.rows, text)
        files.remove(run.checkpoint)
        return rows

    def evaluate(self, network: nn.Module):
        """Rows of the table's test set and the benchmarks, the error profile of the first (or
        None), and the fingerprints of all."""
        cfg = self.cfg
        wanted = [(cfg.testset, cfg.table)] if cfg.testset else []
        wanted += [(name, None) for name in cfg.benchmarks]
        wanted = {(catalogue.short(name), table): (name, table) for name, table in wanted}.values()
        common = {"model": cfg.model.name, "dataset": catalogue.short(cfg.dataset.name)}
        made_by = {
            "variant": self.run.variant,
            "config": config.identity(cfg),
            "iterations": cfg.recipe.steps,
            "device": devices.name_of(self.device),
            "versions": versions(),
        }
        rows, sums, tested = [], [], {}
        for name, table in wanted:
            testset = catalogue.test_set(name, **self.task.reading(), **where(cfg))
            tested[f"test {testset.name}"] = testset.fingerprint
            about = {"table": table, **common, "loss": cfg.loss.name, "seed": cfg.seed}
            for image, output, label in self._outputs(network, testset):
                found = evaluation.row(image, output, label, self.task, testset.name)
                rows.append(about | found | made_by)
                if name == cfg.testset:
                    sums.append(profiles.profile_rows(label, output, **about, image=image))
            degraded = {"table": table, **common, "variant": self.run.variant}
            self._write_baseline(testset, degraded, again=catalogue.is_folder(name))
        return rows, pd.concat(sums) if sums else None, tested

    def _outputs(self, network: nn.Module, testset: catalogue.DataSet):
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

    def _write_baseline(self, testset: catalogue.DataSet, about: dict, again: bool) -> None:
        """Once for all losses and seeds: results/<study>/baselines/<row>_<test set>.csv.

        ``again``: also where the file is there, which may be of other images of your own.
        """
        path = self.run.study / "baselines" / f"{self.run.row}_{testset.name}.csv"
        if path.is_file() and not again:
            return
        about |= {"loss": self.task.baseline, "versions": versions()}
        write_rows(path, [about | row for row in evaluation.evaluate_baseline(testset, self.task)])


# ------------------------------------------------------------------------------------- its parts


def build(cfg: DictConfig, device: torch.device | str) -> tuple[nn.Module, Task]:
    """The network with the initial weights of ``cfg.seed``, and its task."""
    task = make(cfg.task)
    torch.manual_seed(cfg.seed)
    network = make(cfg.model.network).to(device)
    if cfg.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network, task


def black_input(
    task: Task, patch: int, device: torch.device | str = "cpu", batch: int = 1
) -> Tensor:
    """What a network is given for black patches of so many label pixels a side."""
    side = patch // task.scale + 2 * task.margin
    stored = torch.zeros(batch, _channels(task), side, side, device=device)
    return task.inputs(stored, torch.Generator(device).manual_seed(0))


def _channels(task: Task) -> int:
    return 3 if task.mode == "rgb" else 1


def load(path: Path | str, device: torch.device | str = "cpu", trusted: Collection[str] = ()):
    """A trained network from its weights file.

    Args:
        path: the file.
        device: where the network goes.
        trusted: see :func:`asyrepro.training.checkpoint.configuration`.

    Returns:
        (network in evaluation mode, task, configuration).

    Raises:
        CheckpointError: see :func:`asyrepro.training.checkpoint.load`.
    """
    state = checkpoint.load(path, device)
    cfg = checkpoint.configuration(state, path, trusted)
    weights = state.get("network")
    try:
        with torch.device("meta"):  # without memory, which a stranger's file may ask for at will
            checkpoint.check_weights(make(cfg.model.network), weights, path)
        network, task = build(cfg, device)
    except ConfigError as error:
        raise CheckpointError(f"{path} holds a configuration that cannot be: {error}") from error
    network.load_state_dict(weights)
    return network.eval(), task, cfg


def _device(cfg: DictConfig) -> torch.device:
    if cfg.runtime.threads:
        torch.set_num_threads(cfg.runtime.threads)
    device = devices.choose(cfg.runtime.device)
    if device.type == "cuda" and (device.index is None or distributed.size() > 1):
        device = torch.device("cuda", distributed.gpu())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def where(cfg: DictConfig) -> dict:
    """Where data sets are looked for, whether they may be downloaded, and what is white."""
    white = cfg.dataset.get("white")
    return {"root": cfg.runtime.data, "download": cfg.runtime.download, "white": white}


def optimization(recipe: DictConfig, network: nn.Module):
    """The recipe's optimiser and its schedule; ConfigError if they refuse their options."""
    optimizer_of, scheduler_of = make(recipe.optimizer), make(recipe.scheduler)
    name = "recipe.lr_scale"
    try:
        groups = parameter_groups(network, recipe.optimizer.lr, recipe.get("lr_scale"))
        peaks = {}
        if len(groups) > 1 and "max_lr" in recipe.scheduler:  # one number would be every group's
            shares = [group["lr"] / recipe.optimizer.lr for group in groups]
            peaks["max_lr"] = [recipe.scheduler.max_lr * share for share in shares]
        name = "recipe.optimizer"
        optimizer = optimizer_of(groups)
        name = "recipe.scheduler"
        scheduler = scheduler_of(optimizer, **peaks)
        steps = getattr(scheduler, "total_steps", recipe.steps)  # a OneCycleLR's
        if steps < recipe.steps:
            raise ValueError(f"it ends after {steps} of the {recipe.steps} steps")
        return optimizer, scheduler
    except (ValueError, TypeError, ZeroDivisionError) as error:
        others = isinstance(error, TypeError) and name == "recipe.optimizer"
        advice = "; ~recipe.optimizer.NAME removes an option, recipe=adam has Adam's own" * others
        raise ConfigError(f"{name} cannot be used: {error}{advice}") from error


def _whiten(network: nn.Module, name: str, sampler: PatchSampler) -> None:
    """Whiten the layer ``name``, which the network's input goes into, on the first patches."""
    before = sampler.state_dict()
    batches = math.ceil(PATCHES_WHITENED / sampler.batch)
    inputs = torch.cat([next(sampler)[0] for _ in range(batches)])
    sampler.load_state_dict(before)
    try:
        whitening.whiten(network.get_submodule(name), inputs)
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"recipe.whiten is {name!r}: {error}") from error


def _centre(image: Tensor, step: int) -> Tensor:
    """The middle of an image, whose corners lie at multiples of ``step``."""
    height, width = (min(VALIDATION_SIDE, side) // step * step for side in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    top, left = top // step * step, left // step * step
    return image[:, top : top + height, left : left + width]


# ------------------------------------------------------------------------------------------ rows


def versions() -> str:
    """The versions that numbers depend on, in one line."""
    names = ("torch", "scikit-image", "numpy")
    return "; ".join([f"python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)])


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows of the tidy table atomically."""
    files.write_text(path, to_csv(rows, COLUMNS))


def read_rows(path: Path) -> list[dict]:
    """Read what :func:`write_rows` wrote (values as text)."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def to_csv(rows: list[dict], columns: list[str]) -> str:
    """Rows as CSV text; floats with seven decimals, None and NaN as an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: _written(v) for k, v in row.items()})
    return text.getvalue()


def _written(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.7f}"
