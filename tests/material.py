"""Pictures, archives and a server for tests."""

import io
import struct
import tarfile
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageCms

from asyrepro.models import DnCNN


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


def tarred(*members, mode="w:gz"):
    """The bytes of a tar of (name, bytes) and of (name, type, linkname) members."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as file:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if isinstance(rest[0], bytes) and len(rest) == 1:
                info.size = len(rest[0])
                file.addfile(info, io.BytesIO(rest[0]))
            else:
                info.type, info.linkname = rest
                file.addfile(info)
    return content.getvalue()


def zip_of(*members):
    """The bytes of a zip of (name, bytes) members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return content.getvalue()


def tar(path, *members, **options):
    path.write_bytes(tarred(*members, **options))
    return path


def zipped(path, *members):
    path.write_bytes(zip_of(*members))
    return path


def files_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}
