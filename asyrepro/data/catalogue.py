"""The data sets: which images each one has, where they are looked for, where they come from.

:func:`training_set` and :func:`test_set` look in the folder that ``root`` or the environment
variable ``ASYREPRO_DATA`` names, then in ``data/``, and then download. A data set asked for by name
that cannot be had is a :class:`NotAvailable` error that says what to download to where.

Downloads are always checked. Local copies are compared, file by file as they are read, with
``SHA256SUMS`` (beside this file), and a difference is a warning: such images can still be used, but
the results are not comparable. DIV2K has no list of its 800 files' sums; its archives are checked.

A name with a slash, such as ``~/Urban100`` or ``./mine``, is a folder of images of one's own.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asyrepro.data import bundled, download, images
from asyrepro.data.cache import cached_images, read_hashed
from asyrepro.system.errors import ConfigError, DataError, shown

if TYPE_CHECKING:
    from torch import Tensor


class NotAvailable(DataError):
    """A data set is on no local path and could not be downloaded."""


@dataclass
class DataSet:
    """Images in memory (or mapped from the disk), ready to be sampled or tested on.

    Attributes:
        name: as it was asked for; of one's own folder, the last part of its path.
        title: for people; says "stand-in" where the images are.
        names: the images' names, which are their files' without ending.
        images: uint8 tensors (C, H, W), not to be written to.
        bundled: whether these are the stand-in photographs.
        fingerprint: SHA-256 over the files' names and bytes: over the lines "name NUL SHA-256".
    """

    name: str
    title: str
    names: list[str]
    images: list[Tensor]
    bundled: bool = False
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.images)


# ------------------------------------------------------------- sources: what is published and where


@dataclass(frozen=True)
class Archive:
    """One archive with folders of images."""

    filename: str
    urls: tuple[str, ...]
    max_bytes: int  # more than the archive, or what is in it, can have
    sha256: str = ""
    md5: str = ""
    terms: str = ""


@dataclass(frozen=True)
class Files:
    """Images that are published file by file below one address."""

    url: str
    max_bytes: int
    terms: str = ""


@dataclass(frozen=True)
class Folder:
    """One folder of images: where it may lie (the official place first), its files, its source."""

    layouts: tuple[str, ...]
    files: tuple[str, ...]
    source: Archive | Files
    size: int  # bytes, roughly

    @property
    def place(self) -> str:
        return self.layouts[0]


@functools.cache
def checksums() -> dict[str, dict[str, str]]:
    """SHA-256 of each published file, by its folder's official place and its name."""
    sums: dict[str, dict[str, str]] = {}
    for line in Path(__file__).with_name("SHA256SUMS").read_text().splitlines():
        digest, path = line.split("  ", 1)
        place, _, name = path.rpartition("/")
        sums.setdefault(place, {})[name] = digest
    return sums


_BERKELEY = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision"
_BSDS_TERMS = "for non-commercial research and education (Berkeley, Martin et al. 2001)"
_DIV2K_TERMS = "for academic research (ETH Zurich, Agustsson and Timofte 2017)"
_CLASSIC_TERMS = "classic test images, no licence stated, for research; copy of the DnCNN authors"

BSDS300 = Archive(
    "BSDS300-images.tgz",
    (
        f"{_BERKELEY}/bsds/BSDS300-images.tgz",
        f"{_BERKELEY}/grouping/segbench/BSDS300-images.tgz",
    ),
    max_bytes=100_000_000,
    sha256="a5f7d0e49fe135c75518a3543ced24470156fd69305ae77845dff2a5138652b4",
    terms=_BSDS_TERMS,
)
BSDS500 = Archive(
    "BSR_bsds500.tgz",
    (f"{_BERKELEY}/grouping/BSR/BSR_bsds500.tgz",),
    max_bytes=1_000_000_000,
    terms=_BSDS_TERMS,
)


def _div2k(filename: str, md5: str, max_bytes: int) -> Archive:
    url = f"https://data.vision.ee.ethz.ch/cvl/DIV2K/{filename}"
    return Archive(filename, (url,), max_bytes, md5=md5, terms=_DIV2K_TERMS)


def _classic(name: str, size: int) -> Folder:
    base = "https://raw.githubusercontent.com/cszn/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a"
    source = Files(f"{base}/testsets/{name}", max_bytes=4_000_000, terms=_CLASSIC_TERMS)
    return Folder((name,), tuple(checksums()[name]), source, size)


def _bsds(place: str, layouts: tuple[str, ...], source: Archive, size: int) -> Folder:
    return Folder((place, *layouts), tuple(checksums()[place]), source, size)


# BSDS500's train and val splits are BSDS300's train and test splits.
FOLDERS = {
    "bsds300-train": _bsds(
        "BSDS300/images/train",
        ("BSDS300/train", "BSR/BSDS500/data/images/train", "BSDS500/data/images/train"),
        BSDS300,
        14_500_000,
    ),
    "bsds300-test": _bsds(
        "BSDS300/images/test",
        ("BSDS300/test", "BSR/BSDS500/data/images/val", "BSDS500/data/images/val"),
        BSDS300,
        7_700_000,
    ),
    "bsds500-test": _bsds(
        "BSR/BSDS500/data/images/test",
        ("BSDS500/data/images/test", "BSDS500/images/test", "BSDS500/test", "BSDS500-test"),
        BSDS500,
        14_700_000,
    ),
    "div2k-train": Folder(
        ("DIV2K_train_HR", "DIV2K/DIV2K_train_HR"),
        tuple(f"{i:04}.png" for i in range(1, 801)),
        _div2k("DIV2K_train_HR.zip", "bdc2d9338d4e574fe81bf7d158758658", 3_600_000_000),
        3_530_000_000,
    ),
    "div2k-valid": Folder(
        ("DIV2K_valid_HR", "DIV2K/DIV2K_valid_HR"),
        tuple(f"{i:04}.png" for i in range(801, 901)),
        _div2k("DIV2K_valid_HR.zip", "9fcdda83005c5e5997799b69f955ff88", 500_000_000),
        450_000_000,
    ),
    "set5": _classic("Set5", 1_700_000),
    "set12": _classic("Set12", 1_200_000),
    "set14": _classic("Set14", 9_200_000),
}


# ----------------------------------------------------------------- data sets: choices out of these


def _names(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


# The grey images of BSD68 are these 68 of BSD300's test split.
BSD68 = _names(
    3096, 12084, 14037, 16077, 19021, 21077, 24077, 33039, 101085, 101087, 102061, 103070, 105025,
    106024, 108005, 108070, 108082, 109053, 119082, 123074, 126007, 130026, 134035, 143090, 145086,
    147091, 148026, 148089, 157055, 159008, 160068, 163085, 167062, 167083, 170057, 175032, 175043,
    182053, 189080, 196073, 197017, 208001, 210088, 216081, 219090, 220075, 223061, 227092, 229036,
    236037, 241004, 241048, 253027, 253055, 260058, 271035, 285079, 291000, 295087, 296007, 296059,
    299086, 300091, 302008, 304034, 304074, 306005, 351093,
)  # fmt: skip
# Found from the constants in the paper's RMSE columns: Table 4's ten are Set12's 03 to 12, in
# order; Table 5's ten are these, in this order, and 1/k of each is that image's root mean square.
TABLE4 = [f"{i:02}" for i in range(3, 13)]
TABLE5 = _names(227092, 143090, 302008, 123074, 103070, 167062, 14037, 253055, 241004, 126007)
# The images of Tables 2 and 3 are unknown. Ours: the first ten of BSD300's test split by number.
_TEST = [file.removesuffix(".jpg") for file in FOLDERS["bsds300-test"].files]
TABLE2 = _TEST[:10]
# The last ten, by number, of the 32 test images that are in none of BSD68: no table's images.
VALIDATION = [name for name in _TEST if name not in BSD68][-10:]


@dataclass(frozen=True)
class _Choice:
    """Files out of one or two folders, in order; None stands for all of a folder's files."""

    title: str
    pieces: tuple[tuple[str, list[str] | None], ...]
    mapped: bool = False  # too large for memory

    def selections(self) -> list[tuple[Folder, list[str]]]:
        chosen = []
        for key, names in self.pieces:
            folder = FOLDERS[key]
            stems = {Path(file).stem: file for file in folder.files}
            chosen.append((folder, [stems[name] for name in (names or stems)]))
        return chosen


TRAINING_SETS = {
    "bsd300": _Choice("BSD300 train (200 images)", (("bsds300-train", None),)),
    "bsd400": _Choice(
        "BSD400 (BSDS500 train and test, 400 images)",
        (("bsds300-train", None), ("bsds500-test", None)),
    ),
    "div2k": _Choice("DIV2K train (800 images)", (("div2k-train", None),), mapped=True),
}
_UNKNOWN = "ten BSD300 test images (our choice: the paper's are unknown)"
TEST_SETS = {
    "set5": _Choice("Set5 (5 images)", (("set5", None),)),
    "set12": _Choice("Set12 (12 grey images)", (("set12", None),)),
    "set14": _Choice("Set14 (14 images)", (("set14", None),)),
    "bsd68": _Choice("BSD68 (68 grey images)", (("bsds300-test", BSD68),)),
    "table2": _Choice(_UNKNOWN, (("bsds300-test", TABLE2),)),
    "table3": _Choice(_UNKNOWN, (("bsds300-test", TABLE2),)),
    "table4": _Choice("Set12, images 03 to 12", (("set12", TABLE4),)),
    "table5": _Choice("ten BSD68 images of Table 5", (("bsds300-test", TABLE5),)),
    "validation": _Choice(
        "validation (ten BSD300 test images outside BSD68)", (("bsds300-test", VALIDATION),)
    ),
    "bsd300": _Choice("BSD300 test (100 images)", (("bsds300-test", None),)),
    "div2k_valid": _Choice("DIV2K validation (100 images)", (("div2k-valid", None),), mapped=True),
}
_STAND_IN = "bundled stand-in data (scikit-image photographs)"
_BUNDLED_TESTS = {"bundled": bundled.TEST, "bundled_validation": bundled.VALIDATION}


def training_set(
    name: str, *, mode: str, root: str | os.PathLike | None = None, download: bool = True
) -> DataSet:
    """A training set: ``bsd300``, ``bsd400``, ``div2k``, ``bundled`` or a folder's path.

    Args:
        name: which; with a slash it is the path of a folder, all of whose images are taken.
        mode: ``"rgb"``, ``"grey"`` or ``"luma"``, as in :func:`asyrepro.data.images.read_image`.
        root: folder to look in instead of ``ASYREPRO_DATA``, and to download to instead of
            ``data/``.
        download: whether to download what is not found.

    Raises:
        ConfigError: no such data set or mode.
        NotAvailable: it is neither present nor downloadable.
        DataError: a folder is incomplete or an image damaged.
    """
    if name == "bundled":
        return _bundled(name, bundled.TRAINING, mode)
    if is_folder(name):
        return _own(name, mode)
    return _load(name, _choice(name, TRAINING_SETS, ["bundled"]), mode, root, download)


def test_set(
    name: str, *, mode: str, root: str | os.PathLike | None = None, download: bool = True
) -> DataSet:
    """A test set: ``set5``, ``set12``, ``set14``, ``bsd68``, ``table2`` ... ``table5``,
    ``validation``, ``bsd300`` (all 100 test images), ``div2k_valid``, ``bundled``,
    ``bundled_validation`` or a folder's path. Arguments and errors as for :func:`training_set`.
    """
    if is_folder(name):
        return _own(name, mode)
    if name in _BUNDLED_TESTS:
        return _bundled(name, _BUNDLED_TESTS[name], mode)
    return _load(name, _choice(name, TEST_SETS, [*_BUNDLED_TESTS]), mode, root, download)


test_set.__test__ = False  # for pytest: a function of the library, not a test


def check_names(training: str, tests: Iterable[str]) -> None:
    """ConfigError unless there is a training set and there are test sets of these names.

    Whether a folder is there is not looked at: a trained network can do without its images.
    """
    if training != "bundled" and not is_folder(training):
        _choice(training, TRAINING_SETS, ["bundled"])
    called: dict[str, str] = {}
    for name in tests:
        if not is_folder(name):
            if name not in _BUNDLED_TESTS:
                _choice(name, TEST_SETS, [*_BUNDLED_TESTS])
            continue
        other = called.setdefault(short(name), name)
        if _path(other) != _path(name):
            raise ConfigError(
                f"{shown(other)} and {shown(name)} would both go by the name "
                f"{short(name)!r}: rename one, or make a link with another name"
            )


def is_folder(name: object) -> bool:
    """Whether a data set's name is the path of a folder: it has a slash."""
    return "/" in str(name)


def short(name: str) -> str:
    """What a data set is called in results: its name; of a folder, the last part of its path.

    Raises:
        ConfigError: a folder is called as one of the data sets here, which it would pass for.
    """
    if not is_folder(name):
        return name
    found = _path(name).name
    if found in {*TRAINING_SETS, *TEST_SETS, "bundled", *_BUNDLED_TESTS, ""}:
        raise ConfigError(
            f"the images of {shown(name)} would pass for the data set {found!r}: give it "
            "another name, or make a link with one"
        )
    return found


def available(name: str, root: str | os.PathLike | None = None) -> str | None:
    """Where a data set's files are, without downloading; None if they are not all there."""
    if is_folder(name):
        return str(_path(name)) if os.path.isdir(_path(name)) else None
    if name == "bundled" or name in _BUNDLED_TESTS:
        where = bundled.folder()
        return str(where) if where and where.is_dir() else None
    found = [_find(folder, files, _roots(root))[0] for folder, files in _selections(name)]
    return None if None in found else " and ".join(dict.fromkeys(map(str, found)))


def provide(name: str, root: str | os.PathLike | None = None) -> str:
    """Download what is missing of a data set, and say where it is. Errors as training_set's."""
    if is_folder(name):
        _own_files(name)
        return str(_path(name))
    if name == "bundled" or name in _BUNDLED_TESTS:
        _bundled(name, {**bundled.TRAINING, **bundled.TEST, **bundled.VALIDATION}, "rgb")
        return str(bundled.folder())
    found = [_locate(name, folder, files, root, True) for folder, files in _selections(name)]
    return " and ".join(dict.fromkeys(map(str, found)))


def fingerprint(kind: str, name: str, root: str | os.PathLike | None = None) -> str | None:
    """What :attr:`DataSet.fingerprint` is, without decoding; None if the files are not all here.

    Args:
        kind: "training" or "test", of which a name can mean different images.
        name, root: as for :func:`training_set`.
    """
    if is_folder(name):
        try:
            files = _own_files(name)
        except DataError:
            return None
        return _fingerprint((file.name, download.file_digest(file)) for file in files)
    if name == "bundled" or name in _BUNDLED_TESTS:
        regions = bundled.TRAINING if kind == "training" else _BUNDLED_TESTS[name]
        return bundled.read_regions(regions, "grey")[1] if available(name) else None
    choice = _choice(name, TRAINING_SETS if kind == "training" else TEST_SETS, [])
    digests = []
    for folder, files in choice.selections():
        where, _ = _find(folder, files, _roots(root))
        if where is None:
            return None
        digests += [(file, download.file_digest(where / file)) for file in files]
    return _fingerprint(digests)


def listing(root: str | os.PathLike | None = None) -> str:
    """A table for people: each data set, where it is found, its size, source and terms."""
    lines = []
    for name in dict.fromkeys([*TRAINING_SETS, *TEST_SETS]):
        titles = [sets[name].title for sets in (TRAINING_SETS, TEST_SETS) if name in sets]
        folders = list(dict.fromkeys(folder for folder, _ in _selections(name)))
        size = sum(folder.size for folder in folders) / 1e6
        lines.append(f"{name}: {'; '.join(titles)}")
        lines.append(f"    found:  {available(name, root) or 'not here'}")
        for source in dict.fromkeys(folder.source for folder in folders):
            url = source.urls[0] if isinstance(source, Archive) else f"{source.url}/"
            lines.append(f"    source: {url} ({source.terms})")
        lines.append(f"    size:   {size:,.1f} MB of images")
    lines.append(f"bundled: {_STAND_IN}")
    lines.append(f"    found:  {available('bundled') or 'not here'}")
    lines.append("    source: the scikit-image package")
    return "\n".join(lines)


def home() -> Path:
    """The project's ``data/``, or ``data/`` below the working directory if installed elsewhere."""
    repository = Path(__file__).resolve().parents[2]
    return (repository if (repository / "pyproject.toml").is_file() else Path.cwd()) / "data"


# --------------------------------------------------------------------------------------- loading


def _choice(name: str, choices: dict[str, _Choice], others: list[str]) -> _Choice:
    if name in choices:
        return choices[name]
    known = sorted([*choices, *others])
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"unknown data set {name!r}: {hint}known here are {', '.join(known)}; a folder of images "
        "is named by its path, with a slash"
    )


def _selections(name: str) -> list[tuple[Folder, list[str]]]:
    """All files that go by a name: bsd300 is a training set and a test set."""
    _choice(name, {**TRAINING_SETS, **TEST_SETS}, [*_BUNDLED_TESTS])
    choices = [sets[name] for sets in (TRAINING_SETS, TEST_SETS) if name in sets]
    return [selection for choice in choices for selection in choice.selections()]


def _bundled(name: str, regions: dict[str, tuple], mode: str) -> DataSet:
    pixels, fingerprint = bundled.read_regions(regions, mode)
    return DataSet(name, _STAND_IN, list(regions), pixels, True, fingerprint)


def _load(
    name: str, choice: _Choice, mode: str, root: str | os.PathLike | None, download: bool
) -> DataSet:
    images.check_mode(mode)
    paths, expected = [], []
    for folder, files in choice.selections():
        where = _locate(name, folder, files, root, download)
        paths += [where / file for file in files]
        expected += [checksums().get(folder.place, {}).get(file) for file in files]
    if choice.mapped:
        pixels, digests = cached_images(paths, mode, _target(root) / "cache", f"{name}-{mode}")
    else:
        pixels, digests = _read(paths, mode)
    other = [p for p, d, e in zip(paths, digests, expected, strict=True) if e not in (None, d)]
    if other:
        warnings.warn(
            f"{len(other)} of {len(paths)} files of {name} are not the published ones "
            f"({shown(other[0])}, ...): results are not comparable with others",
            stacklevel=3,
        )
    found = _fingerprint((p.name, d) for p, d in zip(paths, digests, strict=True))
    return DataSet(name, choice.title, [p.stem for p in paths], pixels, False, found)


def _own(name: str, mode: str) -> DataSet:
    """All images of a folder; those whose names differ in their endings only keep these."""
    images.check_mode(mode)
    called, paths = short(name), _own_files(name)
    pixels, digests = _read(paths, mode)
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in paths]
    found = _fingerprint((p.name, d) for p, d in zip(paths, digests, strict=True))
    return DataSet(called, f"{called} ({len(paths)} images)", names, pixels, False, found)


def _own_files(name: str) -> list[Path]:
    """The images of a folder; DataError if one's name could not stand in a table."""
    found = images.list_images(_path(name))
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{shown(path)}: the file's name is not UTF-8, as the rows are: rename it"
            ) from None
    return found


def _path(name: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(name)))


def _read(paths: list[Path], mode: str) -> tuple[list[Tensor], list[str]]:
    """The decoded images, and the SHA-256 of each file."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read = list(pool.map(lambda path: read_hashed(path, mode), paths))
    return [r[0] for r in read], [r[1] for r in read]


def _fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    """:attr:`DataSet.fingerprint` of (file name, SHA-256) pairs."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


# -------------------------------------------------------------------------- finding and fetching


def _roots(root: str | os.PathLike | None) -> list[Path]:
    """Folders to look in, in order."""
    if root is not None:
        first = Path(root).expanduser()
        if first.exists() and not first.is_dir():
            raise DataError(f"{shown(first)} is no folder: name one that holds data sets")
        return [first, home()]
    named = os.environ.get("ASYREPRO_DATA", "")
    if not named:
        return [home()]
    if not Path(named).expanduser().is_dir():
        raise DataError(
            f"ASYREPRO_DATA names {shown(named)}, which is no folder: correct or unset it"
        )
    return [Path(named).expanduser(), home()]


def _target(root: str | os.PathLike | None) -> Path:
    """Where downloads and caches go: `root` where it may be written, otherwise data/."""
    if root is None:
        return home()
    first = Path(root).expanduser()
    return home() if first.is_dir() and not os.access(first, os.W_OK) else first


def _find(folder: Folder, files: list[str], roots: list[Path]) -> tuple[Path | None, Path | None]:
    """(the place that has all of `files`, or None; one that is part of the set only, or None)."""
    partial = None
    for root in roots:
        for place in _places(folder, root):
            try:
                present = set(os.listdir(place))
            except OSError:
                continue
            if present.issuperset(files):
                return place, None
            if partial is None and present.intersection(folder.files):
                partial = place
    return None, partial


def _places(folder: Folder, root: Path) -> Iterator[Path]:
    """Where below `root` the folder may be: in its layouts, also if nested one level too deep."""
    try:
        inner = sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    except OSError:
        return
    for base in (root, *inner):
        for layout in folder.layouts:
            yield base / layout
            yield base / layout / Path(layout).name


def _locate(name: str, folder: Folder, files: list[str], root, may_download: bool) -> Path:
    """The folder that holds the files, downloaded if need be."""
    roots, target = _roots(root), _target(root)
    found, partial = _find(folder, files, roots)
    if found:
        return found
    advice = _advice(folder, target)
    if partial and partial != target / folder.place:
        raise DataError(f"{_missing(name, partial, files)}. {advice}")
    if not may_download:
        reason = _missing(name, partial, files) if partial else f"{name} was not found"
        raise NotAvailable(f"{reason}. {advice}")
    try:
        with download.locked(target / folder.place.split("/")[0]):
            found, _ = _find(folder, files, [target])  # another process may have been faster
            if not found:
                fetch = _fetch_archive if isinstance(folder.source, Archive) else _fetch_files
                fetch(folder, roots, target)
    except NotAvailable:
        raise
    except DataError as error:
        raise NotAvailable(f"{name} is not on this machine: {error}. {advice}") from error
    return found or target / folder.place


def _missing(name: str, partial: Path, files: list[str]) -> str:
    absent = sorted(set(files) - set(os.listdir(partial)), key=files.index)
    some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    return f"{name} is incomplete: {shown(partial)} lacks {len(absent)} files ({some})"


def _advice(folder: Folder, target: Path) -> str:
    source = folder.source
    if isinstance(source, Archive):
        what = f"Download {source.urls[0]} and unpack it in {shown(target)}"
    else:
        what = (
            f"Download the {len(folder.files)} files below {source.url} "
            f"to {shown(target / folder.place)}"
        )
    return f"{what}, or let ASYREPRO_DATA name a folder that holds {folder.place}"


def _fetch_files(folder: Folder, roots: list[Path], target: Path) -> None:
    for file, sha256 in checksums()[folder.place].items():
        download.fetch(
            [f"{folder.source.url}/{file}"],
            target / folder.place / file,
            check=download.digest_check(sha256=sha256),
            max_bytes=folder.source.max_bytes,
        )


def _fetch_archive(folder: Folder, roots: list[Path], target: Path) -> None:
    source = folder.source
    members = {
        f"{other.place}/{file}": checksums().get(other.place, {}).get(file)
        for other in FOLDERS.values()
        if other.source == source
        for file in other.files
    }

    def check(path: Path) -> str | None:
        """The published archive, or another one with the same images in it."""
        problem = None
        if source.sha256 or source.md5:
            problem = download.digest_check(sha256=source.sha256, md5=source.md5)(path)
            if problem is None or source.md5:
                return problem
        try:
            digests = download.member_digests(path, members, source.max_bytes)
        except DataError as error:
            return problem or str(error)
        different = [name for name, sha256 in members.items() if digests.get(name) != sha256]
        if not different:
            return None
        return f"{different[0]} in it is missing or changed ({len(different)} such files)"

    archive = target / source.filename
    by_hand = [r / source.filename for r in roots if (r / source.filename).is_file()]
    present = next((path for path in by_hand if check(path) is None), None)
    if present is None:
        download.fetch(source.urls, archive, check=check, max_bytes=source.max_bytes)
    download.unpack(present or archive, target, wanted=members, max_bytes=source.max_bytes)
    if present is None:
        archive.unlink()
    absent = [file for file in folder.files if not (target / folder.place / file).is_file()]
    if absent:
        raise DataError(f"{source.filename} lacks {len(absent)} images ({absent[0]}, ...)")
