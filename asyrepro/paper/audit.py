"""The audit of the paper's numbers: every part computed, drawn, and written up by a template.

The same input gives the same files, on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from asyrepro.paper import audit_figures, failed_column, noise, printed, recovered
from asyrepro.paper.tables import MODEL_TITLES, tables
from asyrepro.system import files, style
from asyrepro.system.templates import render

CSVS = (
    *("rmse_column", "image_constants", "shared_images", "summary", "changes", "not_winning"),
    *("abstract", "column_spread", "common_error", "recovered", "sets_searched", "normalisation"),
    *("noise_images", "noise_level", "bicubic", "failed_column"),
)
FIGURES = ("constants", "matches", "changes", "noise", "spread")
FILES = (
    *(f"{name}.csv" for name in CSVS),
    *(f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png", "pdf")),
)
Log = Callable[[str], None]


def write(output: str | Path, log: Log = lambda line: None) -> str:
    """Compute the audit and write it to a folder.

    Args:
        output: folder, made if need be. Files of an earlier audit are replaced, or at the end
            removed where this one cannot make them; no others are.
        log: told what is going on.

    Returns:
        The Markdown text.

    Raises:
        StorageError: a file cannot be written.
    """
    output = Path(output)
    earlier = (output / "audit.md").is_file()
    with files.storing(output):
        output.mkdir(parents=True, exist_ok=True)
    log("looking for the data sets")
    sets, missing = recovered.load_images(log)
    frames = from_tables() | from_images(sets, log)
    log("drawing")
    made = [files.write_csv(output / f"{name}.csv", frames[name], "%.8g") for name in frames]
    for name, figure in _figures(frames).items():
        made += style.save(figure, output / name)
    text = _markdown(frames, [data.title for data in sets.values()], missing)
    files.write_text(output / "audit.md", text)
    if earlier:
        for path in {output / name for name in FILES} - set(made):
            path.unlink(missing_ok=True)
    return text


def from_tables() -> dict[str, pd.DataFrame]:
    """The parts that need the printed numbers alone, by the name of their file."""
    return {
        "rmse_column": printed.rmse_column(),
        "image_constants": printed.image_constants(),
        "shared_images": printed.shared_images(),
        "summary": printed.summary(),
        "changes": printed.changes(),
        "not_winning": printed.not_winning(),
        "abstract": printed.abstract(),
        "column_spread": failed_column.column_spread(),
        "common_error": failed_column.common_error(),
    }


def from_images(sets: dict[str, recovered.Images], log: Log) -> dict[str, pd.DataFrame]:
    """The parts that need images, as far as the data sets at hand allow."""
    if not sets:
        return {}
    log("measuring " + ", ".join(data.title for data in sets.values()))
    scans = recovered.measure_sets(sets)
    frames = {"sets_searched": recovered.sets_searched(sets, scans)}
    found = recovered.recovered(scans)
    if len(found):
        greys = recovered.grey_images(sets)
        log("denoising the recovered images")
        images = noise.noise_images(greys)
        frames |= {
            "recovered": found,
            "normalisation": recovered.normalisation(greys),
            "noise_images": images,
            "noise_level": noise.noise_level(images),
        }
    if data := sets.get("bsd300"):
        log("making errors like those of Table 3")
        frames["bicubic"] = failed_column.bicubic({n: data.arrays[n] for n in data.tests})
        shown = {name: data.arrays[name] for name in failed_column.as_bright(data.arrays)}
        frames["failed_column"] = failed_column.readings(shown, failed_column.edsr(log))
    return frames


def _figures(frames: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    made = {
        "constants": audit_figures.constants(frames["image_constants"]),
        "changes": audit_figures.changes(frames["changes"]),
        "spread": audit_figures.spread(tables(), frames.get("bicubic")),
    }
    if "recovered" in frames:
        made["matches"] = audit_figures.matches(frames["recovered"])
        made["noise"] = audit_figures.noise(frames["noise_images"])
    return made


def _markdown(frames: dict[str, pd.DataFrame], used: list[str], missing: list[str]) -> str:
    """The text, with the titles of the data sets that were at hand and of those that were not."""
    return render(
        "asyrepro.paper",
        "audit.md",
        **{**dict.fromkeys(CSVS), **frames},
        used=used,
        missing=missing,
        redundant=printed.redundancy(),
        implied={} if "noise_level" not in frames else noise.implied_sigma(frames["noise_level"]),
        models=MODEL_TITLES,
    )
