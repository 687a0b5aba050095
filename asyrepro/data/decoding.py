"""Image files to arrays at full depth, with a note on all that is left out, or one clear error.

8 and 16 bits, grey, colour, alpha and the colour profile are kept. Palette, CMYK, YCbCr and LAB
files become RGB. The EXIF orientation is applied. Nothing else of EXIF is read, nor text, as
:func:`besides` says.

Floating-point and 32-bit files have no agreed range and are refused, as are files of more than
``MAX_PIXELS`` pixels. Only ``FORMATS`` are tried, none of which runs another program.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from asyrepro.system.errors import DataError, shown

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how such files begin
PNG = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 89_000_000  # a little less than Pillow's own limit, from which on it warns
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 26  # bytes of text or profile that Pillow unpacks of a PNG
ORIENTATION = 0x0112  # of EXIF
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
    notes: what a user should know of the pixels, such as how many pages were left out.
    """

    pixels: np.ndarray
    profile: bytes | None = None
    notes: tuple[str, ...] = ()


def read(path: str | os.PathLike) -> Picture:
    """Read a picture; of several pages or frames the first, with a note.

    Raises:
        DataError: the file is missing, damaged, too large, no image, or of a kind whose range is
            not known (floating point, 32 bits).
    """
    return decode(read_bytes(path), path)[0]


def read_bytes(path: str | os.PathLike) -> bytes:
    """A file's bytes, or a DataError that says why not."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise DataError(f"{shown(path)} is a broken link: restore the file it names") from error
        raise DataError(f"{shown(path)} does not exist: check the path") from error
    except PermissionError as error:
        raise DataError(f"{shown(path)} may not be read: change its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(path)} cannot be read: {reason}") from error
    if not data:
        raise DataError(f"{shown(path)} is empty: fetch or copy the file again")
    return data


def decode(data: bytes, path: str | os.PathLike, every: bool = False) -> list[Picture]:
    """The first page or frame of a file's bytes, or ``every`` one; ``path`` is named in errors."""
    with verified(data, path) as image:
        count = getattr(image, "n_frames", 1)
        if every or count == 1:
            return [_page(image, number, data, path, []) for number in range(count)]
        return [
            _page(image, 0, data, path, [f"only the first of {count} pages or frames is taken"])
        ]


def colours(channels: int) -> int:
    """How many of 1 to 4 channels are colours: the second or fourth is alpha."""
    return channels - (channels in (2, 4))


def unused_range(pixels: np.ndarray, white: int | float | None) -> list[str]:
    """A note if the colours use a quarter of their type's range or less, and no ``white`` is given.

    So do files of 10, 12 or 14 bits that are stored in 16.
    """
    highest = int(pixels[..., : colours(pixels.shape[2])].max())
    largest = int(np.iinfo(pixels.dtype).max)
    if white or highest == 0 or 4 * highest > largest:
        return []
    return [f"no value is above {2 ** highest.bit_length() - 1} of {largest}: is white= needed?"]


def besides(data: bytes, path: str | os.PathLike) -> list[str]:
    """What a file holds beside its pixels that :func:`decode` leaves out: "EXIF data", "text"."""
    found = []
    with opened(io.BytesIO(data), path) as image:
        if image.format in ("JPEG", "PNG", "WEBP") and {*image.getexif()} - {ORIENTATION}:
            found.append("EXIF data")
        if getattr(image, "text", None) or image.info.get("comment"):
            found.append("text")
    return found


@contextmanager
def opened(file: BinaryIO, path: str | os.PathLike) -> Iterator[Image.Image]:
    """A Pillow image, not yet decoded; whatever goes wrong until the end becomes a DataError."""
    too_large = DataError(
        f"{shown(path)} has more than {MAX_PIXELS // 10**6} million pixels: cut or shrink it first"
    )
    try:
        image = Image.open(file, formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise too_large
        if image.format == "TIFF" and image.mode == "I" and image.tag_v2.get(258, (16,))[0] > 16:
            raise _unknown_range(path, "32-bit")  # which Pillow gives like 16-bit ones
        yield image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        if file.read(4) in TIFF:
            raise DataError(
                f"{shown(path)} is a TIFF of a kind that is not read (such as floating-point or "
                "32-bit colours, or 16-bit grey with alpha): save it as PNG, or with 8 bits"
            ) from error
        raise DataError(
            f"{shown(path)} is not an image that can be read: use one of {', '.join(FORMATS)}"
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{shown(path)} does not fit into memory: cut or shrink it first"
        ) from error
    # Pillow's decoders raise a dozen kinds of exception on damaged files (OSError, SyntaxError,
    # ValueError, struct.error, zlib.error, IndexError, ...): all mean the same to a user.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{shown(path)} is damaged or cut short ({reason}): fetch or copy it again"
        ) from error


@contextmanager
def verified(data: bytes, path: str | os.PathLike) -> Iterator[Image.Image]:
    """:func:`opened` for a file's bytes, of which a PNG's checksums are checked first."""
    with opened(io.BytesIO(data), path) as image:
        if image.format == "PNG":  # Pillow skips the checksums of pixel data unless asked
            image.verify()
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        yield image


def count_pixels(path: str | os.PathLike) -> int:
    """Height times width; nothing is decoded."""
    with opened(io.BytesIO(read_bytes(path)), path) as image:
        return image.height * image.width


def deep_grey(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """The uint16 (H, W) pixels of an image of mode I, I;16 or F; DataError if they are not such."""
    values = np.asarray(image)
    floating = image.mode == "F"
    if floating or values.min() < 0 or values.max() > 65535:
        kind = "floating-point" if floating else "negative" if values.min() < 0 else "32-bit"
        raise _unknown_range(path, kind)
    values = values.astype(np.uint16)
    # PhotometricInterpretation: values that count from white, which Pillow undoes for 8 bits only.
    return 65535 - values if image.format == "TIFF" and image.tag_v2.get(262) == 0 else values


def eight_bits(pixels: np.ndarray, white: int | None = None) -> np.ndarray:
    """uint8 or uint16 pixels as uint8, rounded; ``white``, the type's maximum, becomes 255."""
    white = white or int(np.iinfo(pixels.dtype).max)
    if white == 255:
        return pixels.astype(np.uint8)
    return ((pixels.astype(np.uint32) * 510 + white) // (2 * white)).clip(0, 255).astype(np.uint8)


def _unknown_range(path: str | os.PathLike, pixels: str) -> DataError:
    return DataError(
        f"{shown(path)} holds {pixels} pixels, whose range is not known: save it with 8 or 16 bits "
        "a channel"
    )


def _page(
    image: Image.Image, number: int, data: bytes, path: str | os.PathLike, notes: list[str]
) -> Picture:
    """One page or frame of an open image."""
    if number:
        image.seek(number)
    profile = image.info.get("icc_profile")
    if image.mode in ("CMYK", "YCbCr", "LAB"):  # its profile is not that of RGB
        if profile:
            notes = [*notes, f"{image.mode} becomes RGB without regard to its colour profile"]
        profile = None
    deep = image.format == "PNG" and data[24] == 16  # bits, as its header says
    if deep and image.mode[0] != "I":
        pixels = _deep_png(data)
    elif _is_deep_tiff(image):
        pixels = _deep_tiff(data, path, len(image.getbands()), number)
    elif image.format == "PPM" and (header := _PPM.match(data)) and int(header[4]) > 255:
        pixels = _deep_ppm(image, data, header)
    else:
        pixels = _decoded(image, path)
    if deep and "transparency" in image.info:
        clear = (pixels == np.asarray(image.info["transparency"])).all(axis=-1, keepdims=True)
        alpha = np.where(clear, 0, 65535).astype(np.uint16)
        pixels = np.concatenate([pixels, alpha], axis=-1)
    pixels = TURNS.get(image.getexif().get(ORIENTATION), lambda a: a)(pixels)
    if image.format == "TIFF":
        bands, taken = image.tag_v2.get(277, 1), len(image.getbands())  # SamplesPerPixel
        if bands > taken:
            notes = [*notes, f"only {taken} of {bands} bands are taken"]
    return Picture(np.ascontiguousarray(pixels), profile, tuple(notes))


def _decoded(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """The pixels of an 8-bit file, or a 16-bit grey one, (H, W, C)."""
    image.load()
    if image.mode[0] in "IF":
        return deep_grey(image, path)[..., None]
    grey = image.mode in ("1", "L", "LA", "La")
    alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    pixels = np.asarray(image.convert(("L" if grey else "RGB") + ("A" if alpha else "")))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _is_deep_tiff(image: Image.Image) -> bool:
    if image.format != "TIFF" or image.mode not in ("RGB", "RGBA"):
        return False
    return set(image.tag_v2.get(258, (8,))) == {16}  # BitsPerSample


def _deep_tiff(data: bytes, path: str | os.PathLike, channels: int, number: int) -> np.ndarray:
    """The pixels of a TIFF's page with 16 bits a colour, of which Pillow keeps 8."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[number]
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


_GAP = rb"(?:\s|#[^\n]*\n)+"  # Netpbm: white space, and comments
_PPM = re.compile(rb"P([36])" + (_GAP + rb"(\d+)") * 3 + rb"\s")


def _deep_ppm(image: Image.Image, data: bytes, header: re.Match) -> np.ndarray:
    """The pixels of a PPM of more than 8 bits, of which Pillow keeps 8, scaled to 65535."""
    image.load()  # which tells of damage
    if header[1] == b"6":
        values = np.frombuffer(data, ">u2", image.width * image.height * 3, header.end())
    else:
        values = np.array(re.sub(rb"#[^\n]*", b"", data[header.end() :]).split(), np.uint16)
    scaled = (values * (65535 / int(header[4]))).round().astype(np.uint16)
    return scaled.reshape(image.height, image.width, 3)
