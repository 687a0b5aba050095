"""Crops of test images and outputs, kept in ``results/<study>/crops/``: what all pictures show.

Of each table or sweep the first two test images (so that nothing is chosen by its result), 128 x
128 pixels around the centre, the first seed that all losses have: input, outputs and label as 8-bit
PNG. They are made from the weights and the test images where these are there, and are committed,
so that figures and page can be made again without either. ``crops.csv`` names each with the PSNR
of the whole image; where the tidy table says otherwise now, the crop is of another run and is not
shown.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from asyrepro import paper
from asyrepro.analysis.summary import Summary
from asyrepro.analysis.titles import loss_title, model_title
from asyrepro.report import tables
from asyrepro.runs import results
from asyrepro.runs.run import finished
from asyrepro.system.errors import DataError
from asyrepro.system.files import write_bytes, write_csv

SIDE = 128
IMAGES = 2  # of each table or sweep
COLUMNS = ["file", "folder", "image", "seed", "kind", "top", "left", "psnr"]


@dataclass(frozen=True)
class Subject:
    """Runs whose outputs are shown: those of one folder of the study, one seed."""

    folder: str  # "table4", or a sweep's "table4,task.sigma=15"
    title: str
    bases: dict[str, str]  # loss -> its base loss (or itself), in the order of the pictures
    seed: int
    psnr: dict[str, dict[str, float]]  # image -> "input" or a loss -> dB, of the whole image
    stand_in: bool = False  # whether the test images are the bundled stand-ins

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(loss, base loss) of those that are compared."""
        return [(x, base) for x, base in self.bases.items() if base != x and base in self.bases]


@dataclass(frozen=True)
class Crop:
    """The pictures of one test image: files of "input", each loss, and "label".

    Arrays are uint8, H x W or H x W x 3.
    """

    subject: Subject
    image: str
    top: int
    left: int
    files: dict[str, Path]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        return {kind: load(path) for kind, path in self.files.items()}

    def psnr(self, kind: str) -> float:
        """Of the whole image, dB; NaN for the label."""
        return self.subject.psnr[self.image].get(kind, np.nan)


def subjects(study_dir: Path, frame: pd.DataFrame, summaries: list[Summary]) -> list[Subject]:
    """What can be shown of a study: its tables, then the sweeps whose run folders are there."""
    groups = {}  # folder -> its title, and its rows
    for summary in summaries:
        title = f"{summary.model_title} (Table {summary.table})"
        shown = summary.rows["loss"].isin([*tables.main_losses(summary), summary.baseline])
        groups[f"table{summary.table}"] = (title, summary.rows[shown])
    sweeps: dict[str, list[pd.DataFrame]] = {}
    for run in finished(study_dir):
        if run.row not in groups:
            rows = results.read_rows(run.rows, may_be_empty=True)
            if not rows.empty:
                first = rows["testset"] == rows["testset"].iloc[0]
                sweeps.setdefault(run.row, []).append(rows[first])
    for folder, rows in sweeps.items():
        groups[folder] = (f"{model_title(rows[0]['model'].iloc[0])}, {folder}", pd.concat(rows))
    bases = results.bases(frame)
    made = (_subject(folder, *group, bases) for folder, group in groups.items())
    return [subject for subject in made if subject]


def _subject(folder: str, title: str, rows: pd.DataFrame, bases: dict) -> Subject | None:
    """The runs of some rows and the first seed that all losses have; None if there is none."""
    runs = results.of_runs(rows)
    losses = results.side_by_side(set(runs["loss"]), bases)
    seeds = [set(runs.loc[runs["loss"] == loss, "seed"]) for loss in losses]
    common = set.intersection(*seeds) if seeds else set()
    if not common:
        return None
    seed = int(min(common))
    wide = runs[runs["seed"] == seed].pivot(index="image", columns="loss", values="psnr")
    wide["input"] = rows[rows["seed"].isna()].set_index("image")["psnr"]
    psnr = {
        image: wide.loc[image].to_dict() for image in list(dict.fromkeys(runs["image"]))[:IMAGES]
    }
    order = {loss: bases.get(loss, loss) for loss in losses}
    return Subject(folder, title, order, seed, psnr, results.of_stand_in(rows))


def collect(study_dir, subjects: list[Subject], restored: Callable | None) -> dict[str, list[Crop]]:
    """The crops of these subjects, by folder; those that are lacking are made.

    Args:
        study_dir: results/<study>.
        subjects: of :func:`subjects`.
        restored: ``restored(folder, loss, seed, image) -> (input, output, label)`` arrays, or None.

    Raises:
        DataError: crops.csv is damaged.
    """
    folder = Path(study_dir) / "crops"
    kept = _read(folder / "crops.csv")
    rows, changed = [], False
    found: dict[str, list[Crop]] = {}
    for subject in subjects:
        for number, image in enumerate(subject.psnr, start=1):
            mine = kept[(kept["folder"] == subject.folder) & (kept["image"] == image)]
            there = all((folder / name).is_file() for name in mine["file"])
            if not (there and _same(mine, subject, image)):
                made = _cut(subject, image, restored)
                if made is None:
                    continue
                mine = _save(folder, f"{subject.folder}_{number}", subject, image, *made)
                changed = True
            rows.append(mine)
            files = {row.kind: folder / row.file for row in mine.itertuples()}
            first = mine.iloc[0]
            crop = Crop(subject, image, int(first["top"]), int(first["left"]), files)
            found.setdefault(subject.folder, []).append(crop)
    if changed:
        table = pd.concat(rows, ignore_index=True)
        write_csv(folder / "crops.csv", table, "%.6f")
        for path in folder.glob("*.png"):
            if path.name not in set(table["file"]):
                path.unlink()
    return found


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    names, numbers = ["file", "folder", "image", "kind"], ["seed", "top", "left"]
    return results.read_table(path, COLUMNS, numbers, names)[COLUMNS]


def _same(rows: pd.DataFrame, subject: Subject, image: str) -> bool:
    kinds = ["input", *subject.bases, "label"]
    if {*rows["kind"]} != {*kinds} or {*rows["seed"]} != {subject.seed}:
        return False
    kept = rows.set_index("kind")["psnr"]
    wanted = [subject.psnr[image].get(kind, np.nan) for kind in kinds]
    return np.allclose(kept.reindex(kinds), wanted, rtol=0, atol=2e-6, equal_nan=True)


def _cut(subject: Subject, image: str, restored: Callable | None):
    """(top, left, crops by kind), or None if an image is not available."""
    if restored is None:
        return None
    trios = {x: restored(subject.folder, x, subject.seed, image) for x in subject.bases}
    if any(trio is None for trio in trios.values()):
        return None
    first = next(iter(trios.values()))
    pictures = {"input": first[0], **{x: trio[1] for x, trio in trios.items()}, "label": first[2]}
    height, width = np.shape(first[2])[:2]
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    cut = np.s_[top : top + SIDE, left : left + SIDE]
    return top, left, {k: eight_bits(np.asarray(x)[cut]) for k, x in pictures.items()}


def eight_bits(image: np.ndarray) -> np.ndarray:
    """An image in [0, 1] as uint8."""
    return np.uint8(np.round(np.clip(image, 0, 1) * 255))


def _save(folder: Path, stem: str, subject: Subject, image: str, top, left, crops) -> pd.DataFrame:
    rows = []
    for kind, crop in crops.items():
        content = io.BytesIO()
        Image.fromarray(crop).save(content, "png", optimize=True)
        name = f"{stem}_{kind}.png"
        write_bytes(folder / name, content.getvalue())
        psnr = subject.psnr[image].get(kind, np.nan)
        rows.append((name, subject.folder, image, subject.seed, kind, top, left, psnr))
    return pd.DataFrame(rows, columns=COLUMNS)


def load(path: Path) -> np.ndarray:
    """A kept crop, uint8 (H, W) or (H, W, 3).

    Raises:
        DataError: it is damaged.
    """
    try:
        return np.asarray(Image.open(path))
    except OSError as error:
        raise DataError(f"{path} is damaged ({error}): delete {path.parent}") from None


def suffix(folder: str) -> str:
    """Of the files of Fig. 5 and 6: a table's network (none for SRCNN, the paper's), or folder."""
    names = {f"table{table}": model for table, model in paper.MODELS.items()}
    name = names.get(folder, folder)
    return "" if name == "srcnn" else f"_{name}"


def described(kind: str) -> str:
    """``Asy_MAE``, ``Input``, ``Label``."""
    return kind.capitalize() if kind in ("input", "label") else loss_title(kind)
