"""Pictures written with all that belongs to them: 16 bits, alpha, pages and the colour profile.

They are read by :mod:`asyrepro.data.decoding`. What a format cannot hold is left out with a note,
or refused where it would change the picture. What was written is read back before it counts.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from asyrepro.data import decoding
from asyrepro.data.decoding import Picture
from asyrepro.system.errors import ConfigError, DataError

# How each ending is written: the name of the format, and what keeps as much as it can.
JPEG = ("JPEG", {"quality": 95, "subsampling": 0})
WRITTEN = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), JPEG),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
}
DEEP = ("PNG", "TIFF")  # formats that hold 16 bits
MAX_PROFILE = 1_000_000  # bytes in a PNG; one with more Pillow, as others use it, does not open
OPAQUE = ("JPEG", "BMP")  # formats that hold no alpha
PAGED = (".tif", ".tiff")  # endings of files that hold several pages


def fitted(picture: Picture, ending: str) -> Picture:
    """A picture as the format of an ending of WRITTEN can hold it, with notes on what it cannot.

    Raises:
        ConfigError: an alpha channel would be lost.
    """
    kind, notes = WRITTEN[ending][0], list(picture.notes)
    pixels, profile = picture.pixels, picture.profile
    if kind in OPAQUE and pixels.shape[2] in (2, 4):
        raise ConfigError(
            f"the picture has an alpha channel, which {ending} files cannot hold: "
            "choose .png, .tif or .webp"
        )
    if pixels.dtype == np.uint16 and kind not in DEEP:
        pixels = decoding.eight_bits(pixels)
        notes.append(f"16 bits reduced to the 8 of {ending} files")
    if profile and (kind == "BMP" or (kind == "PNG" and len(profile) > MAX_PROFILE)):
        notes.append(f"the colour profile ({len(profile):,} bytes) left out of the {ending} file")
        profile = None
    return Picture(pixels, profile, tuple(notes))


def encode(pages: list[Picture], ending: str) -> bytes:
    """Pictures that are :func:`fitted` as the bytes of one file; only TIFF files hold several.

    JPEG has quality 95 and full chroma; WebP is lossless.

    Raises:
        ConfigError: the picture is too large for the format.
        DataError: what was written is not what it should be.
    """
    kind, options = WRITTEN[ending]
    if kind == "TIFF":
        data = _encode_tiff(pages)
    else:
        [picture] = pages
        deep = picture.pixels.dtype == np.uint16
        data = _encode_deep_png(picture) if deep else _encode(picture, kind, options)
    _check(data, pages, ending)
    return data


def _encode(picture: Picture, kind: str, options: dict) -> bytes:
    pixels, file = picture.pixels, io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    try:
        image.save(file, kind, icc_profile=picture.profile, **options)
    except (OSError, ValueError) as error:  # WebP ends at 16,383 pixels a side, JPEG at 65,500
        height, width = pixels.shape[:2]
        raise ConfigError(
            f"{width} x {height} pixels cannot be written as {kind} ({error}): choose .png or .tif"
        ) from error
    return file.getvalue()


def _check(data: bytes, pages: list[Picture], ending: str) -> None:
    """DataError unless a file can be read, and has the pixels that were written."""
    if ending in PAGED:  # Pillow does not read 16-bit grey with alpha
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            found = [page.asarray() for page in file.pages]
    else:
        found = [picture.pixels for picture in decoding.decode(data, Path(f"the {ending} file"))]
    lossy = WRITTEN[ending][0] == "JPEG"
    for again, page in zip(found, pages, strict=True):
        again = again.reshape(page.pixels.shape) if again.size == page.pixels.size else again
        if again.shape != page.pixels.shape or not (lossy or np.array_equal(again, page.pixels)):
            raise DataError(f"the {ending} file does not hold what was written: use another format")


def _encode_deep_png(picture: Picture) -> bytes:
    """A PNG of 16 bits a channel: Pillow writes such grey ones only.

    PNG specification (third edition): each row is stored as its difference from the row above
    (filter 2).
    """
    pixels = picture.pixels
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, dtype=np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if picture.profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.profile)))
    chunks += [(b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    return decoding.PNG + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _encode_tiff(pages: list[Picture]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, profile, _ in pages:
            channels = pixels.shape[2]
            writer.write(
                pixels if channels > 1 else pixels[..., 0],
                photometric="rgb" if channels > 2 else "minisblack",
                planarconfig="contig" if channels > 1 else None,
                extrasamples=["unassalpha"] if channels in (2, 4) else None,
                compression="zlib",
                iccprofile=profile,
                metadata=None,
            )
    return file.getvalue()
