"""One of the paper's tables as a study measured it, seeds averaged."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from asyrepro import paper
from asyrepro.analysis.titles import model_title
from asyrepro.metrics import PRINTED
from asyrepro.runs import results
from asyrepro.system.errors import DataError

# A file of one channel is here R = G = B, whose luma has 219 of its 255 grey values; papers score
# such a file as it is. Set14 has one, which raises the mean over its 14 images by 0.09 dB.
ONE_CHANNEL = {"set14": "bridge"}
LUMA_RANGE_DB = 20 * math.log10(255 / 219)  # 1.32 dB


def published_psnr(rows: pd.DataFrame) -> pd.Series:
    """PSNR (dB) of luma as super-resolution papers have it: psnr_y, less LUMA_RANGE_DB where due.

    Args:
        rows: with the columns testset, image and psnr_y.
    """
    grey = rows["testset"].map(ONE_CHANNEL) == rows["image"]
    return rows["psnr_y"] - LUMA_RANGE_DB * grey


@dataclass(frozen=True)
class Summary:
    """One of the paper's tables as a study measured it, seeds averaged."""

    table: int  # 2 ... 5
    model: str
    dataset: str  # trained on
    images: tuple[str, ...]  # names in the paper's order
    losses: tuple[str, ...]  # those present in canonical order, without the baseline
    baseline: str | None  # "bicubic", "noisy", or None if absent
    seeds: dict[str, tuple[int, ...]]  # of each loss, ascending
    iterations: tuple[int, ...]  # the distinct training lengths, ascending
    stand_in: bool  # whether bundled stand-in data was trained or tested on
    same_images: bool  # whether these are those that the paper's table was measured on
    # The paper's numbers. Index: images, by name where they are the same, else by position.
    # Columns: (loss, metric) with metric psnr, ssim, nrmse.
    paper: pd.DataFrame
    rows: pd.DataFrame  # the tidy rows behind it

    @cached_property
    def bases(self) -> dict[str, str]:
        """Loss -> the loss that it is compared with."""
        return results.bases(self.rows)

    @property
    def model_title(self) -> str:
        return model_title(self.model)

    @cached_property
    def _values(self) -> dict[tuple[str, str], pd.DataFrame]:
        """(metric, loss) -> images x seeds."""
        rows = self.rows.assign(seed=self.rows["seed"].fillna(-1).astype(int))
        found = {}
        for loss, of_loss in rows.groupby("loss"):
            for metric in results.METRICS:
                wide = of_loss.pivot(index="image", columns="seed", values=metric)
                found[metric, loss] = wide.reindex(self.images)
        return found

    def per_seed(self, loss: str, metric: str, against: str | None = None) -> pd.DataFrame:
        """Images x seeds of a loss, less those of another (over common seeds: runs are paired).

        NaN where a seed lacks an image. Baselines have one column, -1.
        """
        if loss not in (*self.losses, self.baseline):
            return pd.DataFrame(index=self.images, dtype=float)
        found = self._values[metric, loss]
        if against is None:
            return found
        other = self.per_seed(against, metric)
        common = [seed for seed in found.columns if seed in other.columns]
        return found[common] - other[common]

    def values(self, loss: str, metric: str, against: str | None = None) -> np.ndarray:
        """Mean of :meth:`per_seed` over seeds, in the order of ``images``; NaN where missing."""
        return self.per_seed(loss, metric, against).mean(axis=1).to_numpy(dtype=float)

    def mean(self, loss: str, metric: str) -> float:
        """Mean over the images; NaN unless all of them are there."""
        return float(self.values(loss, metric).mean())

    def paper_values(self, loss: str, metric: str, against: str | None = None) -> np.ndarray:
        """The paper's numbers, as :meth:`values`; NaN where it has none."""
        if (loss, metric) not in self.paper.columns:
            return np.full(len(self.images), np.nan)
        found = self.paper[(loss, metric)].to_numpy(dtype=float)
        return found if against is None else found - self.paper_values(against, metric)


def summarise(frame: pd.DataFrame, table: int) -> Summary | None:
    """Gather one of the paper's tables from the tidy table, or None if no run of it is finished.

    Args:
        frame: of :func:`asyrepro.runs.results.load`.
        table: 2 ... 5.

    Raises:
        DataError: the table's rows mix networks or training sets, which no mean may hide.
    """
    rows = results.plain(frame)
    rows = rows[rows["table"] == table]
    runs = results.of_runs(rows)
    if runs.empty:
        return None
    for column in ("model", "dataset"):
        found = sorted(set(runs[column]))
        if len(found) > 1:
            raise DataError(
                f"table {table} mixes the {'networks' if column == 'model' else 'training sets'} "
                f"{', '.join(found)}: give each a study of its own."
            )
    model, dataset = runs["model"].iloc[0], runs["dataset"].iloc[0]
    rows = rows[rows["model"] == model]
    _refuse_twice(rows, table)

    images = tuple(dict.fromkeys(rows["image"]))
    stand_in = results.of_stand_in(rows)
    own = set(rows["testset"]) - {f"table{table}", ""}
    same = not stand_in and not own and set(images) <= set(paper.known_images().get(table, ()))
    if same:
        images = tuple(image for image in paper.known_images()[table] if image in images)
    seeds = runs.groupby("loss")["seed"].unique()
    present = results.present(rows)  # baselines first
    losses = tuple(name for name in present if name in seeds.index)
    return Summary(
        table=table,
        model=model,
        dataset=dataset,
        images=images,
        losses=losses,
        baseline=present[0] if present[0] not in losses else None,
        seeds={loss: tuple(sorted(map(int, seeds[loss]))) for loss in losses},
        iterations=tuple(sorted(map(int, runs["iterations"].dropna().unique()))),
        stand_in=stand_in,
        same_images=same,
        paper=_paper_rows(table, images, same),
        rows=rows,
    )


def _refuse_twice(rows: pd.DataFrame, table: int) -> None:
    twice = rows.duplicated(["loss", "seed", "image"])
    if twice.any():
        row = rows[twice].iloc[0]
        raise DataError(
            f"table {table} has two results for loss {row['loss']}, seed {row['seed']}, image "
            f"{row['image']} (on other test sets?): give each a study of its own."
        )


def _paper_rows(table: int, images: tuple[str, ...], same: bool) -> pd.DataFrame:
    rows = paper.tables()
    rows = rows[rows["table"] == table].rename(columns={"rmse": "nrmse"})  # which it is in truth
    wide = rows.pivot(index="image", columns="loss", values=[*PRINTED]).swaplevel(axis=1)
    if same:
        numbers = [paper.known_images()[table].index(image) + 1 for image in images]
    else:
        numbers = range(1, len(images) + 1)
    wide = wide.reindex(numbers)
    wide.index = pd.Index(images, name="image")
    return wide
