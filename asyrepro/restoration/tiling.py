"""Restoring an image of any size in overlapping tiles whose seams cannot be seen.

A tile's output depends on the tile and on the ``reach`` of the network around it. So the network
is given a window, the tile and an overlap of at least that reach on every side, and of its output
the tile alone is kept: the result is the untiled one up to rounding, nothing needs blending. At
the image's own borders windows end where the image ends, so each network pads there as always.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from asyrepro.system import devices
from asyrepro.system.errors import ConfigError
from asyrepro.system.progress import bar
from asyrepro.tasks import MARGIN, Task

TILE = 512  # pixels of the output; a network of long reach gets larger tiles
OVERLAPS = 6  # a tile is at least so many overlaps wide, so that little is computed twice

Place = tuple[int, int, int, int]  # of a window: its top and left, the image's height and width


def plan(network: nn.Module, task: Task, tile: int | None = None) -> tuple[int, int]:
    """The side of a tile and the overlap, in pixels of the image before it is upsampled.

    Args:
        network: has ``reach`` and, if windows must lie on a grid, ``grid``; one without ``reach``
            is given the whole image at once.
        task: says what happens to the image before the network (bicubic upsampling).
        tile: the side that is wished for (rounded up to the grid); 0 for the whole image at once,
            None for one that suits the network.

    Returns:
        (tile, overlap); tile is 0 if the whole image is one tile.

    Raises:
        ConfigError: the wish is negative.
    """
    if tile is not None and tile < 0:
        raise ConfigError(f"tile is {tile}; it must be a number of pixels, or 0 for no tiles")
    reach = getattr(network, "reach", None)
    if reach is None or tile == 0:
        return 0, 0
    grid = getattr(network, "grid", 1)
    if task.enlarged:
        reach = math.ceil(reach / task.scale) + MARGIN
    overlap = _round_up(max(reach, MARGIN), grid)
    return _round_up(tile or max(TILE // task.scale, OVERLAPS * overlap), grid), overlap


def run(network: nn.Module, inputs: Tensor, place: Place) -> Tensor:
    """The network's output for the window of an image that lies at ``place``.

    ConfigError if it refuses such an input, as one of your own may by its size.
    """
    with devices.explained(f"the network refuses an input of {tuple(inputs.shape)}"):
        if hasattr(network, "grid") and place != (0, 0, *inputs.shape[-2:]):
            return network(inputs, place=place)
        return network(inputs)


@torch.inference_mode()
def apply(
    function: Callable[[Tensor, Place], Tensor],
    image: Tensor,
    output: Tensor,
    *,
    tile: int,
    overlap: int,
    progress: str | None = None,
) -> Tensor:
    """Fill ``output`` with ``function(image)``, computed tile by tile.

    Args:
        function: maps a window (..., h, w) and its place to a tensor (..., s*h, s*w).
        image: (..., H, W).
        output: (..., s*H, s*W), written to; s is a whole number.
        tile, overlap: in pixels of ``image``, as :func:`plan` gives them.
        progress: the title of a progress bar; None for no bar.

    Returns:
        ``output``.
    """
    height, width = image.shape[-2:]
    scale = output.shape[-1] // width
    places = [(y, x) for y in _spans(height, tile, overlap) for x in _spans(width, tile, overlap)]
    shown = {"desc": progress, "unit": "tile", "disable": True if progress is None else None}
    for y, x in bar(places, leave=False, **shown):
        (rows, rows_seen), (columns, columns_seen) = y, x
        place = (rows_seen.start, columns_seen.start, height, width)
        result = function(image[..., rows_seen, columns_seen], place)
        output[..., _times(rows, scale), _times(columns, scale)] = result[
            ...,
            _times(rows, scale, rows_seen.start),
            _times(columns, scale, columns_seen.start),
        ]
    return output


def _spans(length: int, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """Along one axis: what each tile covers, and what its window covers."""
    tile = tile or length
    return [
        (
            slice(start, min(start + tile, length)),
            slice(max(start - overlap, 0), min(start + tile + overlap, length)),
        )
        for start in range(0, length, tile)
    ]


def _times(span: slice, scale: int, origin: int = 0) -> slice:
    """A span of the image as one of the output, counted from ``origin``."""
    return slice((span.start - origin) * scale, (span.stop - origin) * scale)


def _round_up(value: int, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple
