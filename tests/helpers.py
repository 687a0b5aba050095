"""What several test files need: commands, refusals, small runs, images, archives, studies."""

import io
import itertools
import os
import re
import shlex
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
import zlib
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from PIL import Image, ImageCms
from torch import nn

from asyrepro.__main__ import main
from asyrepro.data import bundled, catalogue
from asyrepro.models import DnCNN
from asyrepro.paper import tables
from asyrepro.report import study as report
from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.training import checkpoint
from asyrepro.training.loop import HISTORY, Trainer

ROOT = Path(__file__).parents[1]
REAL = os.environ.get("ASYREPRO_DATA")  # before any test changes it
needs_data = pytest.mark.skipif(not REAL, reason="needs real data sets: set ASYREPRO_DATA")

# -- commands and refusals


class Said(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def door(*words) -> int:
    """``asyrepro WORDS ...`` in this process: its exit status."""
    return main([str(word) for word in words])


def call(*words) -> Said:
    """The same, with what it printed."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = door(*words)
    return Said(status, out.getvalue(), err.getvalue())


def spawn(*words, folder=None, **environment) -> Said:
    """``asyrepro WORDS ...`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "asyrepro", *map(str, words)],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def assert_names(text, *names):
    """Assert that a message is one line that has these names."""
    assert "\n" not in text.removesuffix("\n"), text
    for name in names:
        assert str(name) in text, (name, text)


def assert_refused(said, *names):
    """Assert that a command ended with status 2 and one line that has these names."""
    assert said.status == 2, said
    assert said.err.startswith("error: "), said.err
    assert_names(said.err, *names)


@contextmanager
def refuses(error, *names):
    """Within this, an error of this type is raised, whose one line has these names."""
    with pytest.raises(error) as caught:
        yield caught
    assert_names(str(caught.value), *names)


# -- small runs

TINY = [
    "profile=smoke", "dataset=bundled", "recipe.steps=2", "recipe.batch=1", "study=tiny",
    "recipe.validate_every=0", "runtime.progress=false", "runtime.device=cpu",
    "runtime.download=false",
]  # fmt: skip
SRCNN = ["experiment=table2_srcnn", "model.network.channels=[4,3]"]
DNCNN = ["experiment=table4_dncnn", "model.network.layers=3", "model.network.channels=4"]


@contextmanager
def small_images():
    """The stand-in images cut down to what takes no time: one to train on, two to test on."""
    camera, grass = ("camera.png", 216, 240, 136, 136), ("grass.png", 144, 144, 132, 130)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "TRAINING", {"coat": ("camera.png", 0, 272, 64, 64)})
        for name in catalogue.BUNDLED_TESTS:
            patch.setitem(catalogue.BUNDLED_TESTS, name, {"tripod": camera, "grass": grass})
        report._test_set.cache_clear()
        yield
    report._test_set.cache_clear()


def configured(root, *overrides):
    """The configuration of a tiny run whose results lie below ``root``."""
    return config.compose([*TINY, f"results={root}", *overrides])


def train(root, *overrides, folder=None):
    """Carry out a tiny run, in the folder that its settings name or in this one: its Run."""
    cfg = configured(root, *overrides)
    run = Run(folder) if folder else Run.of(cfg)
    carry_out(resolve(cfg, run), run)
    return run


# -- what pages tell to run

LAUNCHERS = ("asyrepro", "make", "python", "torchrun", "while", "srun")


def commands(text):
    """The words of every ``asyrepro ...`` and ``make ...`` in a Markdown page's blocks of code."""
    found, fenced = [], False
    for line in text.replace("\\\n", " ").splitlines():
        fenced ^= line.startswith("```")
        if not (fenced or line.startswith("    ")):
            continue
        line = re.sub(r"^([A-Z_]+=\S+ )+", "", line.strip()).partition("; ")[0]
        if line.startswith(LAUNCHERS):
            words = shlex.split(line, comments=True)
            starts = [i for i, word in enumerate(words) if word in ("asyrepro", "make")]
            found += [words[starts[0] :]] if starts else []
    return found


# -- images and files


def picture(height=12, width=20, channels=3, seed=0):
    """Random pixels, (H, W, C) or (H, W)."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


SIZES = {"grey": 1, "grey and alpha": 2, "rgb": 3, "rgb and alpha": 4}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def random_pixels(channels, dtype=np.uint8, height=11, width=14):
    """Random pixels (H, W, C) of 8 or 16 bits."""
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(0).integers(0, top, (height, width, channels), dtype=dtype)


def noisy_photograph(sigma=25, colours=3):
    """A photograph (128, 128, C) as floats, and with noise in 8 bits."""
    clean = skimage.data.astronaut()[:128, 150:278, :colours].astype(float)
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def blur():
    """A denoiser made by hand: what it takes for noise is the image less its local mean."""
    network = DnCNN(2, 1)
    with torch.no_grad():
        network.first.weight.zero_()[..., 1, 1] = 1
        network.last.weight.fill_(-1 / 9)[..., 1, 1] += 1
    return network.eval()


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, pixels, depth=8, colour=2):
    """A PNG file made by hand, from the rows' bytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def picture_bytes(value, kind="PNG", size=(6, 4)):
    file = io.BytesIO()
    Image.new("RGB", size, (value % 256, value // 256 % 256, value // 65536)).save(file, kind)
    return file.getvalue()


def number(image):
    """What ``picture_bytes`` was given, of the RGB tensor."""
    return int(image[0, 0, 0]) + 256 * int(image[1, 0, 0]) + 65536 * int(image[2, 0, 0])


def fill(folder, files):
    """Tiny pictures under the right names; each one's colour is its file's number."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        stem = file.split(".")[0]
        (folder / file).write_bytes(picture_bytes(int(stem) if stem.isdigit() else 0))


# -- archives and a server


class Server:
    """Answers GET from `answers` (path -> function of the handler) and keeps a log of requests."""

    def __init__(self, stack):
        self.answers, self.log = {}, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.log.append((self.path, self.headers.get("Range")))
                server.answers.get(self.path, not_found)(self)

            def log_message(self, *arguments):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        stack.enter_context(http)
        stack.callback(http.shutdown)
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{http.server_port}"


def send(handler, status, body, sent=None, **headers):
    """An answer that claims `body` and sends the first `sent` bytes of it."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body[:sent])


def not_found(handler):
    send(handler, 404, b"not here")


def whole(body, sent=None):
    return lambda handler: send(handler, 200, body, sent)


def tar(path, *members, mode="w:gz"):
    """A tar of (name, bytes) and of (name, type, linkname) members."""
    with tarfile.open(path, mode) as file:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if isinstance(rest[0], bytes) and len(rest) == 1:
                info.size = len(rest[0])
                file.addfile(info, io.BytesIO(rest[0]))
            else:
                info.type, info.linkname = rest
                file.addfile(info)
    return path


def zipped(path, *members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def files_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


# -- the paper's equations


def reference_mask(
    labels, grey=True, mask_minmax=False, invert=False, normalize=False,
    variant="equation", quartile=0.25,
):  # fmt: skip
    """Eq. (1) and (2), or lines 1-2 of Table 1, for a batch (N, C, H, W) in float64."""
    masks = []
    for label in labels.astype(np.float64):
        if mask_minmax:  # eq. (1)
            span = label.max() - label.min()
            label = (label - label.min()) / span if span else np.zeros_like(label)
        if grey:
            weights = [0.299, 0.587, 0.114] if len(label) == 3 else [1 / len(label)] * len(label)
            label = sum(w * plane for w, plane in zip(weights, label, strict=True))[None]
        label = np.clip(label, 0, 1)
        if invert:
            label = 1 - label
        numerator = np.quantile(label, quartile) if variant == "table1" else 1
        mask = 0.5 * np.tanh(numerator / (label + 1e-10)) + 0.5  # eq. (2)
        masks.append(mask / mask.mean() if normalize else mask)
    return np.stack(masks)


# -- a training of one weight and one bias


NEVER = 1e9  # seconds between checkpoints


class Lines:
    """A sampler of points (x, 2x + 1), for a network of one weight and one bias."""

    batch = 4

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def __next__(self):
        x = torch.rand(4, 1, 2, 2, generator=self.generator)
        return x, 2 * x + 1

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


def trainer(folder, steps=20, lr=0.1, criterion=None, total=None, **settings):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total or steps)
    settings = {"amp": False, "label": None, "log_every": 5, "checkpoint_seconds": 0, **settings}
    return Trainer(
        network, criterion or nn.MSELoss(), Lines(), optimizer, scheduler,
        steps=steps, folder=folder, **settings,
    )  # fmt: skip


class Signals(Lines):
    """Sends this process a signal while the training's ``step``-th step is under way."""

    def __init__(self, step, number):
        super().__init__()
        self.left, self.number = step, number

    def __next__(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().__next__()


def course(run):
    """What must not depend on interruptions: the weights, and the history but for its times."""
    rows = [{k: row[k] for k in ("step", "loss", "lr", "val_psnr")} for row in run.history]
    return checkpoint.digest(run.trained.state_dict()), rows


def steps_and_losses(folder):
    """The history that is on the disk, without its times."""
    return [line.split(",")[:4] for line in (folder / HISTORY).read_text().splitlines()]


# -- synthetic studies whose true effect is known

PAPER = tables()
EFFECT = 0.08  # dB, the paper's for SRCNN with MAE


SPREAD = (0.02, 0.03, 0.02)  # dB: standard deviation over seeds, over images, and of the rest


def table_of_changes(rng, seeds=10, images=10, effect=0.0, spread=SPREAD):
    """y[seed, image] = effect + seed effect + image effect + residual."""
    over_seeds, over_images, rest = spread
    return (
        effect
        + over_seeds * rng.normal(size=(seeds, 1))
        + over_images * rng.normal(size=(1, images))
        + rest * rng.normal(size=(seeds, images))
    )


def study(effects=None, seeds=10, images=10, seed=0, losses=None, table=2, spread=SPREAD):
    """A tidy table of metrics: base losses, and the others with their true effects in dB."""
    rng = np.random.default_rng(seed)
    effects = effects or {}
    losses = losses or ("mae", "asy_mae")
    level = rng.normal(28, 2, size=(1, images)) + 0.03 * rng.normal(size=(seeds, 1))
    frames = []
    for loss in losses:
        change = 0 if loss in ("mae", "mse") else table_of_changes(rng, seeds, images, 0, spread)
        psnr = level + change + effects.get(loss, 0.0)
        for k, i in itertools.product(range(seeds), range(images)):
            error = 10 ** (-psnr[k, i] / 20)
            frames.append(
                {
                    **{"table": table, "model": "srcnn", "dataset": "bsd300", "loss": loss},
                    **{"seed": k, "image": f"{i + 3:02d}", "psnr": psnr[k, i]},
                    **{"ssim": 1 - 3 * error, "rmse": error, "nrmse": error / 0.6},
                    **{"testset": f"table{table}", "iterations": 1000},
                }
            )
    return pd.DataFrame(frames)
