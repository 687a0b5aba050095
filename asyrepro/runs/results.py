"""The tidy table of a study, ``results/<study>/metrics.csv``: one row = one image of one run.

Its schema, reading and writing. Every table, figure and page is made from this file
(:mod:`asyrepro.analysis`) and the paper's own numbers.
"""

import csv
import io
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from asyrepro.metrics import FURTHER
from asyrepro.runs.run import Run
from asyrepro.system.errors import DataError, some
from asyrepro.system.files import write_csv

METRICS = ("psnr", "ssim", "rmse", "nrmse")
COLUMNS = (
    *("table", "model", "dataset", "loss", "seed", "image", *METRICS),
    *("testset", "psnr_y", "ssim_y", "variant", "config", "iterations", "device", "versions"),
)
REQUIRED = COLUMNS[:10]
INTEGERS = ("table", "seed", "iterations")
FLOATS = (*METRICS, "psnr_y", "ssim_y", *FURTHER)
ROW_KEY = ["table", "testset", "model", "dataset", "variant", "loss", "seed", "image"]

GAPS = (  # of numbers, as other programs write them: those that pandas.read_csv knows
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
BASES = ("mae", "mse")
PAPER_LOSSES = ("mae", "mse", "asy_mae", "asy_mse")
CONTROLS = tuple(
    f"asy_{base}_{kind}"
    for kind in ("table1", "normalized", "shuffled", "inverted")
    for base in BASES
)
LOSS_ORDER = (*PAPER_LOSSES, *CONTROLS)


def loss_rank(loss: str) -> tuple[int, str]:
    """Sort key: the paper's four, the controls, then any other by name."""
    return (LOSS_ORDER.index(loss) if loss in LOSS_ORDER else len(LOSS_ORDER), loss)


# --------------------------------------------------------------------------- reading and writing


def load(study_dir) -> pd.DataFrame:
    """The tidy table of a study, validated.

    ``table``, ``seed`` and ``iterations`` are nullable integers, the metrics float64, all else str
    (image names keep their leading zeros). Rows stand in the file's order, which within a table and
    loss is the paper's order of images.

    Raises:
        DataError: metrics.csv is missing, empty or damaged; the message names the file and line.
    """
    return read_rows(Path(study_dir) / "metrics.csv")


def read_rows(path, may_be_empty: bool = False) -> pd.DataFrame:
    """Read and validate one CSV of rows (metrics.csv, a run's rows.csv, or baselines).

    ``may_be_empty``: take a file without rows, as a run without a test set has it. DataError as of
    :func:`load`.
    """
    return _validated(_raw(Path(path), may_be_empty))


def to_csv(rows: Iterable[dict]) -> str:
    """Rows as CSV text; floats with seven decimals, None and NaN as an empty field.

    Denoising has a further column, ``protocol``: the test noise ("kair", "name"), see
    :meth:`asyrepro.tasks.Task.protocol`. Rows without it are older; theirs is "name". The metrics
    that ``metrics=`` asked for stand in further columns, too.
    """
    rows, text = list(rows), io.StringIO()
    further = sorted({name for row in rows for name in row} - set(COLUMNS))
    writer = csv.DictWriter(text, [*COLUMNS, *further], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: _written(v) for k, v in row.items()})
    return text.getvalue()


def _written(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.7f}"


def _raw(path: Path, may_be_empty: bool) -> pd.DataFrame:
    """One CSV of rows as text; its index says where each row stands: "<path>, line <n>"."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # as Excel saves it, too
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader if line]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DataError(
            f"{path} is missing: run the study first, or rebuild it with `asyrepro report`."
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete and remake it.") from None
    if not lines:
        raise DataError(f"{path} is empty: delete it and run what makes it again.")
    (_, head), *body = lines
    missing = [column for column in REQUIRED if column not in head]
    if missing:
        raise DataError(f"{path} lacks the column(s) {', '.join(missing)}: it is not such a table.")
    if twice := [column for column in head if head.count(column) > 1]:
        raise DataError(f"{path} has the column {twice[0]} twice: delete and remake it.")
    if not body and not may_be_empty:
        raise DataError(f"{path} has no rows: delete it and run what makes it again.")
    for number, line in body:
        if len(line) != len(head):
            raise DataError(
                f"{path}, line {number}: {len(line)} values for {len(head)} columns; the file was "
                f"cut off or damaged, delete and remake it."
            )
    places = [f"{path}, line {number}" for number, _ in body]
    frame = pd.DataFrame([line for _, line in body], columns=head, index=places, dtype=str)
    older = {column: "" for column in COLUMNS if column not in frame.columns}
    return frame.assign(**older)


def _validated(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`_raw`, of one file or several, as :func:`load` returns them.

    ``frame`` is changed.
    """
    for column in INTEGERS:
        frame[column] = _numbers(frame[column], whole=True).astype("Int64")
    for column in frame.columns.intersection(FLOATS):
        frame[column] = _numbers(frame[column].fillna(""))
    for column in METRICS[:3]:  # NRMSE is undefined for an all-black label
        _refuse(frame[column].isna(), f"no value for {column}")
    for column in ("model", "loss", "image"):
        _refuse(frame[column] == "", f"no value for {column}")
    trained = {*frame.loc[frame["seed"].notna(), "loss"], *PAPER_LOSSES, *CONTROLS}
    lost = frame["seed"].isna() & (frame["loss"].isin(trained) | (frame["config"] != ""))
    _refuse(lost, "no seed, which only a baseline row may lack")
    twice = frame.duplicated(ROW_KEY).to_numpy()
    if twice.any():
        same = (frame[ROW_KEY] == frame[twice][ROW_KEY].iloc[0]).fillna(True).all(axis=1)
        first, second = frame.index[same.to_numpy()][:2]
        raise DataError(
            f"{second}: the same image of the same run a second time, as in {first}; delete or "
            "remake one of them."
        )
    extra = sorted(set(frame.columns) - set(COLUMNS))
    return frame[[*COLUMNS, *extra]].reset_index(drop=True)


def read_table(
    path, columns=(), numbers=(), names=(), advice="delete and remake it"
) -> pd.DataFrame:
    """Read one of a study's other tables. An image may be called NA: a gap is an empty field, or,
    in a column of numbers, what other programs write there.

    Args:
        path: a CSV file that this program wrote, or one of the user's own.
        columns: those that it must have.
        numbers: those of them that must hold a number in every row.
        names: columns that are text, such as "01", whatever stands in them.
        advice: what to do about a file that is damaged.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        texts = dict.fromkeys(names, str)
        gaps = {"keep_default_na": False, "na_values": [""]}
        frame = pd.read_csv(path, dtype=texts, skipinitialspace=True, **gaps)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the study first") from None
    except ValueError as error:  # pandas' own errors among them
        raise DataError(f"{path} is damaged ({error}): {advice}") from None
    for name in frame.columns.difference(names) if len(frame) else ():
        with suppress(ValueError):  # a column of texts
            frame[name] = pd.to_numeric(frame[name].mask(frame[name].isin(GAPS)))
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        there = some([*map(repr, frame.columns)], 6)
        lacking = f"{path} lacks the columns {', '.join(missing)}, and has {there}"
        raise DataError(f"{lacking}: {advice}")
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(frame[name]) or frame[name].isna().any():
            raise DataError(f"{path} has no number for {name} somewhere: {advice}")
    return frame


def collect(study_dir) -> pd.DataFrame:
    """Rebuild ``metrics.csv`` from the study's run folders and baselines, and return it.

    Reads ``<row>/<loss>/seed<k>/rows.csv`` and ``baselines/*.csv``, and adds to a run's rows the
    columns ``precision`` of the training and, where a loss declares one,
    ``base``, the loss that it is compared with. Rows are sorted by table,
    test set, model, training set, loss (the baseline, which has no seed, first) and seed; within
    these they keep their file's order, which is the paper's order of images. The metrics are
    written with six decimals, so that the same run folders give the same bytes. The file is
    replaced in one step.

    Raises:
        DataError: no rows of a run (as of runs without a test set only), a damaged file, or two
            files that hold the same run.
    """
    study_dir = Path(study_dir)
    paths = sorted(
        [*study_dir.glob("*/*/seed*/rows.csv"), *study_dir.glob("baselines/*.csv")],
        key=lambda path: path.relative_to(study_dir).as_posix(),
    )
    if not paths:
        raise DataError(
            f"{study_dir} holds no results (no <row>/<loss>/seed<k>/rows.csv): run the study "
            f"first, with `make reproduce` or `asyrepro train`."
        )
    frames = []
    for path in paths:
        rows, run = _raw(path, may_be_empty=True), Run(path.parent)
        if not rows.empty:
            more = {"precision": run.precision, **({"base": run.base} if run.base else {})}
            frames.append(rows.assign(**more))
    if not frames:
        raise DataError(
            f"{study_dir} holds no metrics: its runs had no test set (testset=null); there is "
            "nothing to report on, asyrepro evaluate tests their weights"
        )
    frame = _validated(pd.concat(frames))
    if of_runs(frame).empty:
        raise DataError(
            f"{study_dir} holds no finished run, only the scores of its inputs: run the study first"
        )
    write_csv(study_dir / "metrics.csv", _sorted(frame), "%.6f")
    return load(study_dir)


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    names = frame["loss"].unique()
    rank = {loss: place for place, loss in enumerate(sorted(names, key=loss_rank))}
    keys = frame[["table", "testset", "model", "dataset", "variant", "loss", "seed"]].assign(
        table=frame["table"].fillna(99),
        loss=frame["loss"].map(rank).where(frame["seed"].notna(), -1),
        seed=frame["seed"].fillna(-1),
    )
    order = keys.sort_values(list(keys.columns), kind="stable").index  # rows of a run stay in order
    return frame.loc[order].reset_index(drop=True)


def _numbers(column: pd.Series, whole: bool = False) -> pd.Series:
    text = column.str.strip()
    values = pd.to_numeric(text.where(text != ""), errors="coerce").astype("float64")
    wrong = values.isna() & (text != "")
    if whole:
        wrong |= values.notna() & (values != values.round())
    said = text[wrong.to_numpy()].iloc[0] if wrong.any() else ""
    _refuse(wrong, f"{column.name} is {said!r}, not {'a whole number' if whole else 'a number'}")
    return values


def _refuse(wrong: pd.Series, what: str) -> None:
    """DataError with the place of the first row marked."""
    if wrong.any():
        place = wrong.index[wrong.to_numpy()][0]
        raise DataError(f"{place}: {what}; the file is damaged, delete and remake it.")


def of_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs, without those of baselines: the degraded images, which have no seed."""
    return frame[frame["seed"].notna()]


def side_by_side(losses: Iterable[str], bases: dict[str, str]) -> list[str]:
    """The losses in the paper's order of pictures: those of one base beside one another."""
    ranked = sorted(losses, key=loss_rank)
    order = [x for base in ranked for x in (base, *(y for y in ranked if bases.get(y) == base))]
    return list(dict.fromkeys(order))


def present(rows: pd.DataFrame) -> list[str]:
    """The baselines and losses of some rows as a table shows them, baselines first."""
    trained = set(of_runs(rows)["loss"])
    return sorted(set(rows["loss"]), key=lambda loss: (loss in trained, loss_rank(loss)))


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the experiments as they are configured, without a sweep's variants of them.

    A variant (column ``variant``, as "task.scale=2") is in metrics.csv, but in no table or verdict.
    """
    return frame[frame["variant"] == ""]


def of_stand_in(rows: pd.DataFrame) -> bool:
    """Whether some of the rows of the tidy table were trained or tested on the stand-in data."""
    return bool((rows[["dataset", "testset"]] == "bundled").any(axis=None))


def bases(rows: pd.DataFrame) -> dict[str, str]:
    """What each loss of the tidy table is compared with.

    The loss that its column ``base`` declares; else what its name tells, as ``asy_mse_shuffled``
    tells ``mse``; else, where the name tells nothing, MAE or MSE, whichever is there.
    """
    losses = set(rows["loss"])
    other = "mse" if "mse" in losses and "mae" not in losses else "mae"
    found = {
        loss: next((base for base in ("mse", "mae") if base in loss.split("_")), other)
        for loss in losses
    }
    if "base" in rows.columns:
        declared = rows[rows["base"].fillna("") != ""]
        found |= dict(zip(declared["loss"], declared["base"], strict=True))
    return found
