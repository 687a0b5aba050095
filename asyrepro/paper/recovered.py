"""The test images behind the printed numbers: found in the data sets at hand, and examined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asyrepro.paper.identify import Scan, collect, nearest, search
from asyrepro.paper.measure import CROPS, VARIANTS, measure, picture
from asyrepro.paper.tables import constants, known_images
from asyrepro.system.errors import DataError

HOMES = {4: "set12", 5: "bsd300"}  # the data sets that hold the test images of Tables 4 and 5


@dataclass
class Images:
    """The images of one data set, uint8 (3, H, W) or (1, H, W), by name.

    ``tests`` are the names of those that are test images, where the set has both kinds.
    """

    title: str
    arrays: dict[str, np.ndarray]
    tests: list[str]


def load_images(log: Callable[[str], None]) -> tuple[dict[str, Images], list[str]]:
    """The data sets at hand (``ASYREPRO_DATA`` or ``data/``; nothing is downloaded).

    Returns:
        (those found, by name; the titles of those missing). ``log`` is told why a set is left out.

    Raises:
        DataError: ``ASYREPRO_DATA`` names no folder.
    """
    from asyrepro.data.catalogue import available, test_set, training_set

    available("set5")  # complains if ASYREPRO_DATA names no folder
    wanted = {
        "set5": ("Set5", [test_set]),
        "set12": ("Set12", [test_set]),
        "set14": ("Set14", [test_set]),
        "bsd300": ("BSD300", [test_set, training_set]),
        "bsd400": ("BSDS500 test", [training_set]),
    }
    found: dict[str, Images] = {}
    missing = []
    for name, (title, parts) in wanted.items():
        mode = "grey" if name == "set12" else "rgb"
        try:
            loaded = [part(name, mode=mode, download=False) for part in parts]
        except DataError as error:
            log(f"{title} is left out: {error}")
            missing.append(title)
            continue
        arrays = {
            image: pixels.numpy()
            for data in loaded
            for image, pixels in zip(data.names, data.images, strict=True)
        }
        found[name] = Images(title, arrays, list(loaded[0].names))
    if {"bsd300", "bsd400"} <= set(found):  # the other half is BSD300's training split
        for image in found["bsd300"].arrays:
            found["bsd400"].arrays.pop(image, None)
    for data in found.values():
        data.title += f" ({len(data.arrays)} images)"
    return found, missing


def measure_sets(sets: dict[str, Images]) -> dict[str, Scan]:
    """Each data set's images measured under all variants and crops."""
    made = {}
    for name, data in sets.items():
        values = [measure(picture(array)) for array in data.arrays.values()]
        made[name] = collect(list(data.arrays), np.array(values))
    return made


def sets_searched(sets: dict[str, Images], scans: dict[str, Scan]) -> pd.DataFrame:
    """Which tables' test sets each data set holds: ``set`` and the columns of ``search``."""
    parts = {data.title: search(scans[name])[0] for name, data in sets.items()}
    return pd.concat(parts, names=["set"]).reset_index("set").reset_index(drop=True)


def recovered(scans: dict[str, Scan]) -> pd.DataFrame:
    """The test images of Tables 4 and 5: each constant, the nearest image and the next.

    Searched for as whole grey images in all of Set12 and all of BSD300.

    Returns:
        ``table``, ``no``, ``expected`` (the image this project takes), then as ``matches`` of
        :func:`asyrepro.paper.identify.search` with ``tries`` = 1, and ``inside``: whether the
        image's RMS lies within what the rounding of the printed numbers allows, exactly.
    """
    parts = []
    for table, name in HOMES.items():
        if name not in scans:
            continue
        values = scans[name].values[:, VARIANTS.index("grey"), CROPS.index("whole")]
        frame = nearest(scans[name].names, values, constants(table), tries=1)
        frame.insert(0, "table", table)
        frame.insert(2, "expected", known_images()[table])
        frame["inside"] = (frame["rms"] >= frame["low"]) & (frame["rms"] <= frame["high"])
        parts.append(frame.drop(columns="chance_any"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def grey_images(sets: dict[str, Images]) -> dict[int, dict[str, np.ndarray]]:
    """The ten grey images in [0, 1], float64 (H, W), of Tables 4 and 5, as far as at hand."""
    return {
        table: {
            image: np.asarray(picture(sets[name].arrays[image]).convert("L")) / 255.0
            for image in known_images()[table]
        }
        for table, name in HOMES.items()
        if name in sets
    }


def normalisation(greys: dict[int, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Were the images min-max normalised (eq. 1) before they were measured?

    Returns:
        One row an image: ``table``, ``no``, ``image``, ``low``, ``high`` (what the printed numbers
        allow), ``minimum``, ``maximum``, ``scaled`` (RMS of pixel/255), ``minmax`` (RMS after
        eq. 1), and whether each lies within: ``scaled_fits``, ``minmax_fits``.
    """
    rows = []
    for table, images in greys.items():
        wanted = constants(table)
        for (no, value), (name, pixels) in zip(wanted.iterrows(), images.items(), strict=True):
            low, high = value["low"], value["high"]
            minimum, maximum = pixels.min(), pixels.max()
            rms = float(np.sqrt((pixels**2).mean()))
            minmax = float(np.sqrt((((pixels - minimum) / (maximum - minimum)) ** 2).mean()))
            rows.append(
                {
                    **{"table": table, "no": no, "image": name, "low": low, "high": high},
                    **{"minimum": minimum, "maximum": maximum, "scaled": rms, "minmax": minmax},
                    "scaled_fits": low <= rms <= high,
                    "minmax_fits": low <= minmax <= high,
                }
            )
    return pd.DataFrame(rows)
