"""Feed damaged files to the readers of images and checkpoints: python scripts/fuzz.py --minutes 10

Small valid files of every kind are damaged at random: bits flipped, bytes cut out, doubled or
moved from one file to another, lengths made huge; in half of the PNG files and checkpoints the
checksums are put right again, so that the damage reaches what lies behind them. Every file must be
read, or refused by a DataError or CheckpointError.

Anything else ends the run with exit status 1 and leaves the file in the working directory: another
exception, the end of the process, more than 2 GB of memory, or more than 20 seconds of processor
time for one file.
The files of one --seed are the same in every run.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import multiprocessing
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image

from asyrepro.data import decoding, images
from asyrepro.models import SRCNN, DnCNN
from asyrepro.restoration import pictures
from asyrepro.runs import parts
from asyrepro.system.errors import CheckpointError, DataError
from asyrepro.training import checkpoint, foreign

SECONDS = 20.0  # of processor time for one file
WAITING = 1200.0  # seconds by the clock, after which a file is taken to wait for ever
MEMORY = 2 << 30  # bytes, beyond what the program itself takes
EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)


# --------------------------------------------------------------------------------- valid files


def image_files() -> list[bytes]:
    """Small images of every format, type and compression that the reader takes."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (24, 20, 4), dtype=np.uint8)
    smooth = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    rgba, rgb = Image.fromarray(noise), Image.fromarray(smooth)
    grey, palette = rgb.convert("L"), rgb.quantize(17)
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    cmyk, binary = rgb.convert("CMYK"), grey.convert("1")
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}

    def saved(image: Image.Image, kind: str, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    pngs = [saved(i, "PNG") for i in (rgb, rgba, grey, grey.convert("LA"), palette, deep, binary)]
    pngs += [saved(palette, "PNG", transparency=3), saved(rgb, "PNG", exif=exif)]
    pngs += [saved(rgb, "PNG", **frames), _deep_png(noise)]
    jpegs = [saved(i, "JPEG", quality=90) for i in (rgb, grey, cmyk)]
    jpegs += [saved(rgb, "JPEG", progressive=True), saved(rgb, "JPEG", exif=exif)]
    compressions = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    tiffs = [saved(rgb, "TIFF", compression=kind) for kind in compressions]
    tiffs += [saved(binary, "TIFF", compression="group4"), saved(rgb, "TIFF", **frames)]
    tiffs += [saved(i, "TIFF") for i in (rgba, grey, deep, cmyk, palette, rgb.convert("LAB"))]
    tiffs += [pictures.encode([decoding.Picture(noise.astype(np.uint16) * 257)], ".tif")]
    others = [saved(i, "BMP") for i in (rgb, grey, palette, binary)]
    others += [saved(palette, "GIF"), saved(rgb, "GIF", **frames)]
    others += [saved(rgb, "WEBP"), saved(rgba, "WEBP", lossless=True), saved(rgb, "WEBP", **frames)]
    others += [saved(i, "PPM") for i in (rgb, grey, binary, deep)]
    return pngs + jpegs + tiffs + others


def _deep_png(noise: np.ndarray) -> bytes:
    return pictures.encode([decoding.Picture(noise.astype(np.uint16) * 257)], ".png")


def checkpoint_files() -> list[bytes]:
    """Trained weights of two small networks, and a run's checkpoint."""

    def saved(state: dict) -> bytes:
        file = io.BytesIO()
        torch.save({"format": checkpoint.FORMAT, **state}, file)
        return file.getvalue()

    def config(network: dict, task: dict) -> str:
        common = {"dataset": {"name": "x"}, "loss": {"name": "mae"}, "seed": 0}
        model = {"name": "x", "network": network}
        rest = {"testset": None, "channels_last": True}
        return OmegaConf.to_yaml({"model": model, "task": task, **common, **rest})

    srcnn, dncnn = SRCNN((3, 1, 3), (4, 4)), DnCNN(3, 4)
    upsampling = config(
        {"_target_": "asyrepro.models.SRCNN", "kernels": [3, 1, 3], "channels": [4, 4]},
        {"_target_": "asyrepro.tasks.SuperResolution", "scale": 3, "mode": "luma"},
    )
    denoising = config(
        {"_target_": "asyrepro.models.DnCNN", "layers": 3, "channels": 4},
        {"_target_": "asyrepro.tasks.Denoising", "sigma": 25, "mode": "grey"},
    )
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)}
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "fused": True, "params": [0]}
    training = {"signature": "x", "step": 7, "history": [{"step": 7, "loss": 0.5, "val": None}]}
    training |= {"optimizer": {"state": {0: moments}, "param_groups": [group]}}
    training |= {"network": srcnn.state_dict()}
    return [
        saved({"network": srcnn.state_dict(), "config": upsampling}),
        saved({"network": dncnn.state_dict(), "config": denoising}),
        saved({**training, "random": torch.get_rng_state()}),
    ]


# -------------------------------------------------------------------------------------- damage


def damaged(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """``data`` after one to four accidents; some take bytes of ``other``."""
    content = bytearray(data)
    for _ in range(random.integers(1, 5)):
        if not content:
            break
        # Headers are short and decide much: every second accident happens there.
        end = len(content) if random.random() < 0.5 else min(len(content), 200)
        at = int(random.integers(end))
        length = int(min(2 ** random.uniform(0, 8), len(content) - at))
        accident = random.integers(7)
        if accident == 0:
            content[at] ^= 1 << int(random.integers(8))
        elif accident == 1:
            content[at : at + length] = random.bytes(length)
        elif accident == 2:  # a length or offset
            form = ("<H", ">H", "<I", ">I")[random.integers(4)]
            value = EDGES[random.integers(len(EDGES))] % (1 << 8 * struct.calcsize(form))
            content[at : at + struct.calcsize(form)] = struct.pack(form, value)
        elif accident == 3:
            del content[at : at + length]
        elif accident == 4:
            content[at:at] = content[at : at + length] * int(random.integers(1, 9))
        elif accident == 5:
            start = int(random.integers(len(other)))
            content[at : at + length] = other[start : start + length]
        elif random.random() < 0.3:
            del content[at:]
    return bytes(content)


def damaged_png(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One chunk of a PNG damaged, its pixels before they are compressed, all checksums right."""
    chunks = []
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    chosen = random.integers(len(chunks))
    for number, (kind, content) in enumerate(chunks):
        if number == chosen and kind == b"IDAT" and random.random() < 0.5:
            content = zlib.compress(damaged(zlib.decompress(content), other, random))
        elif number == chosen:
            content = damaged(content or b"\0", other, random)
        chunks[number] = (kind, content)
    if random.random() < 0.2:
        random.shuffle(chunks)
    return data[:8] + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def weights_files() -> list[bytes]:
    """Weights as other programs save them, in torch's format of today and of before."""
    weights = {f"module.{name}": value for name, value in DnCNN(3, 4).state_dict().items()}
    found = []
    for content, new in itertools.product(
        (weights, {"params": weights, "epoch": 3}), (True, False)
    ):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    return found


def damaged_zip(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One member of a checkpoint damaged, its checksum right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    pickled = next(name for name in names if name.endswith("data.pkl"))
    chosen = pickled if random.random() < 0.7 else names[random.integers(len(names))]
    members[chosen] = damaged(members[chosen] or b"\0", other, random)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def cases(seed: int) -> Iterator[tuple[str, bytes]]:
    """Kind and content of one damaged file after the other, without end."""
    random = np.random.default_rng(seed)
    valid = {"image": image_files(), "checkpoint": checkpoint_files(), "weights": weights_files()}
    for kind in itertools.cycle(("checkpoint", "image", "weights", "image")):
        first, second = (valid[kind][random.integers(len(valid[kind]))] for _ in range(2))
        change = damaged
        if random.random() < 0.5 and first.startswith(b"\x89PNG"):
            change = damaged_png
        elif random.random() < 0.5 and first.startswith(b"PK"):
            change = damaged_zip
        yield kind, change(first, second, random)


# ------------------------------------------------------------------------------------- reading


def read_image(path: Path) -> None:
    """All readers of images, one after the other; a DataError of one is raised at the end."""
    refused = None
    readers = [functools.partial(images.read_image, mode=mode) for mode in images.MODES]
    for reader in (*readers, decoding.count_pixels, decoding.read):
        try:
            reader(path)
        except DataError as error:
            refused = error
            _check_memory(error)
    if refused is not None:
        raise refused


def read_checkpoint(path: Path) -> None:
    """Weights, or where it is none a run's checkpoint."""
    try:
        parts.load(path)
    except CheckpointError as error:
        _check_memory(error)
        if "unfinished training" not in str(error):
            raise


def read_weights(path: Path) -> None:
    """Weights of any program."""
    try:
        foreign.state_dict(path)
    except CheckpointError as error:
        _check_memory(error)
        raise


READERS = {"image": read_image, "checkpoint": read_checkpoint, "weights": read_weights}


def _check_memory(error: BaseException | None) -> None:
    """Raise MemoryError if the readers have taken one for damage."""
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise MemoryError("too much memory was asked for") from error
        error = error.__cause__


def attempt(read: Callable[[Path], None], path: Path) -> str:
    """What becomes of a file: "read", the name of a documented error, or a whole traceback."""
    try:
        read(path)
    except (DataError, CheckpointError) as error:
        if "\n" in str(error):
            return f"Traceback of a message of several lines: {error}"
        return type(error).__name__
    except BaseException:
        return traceback.format_exc()
    return "read"


def work(seed: int, path: Path, pipe: Connection) -> None:
    """Try one case after the other; each is in the file ``path`` while it is being read."""
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)  # libtiff's and Pillow's remarks
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    limit = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2 * MEMORY
    )
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for kind, content in cases(seed):
        path.write_bytes(content)
        pipe.send(kind)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # whose SIGPROF ends this process
        outcome = attempt(READERS[kind], path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if used > MEMORY:
            outcome = f"Traceback of too much memory: {used / 1e9:.1f} GB"
        pipe.send(outcome)
        if outcome.startswith("Traceback"):
            return  # the file is to be kept


def _ending(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"more than {SECONDS:g} seconds of work"
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def fuzz(minutes: float, seed: int, most: float = float("inf")) -> int:
    """Run for so many minutes or cases; returns the exit status."""
    counts: Counter[tuple[str, str]] = Counter()
    ends = reported = time.monotonic()
    ends += 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case"
        pipe, other_end = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.get_context("fork").Process(
            target=work, args=(seed, path, other_end), daemon=True
        )
        worker.start()
        other_end.close()
        while time.monotonic() < ends and counts.total() < most:
            kind = "file"
            try:
                kind = pipe.recv()
                problem = outcome = pipe.recv() if pipe.poll(WAITING) else "Traceback: it waits"
            except EOFError:
                worker.join()
                problem = f"Traceback of a process that ended by {_ending(worker.exitcode)}"
            if problem.startswith("Traceback"):
                kept = Path(f"fuzz-{kind}-{seed}-{counts.total()}")
                kept.write_bytes(path.read_bytes())
                worker.kill()
                print(f"{kept} after {counts.total()} files: {problem}")
                return 1
            counts[kind, outcome] += 1
            if time.monotonic() - reported > 60:
                reported = time.monotonic()
                print(f"{counts.total():,} files, {(ends - reported) / 60:.0f} minutes left")
                sys.stdout.flush()
        worker.kill()
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:10}  {outcome:16}  {count:9,}")
    print(f"{counts.total():,} damaged files, none of which did harm (seed {seed})")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(fuzz(options.minutes, options.seed))
