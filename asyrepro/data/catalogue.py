"""The data sets: :func:`training_set` and :func:`test_set` find images by a set's name.

What there is stands in ``datasets.yaml``. A set asked for by name that is not available is a
:class:`NotAvailable` error that says what to download to where. Downloads are always checked. Local
copies are compared, file by file as they are read, with ``SHA256SUMS``, and a difference is a
warning: such images can still be used, but the results are not comparable. DIV2K has no list of its
800 files' sums; its archives are checked.

A name with a slash, such as ``~/Urban100`` or ``./mine``, is a folder of your own images.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from asyrepro.data import STAND_IN, bundled, download, images, own, sources
from asyrepro.data.cache import cached_images
from asyrepro.data.dataset import DataSet, fingerprint_of, read_all
from asyrepro.data.sources import FOLDERS, TEST, TRAINING, Folder
from asyrepro.data.sources import NotAvailable as NotAvailable  # which callers catch
from asyrepro.system.errors import ConfigError, DataError, shown
from asyrepro.system.options import no_such_choice

TABLE2, TABLE4, TABLE5 = (
    [str(name) for names in TEST[table]["images"].values() for name in names]
    for table in ("table2", "table4", "table5")
)
BUNDLED_TESTS = {"bundled": bundled.TEST, "bundled_validation": bundled.VALIDATION}
DECLARED = {"training": TRAINING, "test": TEST}
KNOWN = {
    "training": {*TRAINING, "bundled"},
    "test": {*TEST, *BUNDLED_TESTS},
    "any": {*TRAINING, *TEST, *BUNDLED_TESTS},
}


def training_set(name: str, **how) -> DataSet:
    """A training set: ``bsd300``, ``bsd400``, ``div2k``, ``bundled`` or a folder's path.

    Args:
        name: which; with a slash it is the path of a folder, all of whose images are taken.
        mode: ``"rgb"``, ``"grey"`` or ``"luma"``, as in :func:`asyrepro.data.images.read_image`.
        root: folder to look in instead of ``ASYREPRO_DATA``, and to download to instead of
            ``data/``.
        download: whether to download what is not found (True).
        white: the value of white in the files of a folder, as 4095 for 12 bits stored in 16.
        pairs: for a folder of pairs, label pixels per pixel of the degraded image, a side; see
            :mod:`asyrepro.data.own`.

    Raises:
        ConfigError: no such data set or mode.
        NotAvailable: it is neither present nor downloadable.
        DataError: a folder is incomplete or an image damaged.
    """
    return _load("training", name, **how)


def test_set(name: str, **how) -> DataSet:
    """A test set: ``set5``, ``set12``, ``set14``, ``bsd68``, ``table2`` ... ``table5``,
    ``validation``, ``bsd300`` (all 100 test images), ``bsd90`` (without the ten of validation),
    ``div2k_valid``, ``bundled``, ``bundled_validation`` or a folder's path. Arguments and errors
    as for :func:`training_set`.
    """
    return _load("test", name, **how)


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
        if own.path_of(other) != own.path_of(name):
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
    found = own.path_of(name).name
    if found in {*KNOWN["any"], ""}:
        raise ConfigError(
            f"the images of {shown(name)} would pass for the data set {found!r}: give it "
            "another name, or make a link with one"
        )
    return found


def available(name: str, root: str | os.PathLike | None = None) -> str | None:
    """Where a data set's files are, without downloading; None if they are not all there."""
    if is_folder(name):
        return str(own.path_of(name)) if os.path.isdir(own.path_of(name)) else None
    if name in BUNDLED_TESTS:
        where = bundled.folder()
        return str(where) if where and where.is_dir() else None
    found = [sources.find(folder, files, root) for folder, files in _all_selections(name)]
    return None if None in found else " and ".join(dict.fromkeys(map(str, found)))


def provide(name: str, root: str | os.PathLike | None = None) -> str:
    """Download what is missing of a data set, and say where it is. Errors as training_set's."""
    if is_folder(name):
        own.files_of(name)
        return str(own.path_of(name))
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
            files = own.files_of(name)
        except DataError:
            return None
        return fingerprint_of((own.named(file, name), download.file_digest(file)) for file in files)
    _check_known(kind, name)
    if name in BUNDLED_TESTS:
        return bundled.read_regions(_regions(kind, name), "grey")[1] if available(name) else None
    digests = []
    for folder, files in _selections(kind, name):
        where = sources.find(folder, files, root)
        if where is None:
            return None
        digests += [(file, download.file_digest(where / file)) for file in files]
    return fingerprint_of(digests)


def listing(root: str | os.PathLike | None = None) -> str:
    """A table for people: each data set, where it is found, its size, sources and terms."""
    lines = []
    for name in dict.fromkeys([*TRAINING, *TEST]):
        declared = [sets[name] for sets in DECLARED.values() if name in sets]
        titles = [each["title"] for each in declared]
        folders = [
            FOLDERS[key] for key in FOLDERS if any(key in each["images"] for each in declared)
        ]
        lines.append(f"{name}: {'; '.join(titles)}")
        lines.append(f"    found:  {available(name, root) or 'not here'}")
        for url in dict.fromkeys(source.url for folder in folders for source in folder.sources):
            lines.append(f"    source: {url}")
        lines.append(f"    terms:  {folders[0].terms}")
        lines.append(f"    size:   {sum(folder.megabytes for folder in folders):,.1f} MB of images")
    lines.append(f"bundled: {STAND_IN}")
    lines.append(f"    found:  {available('bundled') or 'not here'}")
    lines.append("    source: photographs in the scikit-image package")
    return "\n".join(lines)


# --------------------------------------------------------------------------------------- loading


def _check_known(kind: str, name: str) -> None:
    """ConfigError unless there is a set of this kind, one of KNOWN, or it is a folder."""
    known = sorted(KNOWN[kind])
    if not is_folder(name) and name not in known:
        refusal = no_such_choice("data set", str(name), known)
        raise ConfigError(f"{refusal}; a folder of images is named by its path, with a slash")


def _selections(kind: str, name: str) -> list[tuple[Folder, list[str]]]:
    """The folders and files of a declared set, in order."""
    chosen, declared = [], DECLARED[kind][name]
    left_out = TEST[declared["without"]]["images"] if "without" in declared else {}
    for key, names in declared["images"].items():
        stems = {Path(file).stem: file for file in FOLDERS[key].files}
        names = stems if names == "all" else map(str, names)
        without = {*map(str, left_out.get(key, ()))}
        chosen.append((FOLDERS[key], [stems[name] for name in names if name not in without]))
    return chosen


def _all_selections(name: str) -> list[tuple[Folder, list[str]]]:
    """All files that go by a name: bsd300 is a training set and a test set."""
    _check_known("any", name)
    kinds = [kind for kind, sets in DECLARED.items() if name in sets]
    return [selection for kind in kinds for selection in _selections(kind, name)]


def _regions(kind: str, name: str) -> dict[str, tuple]:
    return bundled.TRAINING if kind == "training" else BUNDLED_TESTS[name]


def _load(
    kind: str,
    name: str,
    *,
    mode: str,
    root: str | os.PathLike | None = None,
    download: bool = True,
    white: int | None = None,
    pairs: int | None = None,
) -> DataSet:
    images.check_mode(mode)
    _check_known(kind, name)
    if is_folder(name):
        return own.load(name, short(name), mode, white, pairs)
    if pairs:
        raise ConfigError(
            f"{name} has no pairs: name a folder of {own.PAIR[0]}/ and {own.PAIR[1]}/"
        )
    if name in BUNDLED_TESTS:
        regions = _regions(kind, name)
        pixels, digest = bundled.read_regions(regions, mode)
        return DataSet(name, STAND_IN, list(regions), pixels, True, digest)
    declared, paths, expected = DECLARED[kind][name], [], []
    for folder, files in _selections(kind, name):
        where = sources.locate(name, folder, files, root, download)
        paths += [where / file for file in files]
        expected += [folder.files[file] for file in files]
    if declared.get("mapped"):
        into = sources.target(root) / "cache"
        pixels, digests = cached_images(paths, mode, into, f"{name}-{mode}")
    else:
        pixels, digests, _ = map(list, zip(*read_all(paths, mode), strict=True))
    other = [p for p, d, e in zip(paths, digests, expected, strict=True) if e not in ("", d)]
    if other:
        warnings.warn(
            f"{len(other)} of {len(paths)} files of {name} are not the published ones "
            f"({shown(other[0])}, ...): results are not comparable with others",
            stacklevel=3,
        )
    found = fingerprint_of((p.name, d) for p, d in zip(paths, digests, strict=True))
    return DataSet(name, declared["title"], [p.stem for p in paths], pixels, False, found)
