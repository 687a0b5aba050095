"""One look for all figures, and how they are saved: PNG and PDF, the same bytes every time.

Sizes suit the text width of a one-column page (17.5 cm). Fonts are embedded as TrueType; colours
are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from asyrepro.system.files import write_bytes

WIDTH = 6.9  # inches

BLACK, GREY, LIGHT = "#000000", "#666666", "#d0d0d0"
SKY, ORANGE, GREEN, VERMILLION = "#56B4E9", "#E69F00", "#009E73", "#D55E00"
BLUE, PINK = "#0072B2", "#CC79A7"

# The paper's Fig. 4: light blue and orange for the base losses, red and green for the changes.
LOSS_COLOURS = {"mae": SKY, "mse": ORANGE, "asy_mae": VERMILLION, "asy_mse": GREEN}
LOSS_MARKERS = {"mae": "o", "mse": "s", "asy_mae": "o", "asy_mse": "s"}
# Where two lines fall together, the narrow one lies upon the wide one and both are seen.
LOSS_LOOKS = {
    "mae": {"lw": 2.4, "ms": 4.4},
    "mse": {"lw": 1.0, "ms": 2.4},
    "asy_mae": {"lw": 1.7, "ms": 3.8},
    "asy_mse": {"lw": 1.0, "ms": 2.6},
}

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are alike everywhere
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "figure.titlesize": 9.5,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "grid.color": LIGHT,
    "lines.linewidth": 1.3,
    "lines.markersize": 3,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "asyrepro",
    "savefig.dpi": 200,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "image.cmap": "gray",
    "axes.unicode_minus": True,
}


def context():
    """``with style.context():`` around the making of a figure."""
    return matplotlib.rc_context(RC)


def figure(height: float, width: float = WIDTH) -> Figure:
    """A figure of the style, in inches, outside pyplot: nothing to close, no window."""
    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made


def save(fig: Figure, stem, max_bytes: int | None = None) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.pdf``, each in one step.

    Args:
        fig: the figure.
        stem: path without its ending.
        max_bytes: for figures of pictures; the resolution (200 dpi) is lowered, to no less than 72,
            until the PNG is no larger. Pictures within the PDF have the same resolution. If None,
            the figure is a chart, and 256 colours are enough.

    The bytes depend on the figure alone: no dates, no program names.
    """
    stem = Path(stem)
    dpi = 200
    with context():
        png = _png(fig, dpi, chart=max_bytes is None)
        while max_bytes is not None and len(png) > max_bytes and dpi > 72:
            dpi = max(72, int(dpi * min(0.95, 0.98 * (max_bytes / len(png)) ** 0.5)))
            png = _png(fig, dpi, chart=False)
        pdf = io.BytesIO()
        metadata = {"CreationDate": None, "Producer": None, "Creator": None}
        fig.savefig(pdf, format="pdf", dpi=dpi, metadata=metadata)
    return [
        write_bytes(stem.with_name(f"{stem.name}.png"), png),
        write_bytes(stem.with_name(f"{stem.name}.pdf"), pdf.getvalue()),
    ]


def _png(fig: Figure, dpi: int, chart: bool) -> bytes:
    """The figure as PNG: 256 colours for a chart, one channel where all is grey, else RGB."""
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    image = Image.open(drawn).convert("RGB")
    pixels = np.asarray(image)
    if chart:
        image = _indexed(pixels)
    elif (pixels == pixels[..., :1]).all():
        image = image.getchannel(0)
    png = io.BytesIO()
    image.save(png, "png", optimize=True, dpi=(dpi, dpi))
    return png.getvalue()


def _indexed(pixels: np.ndarray, exact: int = 96) -> Image.Image:
    """A picture of 256 colours, of which the most frequent are exact: the series' own among them.

    The others, at the edges of lines and letters, are those of median cut, which alone would mix
    series of similar colours.
    """
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    colours, place, counts = np.unique(packed, return_inverse=True, return_counts=True)
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
    often = np.argsort(-counts.astype(int), kind="stable")
    palette = channels[often[:exact]]
    if len(colours) > exact:
        rest = np.repeat(channels[often[exact:]], counts[often[exact:]], axis=0)[None]
        cut = Image.fromarray(rest).quantize(256 - exact, Image.Quantize.MEDIANCUT)
        cut = np.array(cut.getpalette(), np.uint8).reshape(-1, 3)[: 256 - exact]
        palette = np.concatenate([palette, cut])
    wide = palette.astype(int)
    nearest = [((wide - colour) ** 2).sum(axis=1).argmin() for colour in channels.astype(int)]
    image = Image.fromarray(np.array(nearest, np.uint8)[place.reshape(packed.shape)])
    image.putpalette(palette.tobytes())
    return image


def darker(colour: str, factor: float = 0.72) -> str:
    """The same colour, darker: the paper's lines beside ours."""
    return to_hex([factor * channel for channel in to_rgb(colour)])
