"""A network and a test set in, rows of metrics out.

Networks are evaluated in float32 on whole images, one at a time. Every row holds the four table
metrics on the network's own channels (docs/metrics.md); super-resolution on other
test sets than the tables' also gets the literature's, on luma with the border cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asyrepro import metrics
from asyrepro.data.decoding import Picture
from asyrepro.restoration import pictures
from asyrepro.system import devices, files
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.system.progress import bar
from asyrepro.tasks import SuperResolution, Task, check_size

ERROR_WHITE = 0.1  # the error that is white in an error map
TABLES = ("table2", "table3", "bundled", "bundled_validation")  # in the paper's metrics only


@torch.inference_mode()
def restore(network: nn.Module, task: Task, image: Tensor, name: str, device="cpu"):
    """Degrade one decoded image, restore it, and return all three images.

    Args:
        network: takes the task's input, returns (1, C, H, W).
        image: uint8 (C, H, W) as decoded in ``task.mode``.
        name: of the image; it seeds the test noise.

    Returns:
        (degraded, output, label), each float32 (C, H, W) on the CPU; nothing is clipped.

    Raises:
        ConfigError: see :func:`output_of`.
    """
    inputs, label = test_pair(task, image, name)
    output = output_of(network, inputs.to(device), label, f"the image {name!r}").float().cpu()
    return task.degraded(inputs)[0], output[0], label[0]


def test_pair(task: Task, image: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """:meth:`Task.test_pair`; ConfigError if a task of your own refuses the image."""
    with devices.explained(f"the task {type(task).__name__} refuses the image {name!r}"):
        return task.test_pair(image, name)


def output_of(network: nn.Module, inputs: Tensor, label: Tensor, what: str) -> Tensor:
    """What a network returns for an input, on its device: an image of the label's shape.

    ConfigError if it refuses the input, or returns something else; ``what`` names the input.
    """
    shape = tuple(inputs.shape)
    advice = "; check model.network, model.input, and which sizes of images the network takes"
    with devices.explained(f"the network refuses {what}, an input of {shape}", advice):
        output = network(inputs)
    if isinstance(output, Tensor) and output.shape == label.shape:
        return output
    returned = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ConfigError(
        f"the network returns {returned} for {what}, an input of {shape}, where the label is "
        f"{tuple(label.shape)}, and nothing compares these{advice}"
    )


def outputs(
    network: nn.Module,
    testset,
    task: Task,
    device="cpu",
    progress=False,
    further: Collection[str] = (),
) -> Iterator:
    """(name, degraded, output, label) of every image of a test set, in its order.

    DataError, before the first, if an image is too small for the metrics (``further`` among them).
    """
    check_sizes(testset, task, further)
    task = task.on(testset.name)
    network.eval()
    pairs = zip(testset.names, testset.images, strict=True)
    shown = {"total": len(testset.names), "desc": testset.name, "leave": False}
    for name, image in bar(pairs, disable=None if progress else True, **shown):
        yield name, *restore(network, task, image, name, device)


def _literature(task: Task, testset: str) -> bool:
    return isinstance(task, SuperResolution) and testset not in TABLES


def check_sizes(testset, task: Task, further: Collection[str] = ()) -> None:
    """DataError that names an image of a test set which is too small to be measured."""
    least = metrics.LITERATURE_WINDOW + 2 * task.scale if _literature(task, testset.name) else 0
    if "haarpsi" in further:
        least = max(least, metrics.HAAR_WINDOW)
    for name, image in zip(testset.names, testset.images, strict=True):
        height, width = check_size(task.label(image), name).shape[-2:]
        if min(height, width) < least:
            raise DataError(
                f"the test image {name!r} gives a label of {height} x {width} pixels; it must have "
                f"{least} x {least} at least, for the windows of the metrics and the border that "
                "is cut: leave it out"
            )


def row(
    name: str,
    restored: Tensor,
    label: Tensor,
    task: Task,
    testset: str,
    further: Collection[str] = (),
) -> dict:
    """The metrics of one restored image (C, H, W), floating point in [0, 1], by its label.

    It is a row of the tidy table; ``further`` is that of :func:`evaluate`.
    """
    found = {"testset": testset, "image": name, **metrics.all_metrics(label, restored)}
    found |= {metric: getattr(metrics, metric)(label, restored) for metric in further}
    if protocol := task.protocol(testset):
        found["protocol"] = protocol
    if _literature(task, testset):
        found |= metrics.literature(label, restored, border=task.scale)
    return found


def evaluate(
    network: nn.Module,
    testset,
    task: Task,
    *,
    device="cpu",
    progress=False,
    keep=None,
    further: Collection[str] = (),
) -> list[dict]:
    """Evaluate a network on a test set.

    Args:
        network: any module that maps the task's input to an image; put into evaluation mode.
        testset: a :class:`~asyrepro.data.catalogue.DataSet` (or anything with ``name``,
            ``names`` and ``images``).
        keep: called with (name, degraded, output, label) of every image, such as :func:`save`.
        further: metrics beside those that every row has, of :data:`asyrepro.metrics.FURTHER`.

    Returns:
        A list of dictionaries with testset, image, psnr (dB), ssim, rmse (eq. 9), nrmse (what
        the paper printed as RMSE), psnr_y, ssim_y for super-resolution but on the tables' own
        images, and protocol, the test noise of denoising.

    Raises:
        DataError: an image is too small to be measured; found before any is restored.
    """
    rows = []
    for name, degraded, output, label in outputs(network, testset, task, device, progress, further):
        rows.append(row(name, output, label, task, testset.name, further))
        if keep:
            keep(name, degraded, output, label)
    return rows


def save(folder: Path | str, name: str, degraded: Tensor, output: Tensor, label: Tensor) -> None:
    """Write the images (C, H, W) of a test image, and the error map, as NAME-input.png, ...

    The map is the mean absolute error over the channels, in which white is :data:`ERROR_WHITE`.
    """
    error = (output - label).abs().mean(dim=0, keepdim=True) / ERROR_WHITE
    shots = {"input": degraded, "output": output, "label": label, "error": error}
    for what, image in shots.items():
        pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        files.write_bytes(
            Path(folder) / f"{name}-{what}.png", pictures.encode([Picture(pixels)], ".png")
        )


def evaluate_baseline(testset, task: Task, further: Collection[str] = ()) -> list[dict]:
    """The same rows for the degraded images themselves: bicubic, or noisy."""
    rows, task = [], task.on(testset.name)
    for name, image in zip(testset.names, testset.images, strict=True):
        inputs, label = test_pair(task, image, name)
        rows.append(row(name, task.degraded(inputs)[0], label[0], task, testset.name, further))
    return rows


def mean_psnr(network: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Mean PSNR (dB) over prepared pairs (input, label), (1, C, H, W); for validation."""
    with torch.inference_mode():
        errors = [(network(x).float() - y).square().mean() for x, y in pairs]
    return float(np.mean([-10 * torch.log10(e).item() for e in errors]))
