"""Stand-in data: photographs that scikit-image's wheel itself contains.

They are the embedded default for a machine that has neither the real data sets nor a way to get
them. Each photograph is cut into rectangles that are at least 16 pixels apart, so that no test
pixel, nor one of the same JPEG block, is trained on; of the stereo pair ``motorcycle_*`` both views
are in the training set. ``bundled.yaml`` lists them. Files are read by path: nothing is ever
downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import yaml

from asyrepro.data import decoding, images
from asyrepro.system.errors import DataError

_DECLARED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
TRAINING, TEST, VALIDATION = (_DECLARED[name] for name in ("training", "test", "validation"))


def folder() -> Path | None:
    """Where scikit-image keeps its pictures, found without importing it; None if not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def read_regions(regions: dict[str, tuple], mode: str) -> tuple[list[np.ndarray], str]:
    """The regions as uint8 arrays (C, H, W), in order, and their fingerprint.

    The fingerprint is the SHA-256 over (name, NUL, file's bytes, rectangle) of each region.

    Raises:
        DataError: scikit-image or one of its pictures is missing, or has another size.
    """
    where = folder()
    if where is None:
        raise DataError("the stand-in data needs scikit-image: pip install 'scikit-image>=0.24'")
    fingerprint, files, pixels = hashlib.sha256(), {}, []
    for name, (file, left, top, width, height) in regions.items():
        if file not in files:
            data = decoding.read_bytes(where / file)
            [picture] = decoding.decode(data, where / file)
            files[file] = data, images.as_array(picture, mode)
        data, image = files[file]
        region = image[:, top : top + height, left : left + width]
        if region.shape[1:] != (height, width):
            raise DataError(
                f"{where / file} is smaller than expected: reinstall scikit-image, or use real data"
            )
        pixels.append(np.ascontiguousarray(region))
        fingerprint.update(name.encode() + b"\0" + data)
        fingerprint.update(f"{left},{top},{width},{height}".encode())
    return pixels, fingerprint.hexdigest()
