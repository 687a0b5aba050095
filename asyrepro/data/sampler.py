"""Random training patches, drawn in batches on the training device.

All images lie decoded, 8 bits a channel, in one flat tensor a kind (labels, and degraded images
where these are fixed); a set that is mapped from a file is not copied. A batch is one gather: the
index of every pixel of every patch is computed from the random image, corner and orientation. There
are no worker processes and no copies between host and device, and one seed gives one sequence of
patches, whatever the loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from asyrepro.system import devices
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.tasks import Task, to_float

AHEAD = {"cpu": 100_000, "cuda": 4_000_000}  # label values made at once, though of a batch at least


class _Stack:
    """Images of different sizes in one flat uint8 tensor.

    Views of one storage, as those of a mapped file are, stay there; others are copied.
    """

    def __init__(self, images: list[Tensor], device: torch.device):
        storages = {image.untyped_storage().data_ptr() for image in images}
        if len(storages) > 1 or any(image.stride(-1) != 1 for image in images):
            flat = torch.cat([image.reshape(-1) for image in images])
            pieces = flat.split([image.numel() for image in images])
            images = [p.view(image.shape) for p, image in zip(pieces, images, strict=True)]
        self.pixels = torch.empty(0, dtype=torch.uint8).set_(images[0].untyped_storage()).to(device)
        places = [(i.storage_offset(), *i.stride()[:2], *i.shape[-2:]) for i in images]
        columns = torch.tensor(places, dtype=torch.int64, device=device).unbind(1)
        self.offset, self.plane, self.row, self.height, self.width = columns
        self._channels = torch.arange(images[0].shape[0], device=device)
        self._ramp = torch.arange(int(max(self.height.max(), self.width.max())), device=device)

    def gather(self, image: Tensor, top: Tensor, left: Tensor, side: int, turn: Tensor) -> Tensor:
        """Square windows of N images in [0, 1], (N, C, side, side).

        ``image``, ``top``, ``left`` and ``turn``, one of eight orientations (0-7), are int64 (N,).
        A turned window is read with other strides: ``turn`` swaps the axes (odd), runs the first
        backwards (2, 3, 6, 7) and the second backwards (4-7).
        """
        row, last = self.row[image], side - 1
        swap, up, back = turn % 2 == 1, turn // 2 % 2, turn // 4
        first = self.offset[image] + (top + up * last) * row + left + back * last
        down, right = row * (1 - 2 * up), 1 - 2 * back
        down, right = torch.where(swap, right, down), torch.where(swap, down, right)
        index = (
            first[:, None, None, None]
            + (self.plane[image][:, None] * self._channels)[:, :, None, None]
            + (down[:, None] * self._ramp[:side])[:, None, :, None]
            + (right[:, None] * self._ramp[:side])[:, None, None, :]
        )
        # index_select, as it is several times faster than pixels[index] on the CPU.
        return to_float(self.pixels.index_select(0, index.flatten()).view(index.shape))


def split(task: Task, image: Tensor) -> tuple[Tensor, Tensor | None]:
    """:meth:`Task.split` of a decoded image; ConfigError unless it returns what can be stored."""
    name, shape = f"the task {type(task).__name__}", tuple(image.shape)
    with devices.explained(f"{name} refuses an image of {shape}"):
        label, stored = task.split(image)
    small, scale = label if stored is None else stored, task.scale
    for what, found, times in (("label", label, 1), ("degraded image", small, scale)):
        if not isinstance(found, Tensor):
            told = f"a {type(found).__name__}"
        elif found.dtype != torch.uint8 or found.ndim != 3:
            told = f"{found.dtype} of shape {tuple(found.shape)}"
        elif [side * times for side in found.shape[-2:]] != list(label.shape[-2:]):
            told = f"the shape {tuple(found.shape)} for a label of {tuple(label.shape)}"
        else:
            continue
        raise ConfigError(
            f"{name} returns {told} as the {what} of an image of {shape}; a label must be uint8 "
            f"(C, H, W), its degraded image uint8 (C, H / {scale}, W / {scale})"
        )
    return label, stored


class PatchSampler:
    """An endless source of batches (input, label).

    Args:
        images: decoded images, uint8 (C, H, W), of any sizes; (2C, H, W) for a task of pairs.
        task: degradation and channels.
        patch: side of a label patch in pixels; for super-resolution a multiple of the scale.
        batch: patches a batch.
        seed: of the one generator that draws images, corners, orientations and noise.
        device: where the images are kept and the batches made.
        augment: draw one of the eight flips and rotations for each patch.
        names: of the images, for messages.

    Raises:
        ConfigError: a patch or batch size that cannot be, or a task that returns what cannot be
            stored.
        DataError: no images, or images that are smaller than a patch.
    """

    def __init__(
        self,
        images: list[Tensor],
        task: Task,
        *,
        patch: int,
        batch: int,
        seed: int,
        device: torch.device | str = "cpu",
        augment: bool = True,
        names: Sequence[str] = (),
    ):
        if patch < 1 or batch < 1:
            raise ConfigError(f"patch is {patch} and batch is {batch}; both must be at least 1")
        if patch % task.scale:
            raise ConfigError(f"patch is {patch}; it must be a multiple of the scale {task.scale}")
        if not images:
            raise DataError("the training set has no images")
        self.task, self.batch, self.augment = task, batch, augment
        self.device = torch.device(device)
        self.side = patch // task.scale + 2 * task.margin  # in pixels of the stored image
        least, sides = self.side * task.scale, [min(image.shape[-2:]) for image in images]
        if min(sides) < least:
            place, few = sides.index(min(sides)), sum(side < least for side in sides)
            name = f", {names[place]!r}," if names else ""
            height, width = (side - side % task.scale for side in images[place].shape[-2:])
            raise DataError(
                f"a patch needs {least} pixels a side with its margin, but {few} of the "
                f"{len(sides)} training images are smaller; the smallest{name} gives a label of "
                f"{height} x {width}: choose a smaller patch, or leave them out"
            )
        pieces = [split(task, image) for image in images]
        labels, fixed = [label for label, _ in pieces], [stored for _, stored in pieces]
        self._labels = _Stack(labels, self.device)
        self._stored = self._labels if fixed[0] is None else _Stack(fixed, self.device)
        # In proportion to their area: a patch is as likely from anywhere, large images and small.
        area = (self._labels.height * self._labels.width).cpu()
        self._cumulative = (area.cumsum(0) / area.sum()).to(self.device, torch.float32)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        # Small batches cost more to begin than to make. The sequence of noise depends on how many
        # are made at once: on the CPU one, as in all committed runs.
        values = batch * labels[0].shape[0] * patch**2
        alone = task.draws and self.device.type == "cpu"
        self._ahead = 1 if alone else max(1, AHEAD.get(self.device.type, 0) // values)
        self._ready: deque[tuple[Tensor, Tensor]] = deque()
        self._before = self.generator.get_state()  # these batches were made

    def __iter__(self) -> PatchSampler:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """One batch: the network's input and the label (N, C, patch, patch), float32 in [0, 1]."""
        if not self._ready:
            self._before = self.generator.get_state()
            size = (4, self.batch)
            draws = [
                torch.rand(size, generator=self.generator, device=self.device)
                for _ in range(self._ahead)
            ]
            inputs, label = self._make(torch.cat(draws, dim=1))
            self._ready.extend(zip(inputs.split(self.batch), label.split(self.batch), strict=True))
        return self._ready.popleft()

    def _make(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """The patches of uniform random numbers (4, N): image, row, column, orientation."""
        last = len(self._cumulative) - 1
        image = torch.searchsorted(self._cumulative, draws[0].contiguous(), right=True).clamp(
            max=last
        )
        stack, side, margin, scale = self._stored, self.side, self.task.margin, self.task.scale
        top = (draws[1] * (stack.height[image] - side + 1)).long()
        left = (draws[2] * (stack.width[image] - side + 1)).long()
        turn = (draws[3] * 8).long() if self.augment else torch.zeros_like(image)
        stored = stack.gather(image, top, left, side, turn)
        if stack is self._labels:
            label = stored
        else:
            top, left, width = (top + margin) * scale, (left + margin) * scale, side - 2 * margin
            label = self._labels.gather(image, top, left, width * scale, turn)
        return self.task.training_pair(stored, label, self.generator)

    def state_dict(self) -> dict:
        """What a checkpoint needs to continue the same sequence."""
        if not self._ready:
            return {"generator": self.generator.get_state(), "taken": 0}
        return {"generator": self._before, "taken": self._ahead - len(self._ready)}

    def load_state_dict(self, state: dict) -> None:
        self.generator.set_state(state["generator"].cpu())
        self._ready.clear()
        for _ in range(state["taken"]):
            next(self)
