"""Restore a picture, or a folder of pictures, into files.

``options`` are those of ``asyrepro restore``, :class:`asyrepro.commands.restore.Options`.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from asyrepro.data import decoding, images
from asyrepro.data.decoding import Picture
from asyrepro.degradation import check_sigma
from asyrepro.restoration import pictures, restoring
from asyrepro.system import devices, files
from asyrepro.system.errors import ConfigError, StorageError, UserError, reaching, say, shown
from asyrepro.system.progress import bar
from asyrepro.tasks import Denoising, SuperResolution, Task

TASKS = {"denoise": Denoising, "upsample": SuperResolution}


def restore_all(
    jobs: list[tuple[Path, Path]], network: nn.Module, task: Task, options, device
) -> int:
    """Restore every picture of a plan; returns the number of those that failed.

    Raises:
        UserError: the only picture cannot be restored, or the results cannot be written.
    """
    if any(pictures.WRITTEN.get(target.suffix.lower()) is pictures.JPEG for _, target in jobs):
        say("note: JPEG is lossy, even at quality 95; format=png keeps every value")
    failed = 0
    many = Path(options.input).is_dir()
    if many and (left := images.left_out(options.input, options.recursive)):
        say(f"note: left out of {shown(options.input)}: {left}")
    titles = {"unit": "picture", "disable": None if options.progress and many else True}
    for source, target in bar(jobs, **titles):
        try:
            with reaching():
                done = _restore(source, target, network, task, options, device)
        except UserError as error:
            if not many or isinstance(error, StorageError):  # which all pictures would meet
                raise
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
        else:
            tqdm.write(done)
    if failed:
        print(f"{failed} of {len(jobs)} pictures could not be restored", file=sys.stderr)
    return failed


def _restore(source: Path, target: Path, network: nn.Module, task: Task, options, device) -> str:
    """Restore one picture into one file; returns what was done, in a line."""
    if target.exists() and not options.overwrite:
        return f"{shown(target)} exists and is left as it is; overwrite=true replaces it"
    ending = target.suffix.lower()
    data = decoding.read_bytes(source)
    pages = decoding.decode(data, source, every=ending in pictures.PAGED)
    for picture in pages:
        pictures.fitted(picture, ending)  # before the work, so that nothing is lost by it
        if options.white:
            images.check_white(picture, options.white, source)
    tasks = [_with_sigma(task, options, picture.pixels) for picture in pages]
    with devices.memory(
        f"{shown(source)} does not fit into the free memory of {devices.name_of(device)}; tile= "
        "with a smaller side needs less"
    ):
        restored = [
            restoring.restore(
                picture.pixels,
                network,
                told,
                white=options.white,
                tile=options.tile,
                ensemble=options.ensemble,
                device=device,
                progress=source.name if options.progress else None,
            )
            for picture, told in zip(pages, tasks, strict=True)
        ]
    done = [
        pictures.fitted(picture._replace(pixels=pixels), ending)
        for picture, pixels in zip(pages, restored, strict=True)
    ]
    files.write_bytes(target, pictures.encode(done, ending))
    height, width = restored[0].shape[:2]
    several = f"{len(pages)} pages of " * (len(pages) > 1)
    notes = [f"{shown(source)} -> {shown(target)}, {several}{width} x {height} pixels"]
    if isinstance(task, Denoising):
        notes.append(_about_sigma(task, options, tasks))
    for picture, read in zip(done, pages, strict=True):
        notes += [*picture.notes, *decoding.unused_range(read.pixels, options.white)]
    notes += [f"{what} left out" for what in decoding.besides(data, source)]
    if options.preview:
        notes.append(_write_preview(target, pages[0].pixels, restored[0], options))
    return "; ".join(filter(None, dict.fromkeys(notes)))


def _write_preview(target: Path, pixels: np.ndarray, restored: np.ndarray, options) -> str:
    """Write input and result side by side; returns a note if there is such a file already."""
    beside = _preview_of(target)
    if beside.exists() and not options.overwrite:
        return f"{shown(beside)} exists and is left as it is"
    shot = Picture(restoring.preview(pixels, restored, white=options.white))
    files.write_bytes(beside, pictures.encode([shot], ".png"))
    return ""


def _with_sigma(task: Task, options, pixels: np.ndarray) -> Task:
    """A denoiser's task with the noise level of one picture, estimated unless it was given."""
    if not isinstance(task, Denoising):
        return task
    sigma = options.sigma
    if sigma is None:
        sigma = restoring.estimated_sigma(pixels, options.white)
    told = copy.copy(task)
    told.sigma = check_sigma(sigma)
    return told


def _about_sigma(task: Denoising, options, told: list[Denoising]) -> str:
    """The noise levels of a picture's pages, and what the network makes of them."""
    levels = sorted(page.sigma for page in told)
    if options.sigma is not None:
        note = f"sigma {options.sigma:g} (given)"
    else:
        note = " to ".join(dict.fromkeys(f"{level:.1f}" for level in (levels[0], levels[-1])))
        note = f"sigma {note} (estimated)"
    if all(task.lowest <= round(level, 1) <= task.highest for level in levels):
        return note
    if task.noise_map:
        return f"{note}; the network is told so, but was trained with {_trained(task)} only"
    return f"{note}; the network removes what it was trained with, sigma {_trained(task)}"


def _trained(task: Denoising) -> str:
    """The noise levels that a network was trained with: ``25`` or ``0 to 55``."""
    return " to ".join(dict.fromkeys(f"{level:g}" for level in (task.lowest, task.highest)))


def plan(options) -> list[tuple[Path, Path]]:
    """Every picture, and the file that its result goes to."""
    source = Path(options.input)
    if source.is_dir():
        named = source if source.name not in ("", "..") else source.resolve()
        target = Path(options.output or f"{named}-restored")
        if target.is_file() or (target.suffix.lower() in images.ENDINGS and not target.is_dir()):
            raise ConfigError(f"{shown(source)} is a folder: output= must name a folder too")
        found = images.list_images(source, options.recursive)
        jobs = [(path, target / _named(path.relative_to(source), options)) for path in found]
        jobs = [job for job in jobs if target == source or target not in job[0].parents]
    elif options.output is None:
        kept = _named(Path(source.name), options)
        jobs = [(source, source.with_name(f"{Path(source.name).stem}-restored{kept.suffix}"))]
    elif (ending := Path(options.output).suffix.lower()) in pictures.WRITTEN:
        if options.format and pictures.WRITTEN[ending] != pictures.WRITTEN[f".{options.format}"]:
            raise ConfigError(f"output={options.output} and format={options.format} do not agree")
        jobs = [(source, Path(options.output))]
    elif _looks_like_a_picture(options.output):
        raise ConfigError(
            f"output={options.output} is no folder, and pictures are written as "
            f"{', '.join(pictures.WRITTEN)}, not as {ending}"
        )
    else:
        jobs = [(source, Path(options.output) / _named(Path(source.name), options))]
    for path, result in jobs:
        if result.resolve() == path.resolve():
            raise ConfigError(f"{shown(path)} would be replaced by its result: choose output=")
    _check_written(jobs, options.preview)
    return jobs


def _looks_like_a_picture(output: str) -> bool:
    """Whether it ends as a file does, as ``t.xyz``, but not ``v1.5``, and is no folder."""
    ending = Path(output).suffix[1:]
    named = ending.isalnum() and not ending.isdigit()
    return named and not output.endswith("/") and not Path(output).is_dir()


def _check_written(jobs: list[tuple[Path, Path]], preview: bool) -> None:
    """ConfigError if two files that would be written are one, or one is a picture to restore."""
    taken = {path.resolve(): f"the picture {shown(path)}" for path, _ in jobs}
    for path, result in jobs:
        for written in [result, _preview_of(result)] if preview else [result]:
            place = written.resolve()
            if place in taken:
                raise ConfigError(
                    f"what becomes of {shown(path)} and {taken[place]} would be the same file, "
                    f"{shown(written)}: rename one of them"
                )
            taken[place] = f"of {shown(path)}"


def _preview_of(result: Path) -> Path:
    """a-preview.png of a.png, and of others, which may lie beside it, a.jpg-preview.png."""
    return result.with_name(f"{result.name.removesuffix('.png')}-preview.png")


def _named(name: Path, options) -> Path:
    """A file's name with the ending of ``format=``, if that is given.

    Else it stays if its format can be written, or has .png appended.
    """
    if options.format:
        return name.with_suffix(f".{options.format}")
    return name if name.suffix.lower() in pictures.WRITTEN else name.with_name(f"{name.name}.png")


def check(options, task: Task) -> None:
    """Raise ConfigError unless the settings fit the checkpoint's task."""
    if options.task and not isinstance(task, TASKS[options.task]):
        raise ConfigError(f"{options.checkpoint} cannot {options.task}: {purpose(task)}")
    if options.sigma is None:
        return
    if not isinstance(task, Denoising):
        raise ConfigError(f"sigma= is for denoising; {options.checkpoint} {purpose(task)}")
    try:
        check_sigma(options.sigma)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def purpose(task: Task) -> str:
    if isinstance(task, Denoising):
        return f"denoises, trained with sigma {_trained(task)}"
    return f"upsamples {task.scale} times" if task.scale > 1 else f"restores {task.baseline} images"
