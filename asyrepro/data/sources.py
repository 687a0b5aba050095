"""Folders of published images: where they are looked for, and where they are downloaded from.

They are declared in ``datasets.yaml``, and the SHA-256 of each file in ``SHA256SUMS``. They are
looked for in the folder that ``root`` or the environment variable ``ASYREPRO_DATA`` names, then in
``data/``; then their sources are tried in turn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from tqdm import tqdm

from asyrepro.data import download
from asyrepro.system.errors import DataError, shown, some

AT_ONCE = 8  # files downloaded at the same time


class NotAvailable(DataError):
    """A data set is on no local path and could not be downloaded.

    Attributes:
        reason: why, in a few words that name all sources tried.
    """

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason or message


@dataclass(frozen=True)
class Source:
    """An archive (tar or zip), or an address below which images lie one by one."""

    url: str
    archive: bool
    max_bytes: int  # more than the archive with what is in it, or one file, can have
    md5: str = ""


@dataclass(frozen=True)
class Folder:
    """One folder of published images.

    Attributes:
        layouts: where it may lie in a folder of data sets, the official place first.
        files: the SHA-256 of each file by its name; "" where it is not known.
        sources: where it can be had, tried in turn.
        megabytes: roughly.
        terms: on which it is published.
    """

    layouts: tuple[str, ...]
    files: Mapping[str, str]
    sources: tuple[Source, ...]
    megabytes: float
    terms: str

    @property
    def place(self) -> str:
        return self.layouts[0]


def _declared() -> tuple[dict[str, Folder], dict[str, dict], dict[str, dict]]:
    """What datasets.yaml declares: the folders, the training sets and the test sets."""
    here = Path(__file__).parent
    sums: dict[str, dict[str, str]] = {}
    for line in (here / "SHA256SUMS").read_text().splitlines():
        digest, path = line.split("  ", 1)
        place, _, name = path.rpartition("/")
        sums.setdefault(place, {})[name] = digest
    content = yaml.safe_load((here / "datasets.yaml").read_text())
    folders = {}
    for key, node in content["folders"].items():
        first, last = node.get("numbered", (1, 0))
        numbered = {f"{i:04}.png": "" for i in range(first, last + 1)}
        folders[key] = Folder(
            tuple(node["layouts"]),
            numbered or sums[node["layouts"][0]],
            tuple(
                Source(
                    source.get("archive") or source["files"],
                    "archive" in source,
                    source["max"] * 1_000_000,
                    source.get("md5", ""),
                )
                for source in node["sources"]
            ),
            node["size"],
            node["terms"],
        )
    return folders, content["training"], content["test"]


FOLDERS, TRAINING, TEST = _declared()


def home() -> Path:
    """The project's ``data/``, or ``data/`` below the working directory if installed elsewhere."""
    repository = Path(__file__).resolve().parents[2]
    return (repository if (repository / "pyproject.toml").is_file() else Path.cwd()) / "data"


def roots(root: str | os.PathLike | None) -> list[Path]:
    """Folders to look in, in order; DataError if one that was named is none."""
    named = root or os.environ.get("ASYREPRO_DATA", "")
    if not named:
        return [home()]
    first = Path(named).expanduser()
    if root and first.exists() and not first.is_dir():
        raise DataError(f"{shown(first)} is no folder: name one that holds data sets")
    if not root and not first.is_dir():
        raise DataError(
            f"ASYREPRO_DATA names {shown(named)}, which is no folder: correct or unset it"
        )
    return [first, home()]


def target(root: str | os.PathLike | None) -> Path:
    """Where downloads and caches go: ``root`` where it may be written, otherwise data/."""
    if not root:
        return home()
    first = Path(root).expanduser()
    return home() if first.is_dir() and not os.access(first, os.W_OK) else first


def find(folder: Folder, files: Iterable[str], root: str | os.PathLike | None) -> Path | None:
    """The place that has all of ``files``; None without one."""
    found = _places(folder, root)
    return next((place for place, present in found if present.issuperset(files)), None)


def _places(folder: Folder, root: str | os.PathLike | None) -> Iterator[tuple[Path, set[str]]]:
    """The folder's layouts that are here, also nested one level too deep, and what is in them."""
    for base in roots(root):
        try:
            inner = sorted(d for d in base.iterdir() if d.is_dir() and not d.name.startswith("."))
        except OSError:
            continue
        layouts = [Path(layout) for layout in folder.layouts]
        for layout in (outer / layout for outer in (base, *inner) for layout in layouts):
            for place in (layout, layout / layout.name):
                try:
                    present = {*os.listdir(place)}
                except OSError:
                    continue
                yield place, present


def locate(
    name: str, folder: Folder, files: list[str], root: str | os.PathLike | None, may_download: bool
) -> Path:
    """The folder that holds the files, downloaded if need be.

    Raises:
        NotAvailable: it is neither present nor downloadable.
        DataError: it is here in part, and not where a download could complete it.
    """
    if found := find(folder, files, root):
        return found
    into, reason, cause = target(root), "not found", None
    advice = _advice(folder, into)
    for place, present in _places(folder, root):
        if not present.isdisjoint(folder.files):
            absent = [file for file in files if file not in present]
            reason = f"{shown(place)} lacks {len(absent)} files ({some(absent)})"
            if place != into / folder.place:
                raise DataError(f"{name} is incomplete: {reason}. {advice}")
            break
    if may_download:
        try:
            with download.locked(into / folder.place.split("/")[0]):
                # Another process may have been faster.
                return find(folder, files, into) or _fetch(folder, roots(root), into)
        except DataError as error:
            reason, cause = error, error
    reason = f"{name} is not available ({reason})"
    raise NotAvailable(f"{reason}. {advice}", reason) from cause


def _advice(folder: Folder, into: Path) -> str:
    source = folder.sources[0]
    if source.archive:
        what = f"Download {source.url} and unpack it in {shown(into)}"
    else:
        place = shown(into / folder.place)
        what = f"Download the {len(folder.files)} files below {source.url} to {place}"
    return f"{what}, or let ASYREPRO_DATA name a folder that holds {folder.place}"


def _fetch(folder: Folder, places: list[Path], into: Path) -> Path:
    """Download the folder from the first source that gives the published images."""
    reasons = []
    for source in folder.sources:
        try:
            if source.archive:
                _fetch_archive(source, places, into)
            else:
                _fetch_files(source, folder, into)
            return into / folder.place
        except DataError as error:
            reasons.append(str(error))
    raise DataError("; ".join(dict.fromkeys(reasons)))  # two mirrors may be on one host


def _fetch_files(source: Source, folder: Folder, into: Path) -> None:
    place = into / folder.place

    def fetch(file: str) -> None:
        accept = partial(download.expect, digest=folder.files[file])
        if (place / file).is_file():
            try:
                return accept(place / file)
            except DataError:
                pass
        download.fetch(
            f"{source.url}/{file}", place / file, accept=accept, max_bytes=source.max_bytes
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(fetch, folder.files)
        list(tqdm(done, desc=folder.place, total=len(folder.files), disable=None))


def _fetch_archive(source: Source, places: list[Path], into: Path) -> None:
    """Unpack all folders that an archive holds: one that lies in ``places``, or a download."""
    filename = source.url.rpartition("/")[2]
    members = {
        f"{folder.place}/{file}": digest
        for folder in FOLDERS.values()
        if source in folder.sources
        for file, digest in folder.files.items()
    }

    def unpack(path: Path) -> None:
        if source.md5:
            download.expect(path, source.md5)
        download.unpack(path, into, members, source.max_bytes)

    for archive in (place / filename for place in places):
        if archive.is_file():
            try:
                return unpack(archive)
            except DataError as error:
                print(f"note: {error}; it is downloaded again", file=sys.stderr)
    archive = into / filename
    download.fetch(source.url, archive, accept=unpack, max_bytes=source.max_bytes)
    archive.unlink()
