"""Pictures of one's own, read and written with all that belongs to them.

Unlike :mod:`asyrepro.data.images`, which makes training and test data of any file, this keeps 16
bits, alpha, grey as grey, and the colour profile. The EXIF orientation is applied and not written
again, as nothing else of EXIF is. Palette, CMYK, YCbCr and LAB files become RGB. Of a file of
several pages or frames the first is read.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from asyrepro.data import images
from asyrepro.system.errors import ConfigError, DataError, shown

# How each ending is written: the name of the format, and what keeps as much as it can.
WRITTEN = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
}
DEEP = (".png", ".tif", ".tiff")  # endings that hold 16 bits
OPAQUE = (".jpg", ".jpeg", ".bmp")  # endings that hold no alpha
TURNS = {  # what undoes each EXIF orientation, of an array (H, W, C)
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class Picture(NamedTuple):
    """A decoded picture.

    pixels: uint8 or uint16 (H, W, C): grey, grey and alpha, RGB, or RGB and alpha.
    profile: the ICC profile of the colours, or None.
    """

    pixels: np.ndarray
    profile: bytes | None = None


def read(path: str | os.PathLike) -> Picture:
    """Read a picture.

    Raises:
        DataError: the file is missing, damaged, too large, no image, or of a kind whose range is
            not known (floating point, 32 bits).
    """
    data = images.read_bytes(path)
    with images.verified(data, path) as image:
        foreign = image.mode in ("CMYK", "YCbCr", "LAB")  # their profile is not that of RGB
        profile = None if foreign else image.info.get("icc_profile")
        deep = image.format == "PNG" and data[24] == 16  # bits, as its header says
        if deep and image.mode[0] != "I":
            pixels = _deep_png(data)
        elif image.format == "TIFF" and _is_deep_tiff(image):
            pixels = _deep_tiff(data, path, len(image.getbands()))
        else:
            pixels = _decoded(image, path)
        if deep and "transparency" in image.info:
            clear = (pixels == np.asarray(image.info["transparency"])).all(axis=-1, keepdims=True)
            alpha = np.where(clear, 0, 65535).astype(np.uint16)
            pixels = np.concatenate([pixels, alpha], axis=-1)
        pixels = TURNS.get(image.getexif().get(0x0112), lambda a: a)(pixels)
    return Picture(np.ascontiguousarray(pixels), profile)


def check_ending(ending: str) -> None:
    """Raise ConfigError unless the ending is one of WRITTEN."""
    if ending not in WRITTEN:
        raise ConfigError(f"pictures are written as {', '.join(WRITTEN)}, not as {ending!r}")


def check(picture: Picture, ending: str) -> None:
    """Raise ConfigError if the ending is not one of WRITTEN, or an alpha channel would be lost."""
    check_ending(ending)
    if ending in OPAQUE and picture.pixels.shape[2] in (2, 4):
        raise ConfigError(
            f"the picture has an alpha channel, which {ending} files cannot hold: "
            "choose .png, .tif or .webp"
        )


def encode(picture: Picture, ending: str) -> bytes:
    """A picture as the bytes of a file; ``ending`` (as ".png") names the format.

    JPEG has quality 95 and full chroma; WebP is lossless. 16 bits become 8 where the format holds
    no more.

    Raises:
        ConfigError: see :func:`check`; or the picture is too large for the format.
    """
    check(picture, ending)
    pixels, profile = picture
    kind, options = WRITTEN[ending]
    if pixels.dtype == np.uint16:
        if kind == "PNG":
            return _encode_deep_png(picture)
        if kind == "TIFF":
            return _encode_deep_tiff(picture)
        pixels = images.eight_bits(pixels)
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    try:
        image.save(file, kind, icc_profile=profile, **options)
    except (OSError, ValueError) as error:  # WebP ends at 16,383 pixels a side, JPEG at 65,500
        height, width = pixels.shape[:2]
        raise ConfigError(
            f"{width} x {height} pixels cannot be written as {kind} ({error}): choose .png or .tif"
        ) from error
    return file.getvalue()


def _decoded(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """The pixels of an 8-bit file, or a 16-bit grey one, (H, W, C)."""
    image.load()
    if image.mode[0] in "IF":
        return images.deep_grey(image, path, images.white_is_zero(image))[..., None]
    grey = image.mode in ("1", "L", "LA", "La")
    alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    pixels = np.asarray(image.convert(("L" if grey else "RGB") + ("A" if alpha else "")))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _is_deep_tiff(image: Image.Image) -> bool:
    return image.mode in ("RGB", "RGBA") and set(image.tag_v2.get(258, (8,))) == {16}


def _deep_tiff(data: bytes, path: str | os.PathLike, channels: int) -> np.ndarray:
    """The pixels of a TIFF with 16 bits a colour, of which Pillow keeps 8."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        try:
            pixels = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise DataError(
                f"{shown(path)} has 16-bit colours compressed by {page.compression.name}: save it "
                "with ZIP or no compression, or install the package imagecodecs"
            ) from error
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels[..., :channels]
    if channels == 4 and tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        alpha = np.maximum(pixels[..., 3:], 1)
        colours = np.minimum((pixels[..., :3] * 65535.0 / alpha).round(), 65535)
        pixels = np.concatenate([colours.astype(np.uint16), pixels[..., 3:]], axis=-1)
    return pixels.astype(np.uint16)


def _deep_png(data: bytes) -> np.ndarray:
    """The pixels of a PNG with 16 bits a colour, of which Pillow by itself keeps the upper 8.

    Its decoder is asked for the upper bytes, then for those that would be the upper ones if the
    bytes came in the other order. (torchvision reads these files too, but there are damaged ones
    that end its process.)
    """

    def decoded(layout: str) -> np.ndarray:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        image.tile = [(*tile[:3], layout) for tile in image.tile]
        image.load()
        return np.array(image)

    layout = Image.open(io.BytesIO(data), formats=["PNG"]).tile[0][3]  # such as "RGB;16B"
    if layout == "LA;16B":
        return decoded("RGBA").view(">u2").astype(np.uint16)  # its four bytes as they are
    return decoded(layout) * np.uint16(256) + decoded(layout.replace("16B", "16L"))


def _encode_deep_png(picture: Picture) -> bytes:
    """A PNG of 16 bits a channel: Pillow writes such grey ones only, torchvision none.

    PNG specification (third edition): each row is stored as its difference from the row above
    (filter 2).
    """
    pixels, profile = picture
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, dtype=np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    chunks += [(b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _encode_deep_tiff(picture: Picture) -> bytes:
    pixels, profile = picture
    channels = pixels.shape[2]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=profile,
        metadata=None,
    )
    return file.getvalue()
