"""The data sets: :func:`training_set` and :func:`test_set` find images by a set's name.

What there is stands in ``datasets.yaml``. A set asked for by name that cannot be had is a
:class:`NotAvailable` error that says what to download to where. Downloads are always checked. Local
copies are compared, file by file as they are read, with ``SHA256SUMS``, and a difference is a
warning: such images can still be used, but the results are not comparable. DIV2K has no list of its
800 files' sums; its archives are checked.

A name with a slash, such as ``~/Urban100`` or ``./mine``, is a folder of your own images.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asyrepro.data import bundled, download, images, sources
from asyrepro.data.cache import cached_images
from asyrepro.data.sources import FOLDERS, TEST, TRAINING, Folder, NotAvailable
from asyrepro.system.errors import ConfigError, DataError, note, shown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DataSet", "NotAvailable", "available", "provide", "test_set", "training_set"]

TABLE2, TABLE4, TABLE5 = (
    [str(name) for names in TEST[table]["images"].values() for name in names]
    for table in ("table2", "table4", "table5")
)
STAND_IN = "bundled stand-in data (scikit-image photographs)"
PAIR = ("clean", "degraded")  # the folders of a folder of pairs
BUNDLED_TESTS = {"bundled": bundled.TEST, "bundled_validation": bundled.VALIDATION}
KNOWN = {
    "training": {*TRAINING, "bundled"},
    "test": {*TEST, *BUNDLED_TESTS},
    "any": {*TRAINING, *TEST, *BUNDLED_TESTS},
}


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


def training_set(
    name: str,
    *,
    mode: str,
    root: str | os.PathLike | None = None,
    download: bool = True,
    white: int | None = None,
    pairs: int | None = None,
) -> DataSet:
    """A training set: ``bsd300``, ``bsd400``, ``div2k``, ``bundled`` or a folder's path.

    Args:
        name: which; with a slash it is the path of a folder, all of whose images are taken.
        mode: ``"rgb"``, ``"grey"`` or ``"luma"``, as in :func:`asyrepro.data.images.read_image`.
        root: folder to look in instead of ``ASYREPRO_DATA``, and to download to instead of
            ``data/``.
        download: whether to download what is not found.
        white: the value of white in the files of a folder, as 4095 for 12 bits stored in 16.
        pairs: for a folder of pairs, label pixels per pixel of the degraded image, a side; see
            :func:`_paired`.

    Raises:
        ConfigError: no such data set or mode.
        NotAvailable: it is neither present nor downloadable.
        DataError: a folder is incomplete or an image damaged.
    """
    return _load("training", name, mode, root, download, white, pairs)


def test_set(
    name: str,
    *,
    mode: str,
    root: str | os.PathLike | None = None,
    download: bool = True,
    white: int | None = None,
    pairs: int | None = None,
) -> DataSet:
    """A test set: ``set5``, ``set12``, ``set14``, ``bsd68``, ``table2`` ... ``table5``,
    ``validation``, ``bsd300`` (all 100 test images), ``div2k_valid``, ``bundled``,
    ``bundled_validation`` or a folder's path. Arguments and errors as for :func:`training_set`.
    """
    return _load("test", name, mode, root, download, white, pairs)


test_set.__test__ = False  # for pytest: a function of the library, not a test


def check_names(training: str, tests: Iterable[str]) -> None:
    """ConfigError unless there is a training set and there are test sets of these names.

    Whether a folder is there is not looked at: a trained network can do without its images.
    """
    _check_known("training", training)
    called: dict[str, str] = {}
    for name in tests:
        _check_known("test", name)
        if not is_folder(name):
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
    if found in {*KNOWN["any"], ""}:
        raise ConfigError(
            f"the images of {shown(name)} would pass for the data set {found!r}: give it "
            "another name, or make a link with one"
        )
    return found


def available(name: str, root: str | os.PathLike | None = None) -> str | None:
    """Where a data set's files are, without downloading; None if they are not all there."""
    if is_folder(name):
        return str(_path(name)) if os.path.isdir(_path(name)) else None
    if name in BUNDLED_TESTS:
        where = bundled.folder()
        return str(where) if where and where.is_dir() else None
    found = [sources.find(folder, files, root)[0] for folder, files in _all_selections(name)]
    return None if None in found else " and ".join(dict.fromkeys(map(str, found)))


def provide(name: str, root: str | os.PathLike | None = None) -> str:
    """Download what is missing of a data set, and say where it is. Errors as training_set's."""
    if is_folder(name):
        _own_files(name)
        return str(_path(name))
    if name in BUNDLED_TESTS:
        bundled.read_regions({**bundled.TRAINING, **bundled.TEST, **bundled.VALIDATION}, "rgb")
        return str(bundled.folder())
    found = [
        sources.locate(name, folder, files, root, True) for folder, files in _all_selections(name)
    ]
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
        return _fingerprint((_named(file, name), download.file_digest(file)) for file in files)
    _check_known(kind, name)
    if name in BUNDLED_TESTS:
        return bundled.read_regions(_regions(kind, name), "grey")[1] if available(name) else None
    digests = []
    for folder, files in _selections(kind, name):
        where, _ = sources.find(folder, files, root)
        if where is None:
            return None
        digests += [(file, download.file_digest(where / file)) for file in files]
    return _fingerprint(digests)


def listing(root: str | os.PathLike | None = None) -> str:
    """A table for people: each data set, where it is found, its size, sources and terms."""
    lines = []
    for name in dict.fromkeys([*TRAINING, *TEST]):
        titles = [sets[name]["title"] for sets in (TRAINING, TEST) if name in sets]
        keys = {key for sets in (TRAINING, TEST) for key in sets.get(name, {}).get("images", ())}
        folders = [FOLDERS[key] for key in FOLDERS if key in keys]
        lines.append(f"{name}: {'; '.join(titles)}")
        lines.append(f"    found:  {available(name, root) or 'not here'}")
        for url in dict.fromkeys(source.url for folder in folders for source in folder.sources):
            lines.append(f"    source: {url}")
        lines.append(f"    terms:  {folders[0].terms}")
        lines.append(f"    size:   {sum(folder.megabytes for folder in folders):,.1f} MB of images")
    lines.append(f"bundled: {STAND_IN}")
    lines.append(f"    found:  {available('bundled') or 'not here'}")
    lines.append("    source: the scikit-image package")
    return "\n".join(lines)


# --------------------------------------------------------------------------------------- loading


def _check_known(kind: str, name: str) -> None:
    """ConfigError unless there is a set of this kind, one of KNOWN, or it is a folder."""
    known = sorted(KNOWN[kind])
    if is_folder(name) or name in known:
        return
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"unknown data set {name!r}: {hint}known here are {', '.join(known)}; a folder of images "
        "is named by its path, with a slash"
    )


def _selections(kind: str, name: str) -> list[tuple[Folder, list[str]]]:
    """The folders and files of a declared set, in order."""
    chosen = []
    for key, names in (TRAINING if kind == "training" else TEST)[name]["images"].items():
        stems = {Path(file).stem: file for file in FOLDERS[key].files}
        names = stems if names == "all" else map(str, names)
        chosen.append((FOLDERS[key], [stems[name] for name in names]))
    return chosen


def _all_selections(name: str) -> list[tuple[Folder, list[str]]]:
    """All files that go by a name: bsd300 is a training set and a test set."""
    _check_known("any", name)
    kinds = [kind for kind, sets in (("training", TRAINING), ("test", TEST)) if name in sets]
    return [selection for kind in kinds for selection in _selections(kind, name)]


def _regions(kind: str, name: str) -> dict[str, tuple]:
    return bundled.TRAINING if kind == "training" else BUNDLED_TESTS[name]


def _load(
    kind: str,
    name: str,
    mode: str,
    root: str | os.PathLike | None,
    download: bool,
    white: int | None,
    pairs: int | None,
) -> DataSet:
    images.check_mode(mode)
    _check_known(kind, name)
    if is_folder(name):
        return _own(name, mode, white, pairs)
    if pairs:
        raise ConfigError(
            f"{name} has no pairs: name a folder that holds {PAIR[0]}/ and {PAIR[1]}/"
        )
    if name in BUNDLED_TESTS:
        regions = _regions(kind, name)
        pixels, digest = bundled.read_regions(regions, mode)
        return DataSet(name, STAND_IN, list(regions), pixels, True, digest)
    declared = (TRAINING if kind == "training" else TEST)[name]
    paths, expected = [], []
    for folder, files in _selections(kind, name):
        where = sources.locate(name, folder, files, root, download)
        paths += [where / file for file in files]
        expected += [folder.files[file] for file in files]
    if declared.get("mapped"):
        into = sources.target(root) / "cache"
        pixels, digests = cached_images(paths, mode, into, f"{name}-{mode}")
    else:
        read = _read(paths, mode)
        pixels, digests = [each.image for each in read], [each.sha256 for each in read]
    other = [p for p, d, e in zip(paths, digests, expected, strict=True) if e not in ("", d)]
    if other:
        warnings.warn(
            f"{len(other)} of {len(paths)} files of {name} are not the published ones "
            f"({shown(other[0])}, ...): results are not comparable with others",
            stacklevel=3,
        )
    found = _fingerprint((p.name, d) for p, d in zip(paths, digests, strict=True))
    return DataSet(name, declared["title"], [p.stem for p in paths], pixels, False, found)


def _own(name: str, mode: str, white: int | None, pairs: int | None) -> DataSet:
    """All images of a folder; those whose names differ in their endings only keep these."""
    called, paths = short(name), _own_files(name, pairs is not None)
    read = _read(paths, mode, white)
    if pairs is None:
        _tell(_path(name), paths, read)
    else:
        return _paired(called, _path(name), paths, read, pairs)
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in paths]
    found = _fingerprint((p.name, each.sha256) for p, each in zip(paths, read, strict=True))
    pixels = [each.image for each in read]
    return DataSet(called, f"{called} ({len(paths)} images)", names, pixels, False, found)


def _paired(
    called: str, folder: Path, paths: list[Path], read: list[images.Read], scale: int
) -> DataSet:
    """Images (2C, H, W): a label, and below it its degraded image with each pixel repeated.

    Raises:
        DataError: an image has no partner of its name, or their sizes do not fit the scale.
    """
    import torch

    half, names, pixels = len(paths) // 2, [], []
    for part in PAIR:
        own = [(p, each) for p, each in zip(paths, read, strict=True) if p.parent.name == part]
        _tell(folder / part, *map(list, zip(*own, strict=True)))
    for path, label, degraded in zip(paths, read[:half], read[half:], strict=False):
        large, small = label.image.shape, degraded.image.shape
        if tuple(scale * side for side in small[1:]) != tuple(large[1:]):
            raise DataError(
                f"{shown(path)} has {large[1]} x {large[2]} pixels and its degraded image "
                f"{small[1]} x {small[2]}: with task.scale={scale} they must be "
                f"{scale} to 1" + " (equal)" * (scale == 1)
            )
        repeated = degraded.image.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        pixels.append(torch.cat([label.image, repeated]))
        names.append(path.stem)
    found = _fingerprint(
        (_named(p, folder), each.sha256) for p, each in zip(paths, read, strict=True)
    )
    return DataSet(called, f"{called} ({len(names)} pairs)", names, pixels, False, found)


def _tell(folder: Path, paths: list[Path], read: list[images.Read]) -> None:
    """Print what is left out of a folder and of its images, each kind once."""
    if left := images.left_out(folder):
        note(f"left out of {shown(folder)}: {left}")
    kinds: dict[str, list[str]] = {}
    for path, each in zip(paths, read, strict=True):
        for kind in each.notes:
            kinds.setdefault(kind, []).append(shown(path.name))
    for kind, files in kinds.items():
        some = ", ".join(files[:3]) + ", ..." * (len(files) > 3)
        note(f"{len(files)} of {len(paths)} files of {shown(folder)} ({some}): {kind}")


def _own_files(name: str, pairs: bool | None = None) -> list[Path]:
    """The images of a folder, of pairs the clean ones and then their partners in this order.

    ``pairs``: whether it is to hold pairs; None: if it looks so.

    Raises:
        DataError: there are none, one has no partner, or a name could not stand in a table.
    """
    parts = [_path(name) / part for part in PAIR]
    if pairs or (pairs is None and all(map(os.path.isdir, parts))):
        if os.path.isdir(_path(name)) and not all(map(os.path.isdir, parts)):
            raise DataError(f"{shown(name)} must hold two folders, {PAIR[0]}/ and {PAIR[1]}/")
        clean, degraded = ({path.stem: path for path in images.list_images(p)} for p in parts)
        if alone := sorted(clean.keys() ^ degraded.keys()):
            raise DataError(
                f"{len(alone)} images of {shown(name)} have no partner of their name in the other "
                f"folder ({shown(alone[0])}, ...)"
            )
        found = [*clean.values(), *(degraded[stem] for stem in clean)]
    else:
        found = images.list_images(_path(name))
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{shown(path)}: the file's name is not UTF-8, as the rows are: rename it"
            ) from None
    return found


def _named(file: Path, folder: str | Path) -> str:
    """A file's name in a fingerprint: its path in its folder."""
    return file.relative_to(_path(folder)).as_posix()


def _path(name: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(name)))


def _read(paths: list[Path], mode: str, white: int | None = None) -> list[images.Read]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: images.read(path, mode, white), paths))


def _fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    """:attr:`DataSet.fingerprint` of (file name, SHA-256) pairs."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()
