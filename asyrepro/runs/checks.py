"""What is looked at before a run begins, so that it is refused in seconds and not after hours.

Its folder, the runs that it will be averaged with, its network and loss with black patches, the
images that it will be tested on and their sizes.
"""

from __future__ import annotations

import copy

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from asyrepro.data import catalogue, sampler
from asyrepro.data.download import file_digest
from asyrepro.runs import config, evaluation, parts, provenance, results
from asyrepro.runs.resolve import have, or_give
from asyrepro.runs.run import Run, of_study
from asyrepro.system import devices, files
from asyrepro.system.errors import ConfigError, DataError, note
from asyrepro.tasks import Task
from asyrepro.training import checkpoint


def check_names(cfg: DictConfig, run: Run) -> None:
    """StorageError if what is named after the row, and made after training, has too long a name."""
    for name in filter(None, [cfg.testset, *cfg.benchmarks]):
        files.check_name(run.baseline(catalogue.short(name)))
    files.check_name(run.study / "crops" / f"{run.row}_00_{run.loss}.png")


def check_folder(cfg: DictConfig | dict, run: Run) -> bool:
    """Whether a run's folder holds it already; ConfigError if it holds another one."""
    if run.settings is None:
        return False
    if found := config.difference(config.decisive(run.settings), config.decisive(cfg)):
        raise ConfigError(
            f"{run} holds a run with another configuration ({found}); "
            "choose another study=..., or delete the folder"
        )
    return True


def check_rows(run: Run) -> None:
    """DataError unless the rows of a finished run are those that it wrote."""
    results.read_rows(run.rows, may_be_empty=True)
    recorded = (provenance.read(run.provenance) or {}).get("rows_sha256")
    if recorded not in (None, file_digest(run.rows)):
        raise DataError(
            f"{run.rows} is not as the run wrote it: delete it, and the same command evaluates the "
            "weights again"
        )


def check_row(cfg: DictConfig | dict, run: Run) -> None:
    """ConfigError unless a new run has all but its loss and seed in common with its row.

    The report averages the runs of a row, and takes differences between its losses. It also makes
    the study's tables anew, so a study that is kept without its runs' folders takes no new run.
    """
    if (run.study / "metrics.csv").is_file() and not any(of_study(run.study)):
        raise ConfigError(
            f"{run.study} holds the tables of a study without its runs' folders, and a new run "
            "would replace them: choose another study=..., or delete its metrics.csv"
        )
    ours = what_is_shared(cfg)
    for mate in run.mates():
        if not (mate.finished or mate.checkpoint.is_file()):
            continue  # it failed, or is about to begin
        if found := config.difference(what_is_shared(mate.settings), ours):
            raise ConfigError(
                f"{run} would be averaged or compared with {mate}, and may differ from it in loss "
                f"and seed alone ({found}); choose another study=..., or delete that folder"
            )


def what_is_shared(cfg: DictConfig | dict) -> dict:
    """The settings that all runs of a row must have in common."""
    return {k: v for k, v in config.decisive(cfg).items() if k not in ("loss", "seed")}


def check_fit(cfg: DictConfig, network: nn.Module, task: Task, device: torch.device) -> None:
    """Refuse a run by its network, loss and optimiser, with black patches.

    Raises:
        ConfigError: they refuse black patches, or do not fit together.
        CheckpointError: no command would load the trained weights.
    """
    checkpoint.check_described(cfg, "the configuration", checkpoint.targets(cfg))
    with devices.explained(f"the task {cfg.task['_target_']} refuses a black patch"):
        inputs, label = parts.black_patches(task, cfg.recipe.patch, device)
    if not checkpoint.is_trusted(cfg.task["_target_"], "task"):
        sampler.split(task, parts.random_image(task, cfg.recipe.patch))
    with torch.inference_mode():
        output = evaluation.output_of(network.eval(), inputs, label, "a black patch")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(
            f"{type(network).__name__} has no parameter to train: give it some, or set "
            "requires_grad of those that it has"
        )
    _check_loss(cfg, output.float(), label)
    parts.optimization(cfg.recipe, network)


def _check_loss(cfg: DictConfig, output: Tensor, label: Tensor) -> None:
    criterion, name = parts.module(cfg.loss.criterion), f"the loss {cfg.loss.name}"
    for key, parameter in criterion.named_parameters():
        if parameter.requires_grad:
            raise ConfigError(
                f"{name} has a parameter to train, {key!r}, and only the network is trained: "
                "keep it as a buffer (register_buffer), or call requires_grad_(False)"
            )
    checkpoint.storable(criterion.state_dict(), f"the state of {name}")
    criterion = criterion.to(output.device)
    output = output.clone().requires_grad_()  # a tensor of inference mode has no gradient
    with devices.explained(f"{name} refuses patches of {cfg.recipe.patch} pixels"):
        loss = criterion(output, label)
    if not isinstance(loss, Tensor):
        found = f"a {type(loss).__name__}"
    elif loss.ndim:
        found = str(tuple(loss.shape))
    elif not loss.requires_grad:
        found = "a number without a gradient"
    else:
        return
    raise ConfigError(
        f"{name} returns {found} where training needs a tensor of one number that has a gradient; "
        "check loss.criterion (its reduction?)"
    )


def takes_any_size(cfg: DictConfig) -> bool:
    """Whether network and task are this program's, which restore images of any size."""
    nodes = {"model.network": cfg.model.network, "task": cfg.task}
    return all(checkpoint.is_trusted(node["_target_"], kind) for kind, node in nodes.items())


def check_shapes(network: nn.Module, task: Task, patch: int, pairs: dict[str, tuple]) -> None:
    """ConfigError if a network does not restore test images, given as name: (input, label).

    A copy on the meta device is asked, which has no memory and does no arithmetic. A network that
    cannot be run there, even on patches of ``patch`` pixels, is let through.
    """
    black, _ = parts.black_patches(task, patch)
    with torch.inference_mode(), torch.device("meta"):
        try:
            copied = copy.deepcopy(network).to("meta").eval()
            copied(torch.empty_like(black, device="meta"))
        except Exception:  # an operator without a kernel for it, a tensor that stays elsewhere, ...
            return
        for name, (inputs, label) in pairs.items():
            empty = torch.empty_like(inputs, device="meta")
            evaluation.output_of(copied, empty, label, f"the image {name!r}")


def check_tests(cfg: DictConfig, run: Run, network: nn.Module, task: Task) -> None:
    """Refuse test sets before training, and note those that are trained on.

    Raises:
        DataError: benchmarks are not available, or test images of your own are damaged, too small
            or new.
        ConfigError: the network does not restore images of their sizes.
    """
    with or_give("benchmarks=[] to do without"):
        for name in cfg.benchmarks:
            have(name, cfg.runtime)
    tests = [cfg.testset, *cfg.benchmarks] if cfg.testset else cfg.benchmarks
    for name in filter(catalogue.is_folder, [*tests, cfg.validation or ""]):
        if catalogue.short(name) == catalogue.short(cfg.dataset.name):
            note(f"{name} is trained on, too: scores on it say nothing about other images")
    any_size = takes_any_size(cfg)
    for name in tests:
        if any_size and not catalogue.is_folder(name):
            continue
        testset = catalogue.test_set(name, **parts.reading_here(task, cfg))
        evaluation.check_sizes(testset, task, cfg.metrics)
        if not any_size:
            images = zip(testset.images, testset.names, strict=True)
            sizes = {image.shape: (image, called) for image, called in images}
            pairs = {
                called: evaluation.test_pair(task, image, called)
                for image, called in sizes.values()
            }
            check_shapes(network, task, cfg.recipe.patch, pairs)
        if catalogue.is_folder(name):
            check_same_images(run, name, f"test {testset.name}", testset.fingerprint)


def check_same_images(run: Run, name: str, key: str, fingerprint: str) -> None:
    """DataError if another run of the row was carried out with other images of that name."""
    for mate in [run, *run.mates()]:
        if provenance.fingerprints(mate).get(key) not in (None, fingerprint):
            raise DataError(
                f"the images of {name} are not those that {mate} was run with, and the "
                "rows would not be comparable: choose another study, or put the images back"
            )
