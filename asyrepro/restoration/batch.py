"""Restore a picture, or a folder of pictures, into files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from asyrepro.data import images
from asyrepro.degradation import check_sigma
from asyrepro.restoration import pictures, restoring
from asyrepro.system import devices, files
from asyrepro.system.errors import (
    ConfigError,
    StorageError,
    UserError,
    reaching,
    say,
    shown,
)
from asyrepro.tasks import Denoising, SuperResolution, Task

TASKS = {"denoise": Denoising, "enlarge": SuperResolution}


class Options(Protocol):
    """What :class:`asyrepro.commands.restore.Options` says of each."""

    input: str
    checkpoint: str
    output: str | None
    task: str | None
    sigma: float | None
    tile: int | None
    recursive: bool
    overwrite: bool
    preview: bool
    progress: bool


def restore_all(
    jobs: list[tuple[Path, Path]], network: nn.Module, task: Task, options: Options, device
) -> int:
    """Restore every picture of a plan; returns the number of those that failed.

    Raises:
        UserError: the only picture cannot be restored, or the results cannot be written.
    """
    if any(target.suffix.lower() in (".jpg", ".jpeg") for _, target in jobs):
        say("note: JPEG is lossy, even at quality 95; output=NAME.png keeps every value")
    failed = 0
    many = Path(options.input).is_dir()
    for source, target in tqdm(
        jobs, unit="picture", disable=None if options.progress and many else True
    ):
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


def _restore(
    source: Path, target: Path, network: nn.Module, task: Task, options: Options, device
) -> str:
    """Restore one picture into one file; returns what was done, in a line."""
    if target.exists() and not options.overwrite:
        return f"{shown(target)} exists and is left as it is; overwrite=true replaces it"
    picture = pictures.read(source)
    pixels, ending = picture.pixels, target.suffix.lower()
    pictures.check(picture, ending)
    notes = []
    if isinstance(task, Denoising):
        task, note = _with_sigma(task, options.sigma, pixels)
        notes.append(note)
    if pixels.dtype == np.uint16 and ending not in pictures.DEEP:
        notes.append(f"16 bits reduced to the 8 of {ending} files")
    with devices.memory(
        f"{shown(source)} does not fit into the free memory of {devices.name_of(device)}; tile= "
        "with a smaller side needs less"
    ):
        restored = restoring.restore(
            pixels,
            network,
            task,
            tile=options.tile,
            device=device,
            progress=source.name if options.progress else None,
        )
    done = pictures.Picture(restored, picture.profile)
    files.write_bytes(target, pictures.encode(done, ending))
    beside = _preview_of(target)
    if options.preview and beside.exists() and not options.overwrite:
        notes.append(f"{shown(beside)} exists and is left as it is")
    elif options.preview:
        shot = pictures.Picture(restoring.preview(pixels, restored))
        files.write_bytes(beside, pictures.encode(shot, ".png"))
    height, width = restored.shape[:2]
    return "; ".join([f"{shown(source)} -> {shown(target)}, {width} x {height} pixels", *notes])


def _with_sigma(task: Denoising, sigma: float | None, pixels) -> tuple[Denoising, str]:
    """The task with the noise level of one picture, and how it was come by."""
    note = f"sigma {sigma:g} (given)" if sigma is not None else ""
    if sigma is None:
        sigma = restoring.estimated_sigma(pixels)
        note = f"sigma {sigma:.1f} (estimated)"
    if round(sigma, 1) != task.sigma and task.noise_map:
        note += f"; the network is told so, but was trained with {task.sigma:g} only"
    elif round(sigma, 1) != task.sigma:
        note += f"; the network removes what it was trained with, sigma {task.sigma:g}"
    return Denoising(sigma, task.mode, task.noise_map), note


def plan(options: Options) -> list[tuple[Path, Path]]:
    """Every picture, and the file that its result goes to."""
    source = Path(options.input)
    if source.is_dir():
        named = source if source.name not in ("", "..") else source.resolve()
        target = Path(options.output or f"{named}-restored")
        if target.is_file() or (target.suffix.lower() in images.ENDINGS and not target.is_dir()):
            raise ConfigError(f"{shown(source)} is a folder: output= must name a folder too")
        found = images.list_images(source, options.recursive)
        jobs = [(path, target / _kept(path.relative_to(source))) for path in found]
        jobs = [job for job in jobs if target == source or target not in job[0].parents]
    elif options.output is None:
        kept = _kept(Path(source.name))
        jobs = [(source, source.with_name(f"{Path(source.name).stem}-restored{kept.suffix}"))]
    elif Path(options.output).suffix.lower() in images.ENDINGS:
        pictures.check_ending(Path(options.output).suffix.lower())
        jobs = [(source, Path(options.output))]
    elif _looks_like_a_picture(options.output):
        raise ConfigError(
            f"output={options.output} is no folder, and {Path(options.output).suffix} no picture's "
            f"ending; here are {', '.join(sorted(pictures.WRITTEN))}"
        )
    else:
        jobs = [(source, Path(options.output) / _kept(Path(source.name)))]
    for path, result in jobs:
        if result.resolve() == path.resolve():
            raise ConfigError(f"{shown(path)} would be replaced by its result: choose output=")
    _check_written(jobs, options.preview)
    return jobs


def _looks_like_a_picture(output: str) -> bool:
    """Whether it ends as a file does, as ``t.xyz``, but not ``v1.5``, and is no folder."""
    letters = Path(output).suffix[1:].isalpha()
    return letters and not output.endswith("/") and not Path(output).is_dir()


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
    return result.with_name(f"{result.name}-preview.png")


def _kept(name: Path) -> Path:
    """A file's name if its format can be written, and else with .png appended."""
    return name if name.suffix.lower() in pictures.WRITTEN else name.with_name(f"{name.name}.png")


def check(options: Options, task: Task) -> None:
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
        return f"denoises, trained with sigma {task.sigma:g}"
    return f"enlarges {task.scale} times"
