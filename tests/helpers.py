"""What several test files make: images, archives, servers, small trainings, synthetic studies."""

import io
import itertools
import re
import shlex
import struct
import tarfile
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from asyrepro.paper import tables
from asyrepro.training.loop import Trainer

# -- what pages tell to run

ROOT = Path(__file__).parents[1]
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


# -- a training of one weight and one bias


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
