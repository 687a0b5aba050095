"""Stand-in data: photographs that scikit-image's wheel itself contains.

They are the embedded default for a machine that has neither the real data sets nor a way to get
them. Each photograph is cut into rectangles that are at least 16 pixels apart, so that no test
pixel, nor one of the same JPEG block, is trained on; of the stereo pair ``motorcycle_*`` both views
are in the training set. Files are read by path: nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from asyrepro.data import decoding, images
from asyrepro.system.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

# name of the region: (file, left, top, width, height), in pixels
TRAINING = {
    "astronaut_flag": ("astronaut.png", 0, 0, 112, 192),
    "astronaut_suit": ("astronaut.png", 0, 208, 512, 304),
    "brick_above": ("brick.png", 0, 0, 512, 144),
    "brick_below": ("brick.png", 0, 368, 512, 144),
    "brick_left": ("brick.png", 0, 160, 144, 192),
    "brick_right": ("brick.png", 368, 160, 144, 192),
    "camera_coat": ("camera.png", 0, 272, 256, 240),
    "camera_skyline": ("camera.png", 400, 0, 112, 256),
    "chelsea_fur": ("chelsea.png", 0, 0, 112, 300),
    "coffee_saucer": ("coffee.png", 0, 240, 600, 160),
    "coffee_wood": ("coffee.png", 0, 0, 144, 224),
    "coins_below": ("coins.png", 0, 192, 384, 111),
    "coins_right": ("coins.png", 208, 0, 176, 176),
    "grass_above": ("grass.png", 0, 0, 512, 144),
    "grass_below": ("grass.png", 0, 368, 512, 144),
    "grass_left": ("grass.png", 0, 160, 144, 192),
    "grass_right": ("grass.png", 368, 160, 144, 192),
    "gravel_above": ("gravel.png", 0, 0, 512, 336),
    "hubble": ("hubble_deep_field.jpg", 256, 200, 400, 400),
    "ihc_above": ("ihc.png", 0, 0, 512, 288),
    "ihc_left": ("ihc.png", 0, 304, 224, 208),
    "moon_above": ("moon.png", 0, 0, 512, 272),
    "moon_left": ("moon.png", 0, 288, 144, 224),
    "moon_right": ("moon.png", 368, 288, 144, 224),
    "motorcycle_left": ("motorcycle_left.png", 0, 0, 741, 500),
    "motorcycle_right": ("motorcycle_right.png", 0, 0, 741, 500),
    "page": ("page.png", 0, 0, 384, 191),
    "retina": ("retina.jpg", 112, 400, 512, 512),
    "rocket_left": ("rocket.jpg", 0, 0, 224, 427),
    "rocket_right": ("rocket.jpg", 464, 0, 176, 427),
    "rocket_sky": ("rocket.jpg", 240, 0, 208, 200),
    "text": ("text.png", 0, 0, 448, 172),
}
TEST = {
    "astronaut_face": ("astronaut.png", 128, 0, 192, 192),
    "brick_wall": ("brick.png", 160, 160, 192, 192),
    "camera_man": ("camera.png", 176, 48, 208, 208),
    "chelsea_cat": ("chelsea.png", 128, 16, 224, 224),
    "coffee_cup": ("coffee.png", 160, 0, 224, 224),
    "coins": ("coins.png", 0, 0, 192, 176),
    "grass": ("grass.png", 160, 160, 192, 192),
    "ihc_tissue": ("ihc.png", 240, 304, 192, 192),
    "moon": ("moon.png", 160, 288, 192, 208),
    "rocket": ("rocket.jpg", 240, 216, 208, 208),
}
VALIDATION = {
    "astronaut_shuttle": ("astronaut.png", 336, 0, 176, 192),
    "camera_tripod": ("camera.png", 272, 288, 192, 208),
    "coffee_table": ("coffee.png", 400, 0, 200, 224),
    "gravel_below": ("gravel.png", 160, 352, 192, 160),
}


def folder() -> Path | None:
    """Where scikit-image keeps its pictures, found without importing it; None if not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def read_regions(regions: dict[str, tuple], mode: str) -> tuple[list[Tensor], str]:
    """The regions as uint8 tensors (C, H, W), in order, and their fingerprint.

    The fingerprint is the SHA-256 over (name, NUL, file's bytes, rectangle) of each region.

    Raises:
        DataError: scikit-image or one of its pictures is missing, or has another size.
    """
    images.check_mode(mode)
    where = folder()
    if where is None:
        raise DataError("the stand-in data needs scikit-image: pip install 'scikit-image>=0.24'")
    fingerprint, decoded, files, pixels = hashlib.sha256(), {}, {}, []
    for name, (file, left, top, width, height) in regions.items():
        if file not in files:
            files[file] = decoding.read_bytes(where / file)
            [picture] = decoding.decode(files[file], where / file)
            decoded[file] = images.as_tensor(picture, mode)
        region = decoded[file][:, top : top + height, left : left + width]
        if region.shape[1:] != (height, width):
            raise DataError(
                f"{where / file} is smaller than expected: reinstall scikit-image, or use real data"
            )
        pixels.append(region.contiguous())
        fingerprint.update(name.encode() + b"\0" + files[file])
        fingerprint.update(f"{left},{top},{width},{height}".encode())
    return pixels, fingerprint.hexdigest()
