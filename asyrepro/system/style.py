"""One look for all figures, and how they are saved: charts as SVG, pictures as JPEG.

Sizes suit the text width of a one-column page (17.5 cm). Colours are those of Okabe and Ito, which
colour-blind readers can tell apart. A chart follows the reader's dark theme by itself; the same
figure gives the same bytes.
"""

import io
import re
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asyrepro.system.files import write_bytes

WIDTH = 6.9  # inches

BLACK, INK, GREY, LIGHT, FAINT = "#000000", "#1a1a1a", "#666666", "#d0d0d0", "#ececec"
SKY, ORANGE, GREEN, VERMILLION = "#56b4e9", "#e69f00", "#009e73", "#d55e00"
BLUE, PINK, BROWN = "#0072b2", "#cc79a7", "#8a5a2b"

# The paper's Fig. 4: light blue and orange for the base losses, red and green for the changes.
LOSS_COLOURS = {"mae": SKY, "mse": ORANGE, "asy_mae": VERMILLION, "asy_mse": GREEN}
OTHER_COLOURS = (BLUE, PINK, INK, BROWN, GREY)  # of losses of one's own
DARK = {  # what becomes of a colour in the dark theme
    "#ffffff": "#1b2026",
    BLACK: "#e8eaed",
    INK: "#e8eaed",  # black fills, which SVG leaves unsaid
    GREY: "#a9b1bb",
    LIGHT: "#4a525d",
    FAINT: "#2a3038",
    GREEN: "#2fc79b",
    VERMILLION: "#ff8a45",
    BLUE: "#4f80ff",  # lighter it would be the sky blue of MAE
    BROWN: "#c99762",
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
    "svg.fonttype": "none",  # text stays text: small, sharp, found by a search
    "svg.hashsalt": "asyrepro",
    "savefig.dpi": 130,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "image.cmap": "gray",
}


def context():
    """``with style.context():`` around the making of a figure."""
    return matplotlib.rc_context(RC)


def figure(height: float, width: float = WIDTH) -> Figure:
    """A figure of the style, in inches, outside pyplot: nothing to close, no window."""
    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made


def ticks(most: int) -> MaxNLocator:
    """Round numbers for an axis, in at most so many steps."""
    return MaxNLocator(nbins=most)


def colours(losses) -> dict[str, str]:
    """The colour of each loss; those of one's own have the further colours in their order."""
    own = [loss for loss in losses if loss not in LOSS_COLOURS]
    further = {loss: OTHER_COLOURS[k % len(OTHER_COLOURS)] for k, loss in enumerate(own)}
    return {loss: LOSS_COLOURS.get(loss) or further[loss] for loss in losses}


def legend_grid(labels) -> tuple[int, int]:
    """Columns and rows of a legend of these entries that fits into the width of a figure."""
    columns = max(1, min(len(labels), 112 // (max(map(len, labels), default=1) + 7)))
    return columns, -(-len(labels) // columns)


def save(fig: Figure, stem, pdf: bool = False) -> list[Path]:
    """Write ``<stem>.svg``, or ``<stem>.jpg`` where the figure shows pictures; each in one step.

    ``pdf``: write ``<stem>.pdf`` as well.
    """
    pictures = any(ax.images for ax in fig.axes)
    if pictures:
        jpeg = {"quality": 84, "subsampling": 0, "optimize": True}
        made = {"jpg": _drawn(fig, format="jpg", pil_kwargs=jpeg)}
    else:
        made = {"svg": _svg(fig)}
    if pdf:
        made["pdf"] = _drawn(fig, format="pdf", metadata={"CreationDate": None, "Producer": None})
    return [write_bytes(Path(f"{stem}.{ending}"), content) for ending, content in made.items()]


def replace(fig: Figure, stem, pdf: bool = False) -> None:
    """:func:`save` into a folder of this program's own: an earlier report's other formats go."""
    written = save(fig, stem, pdf)
    for ending in ("svg", "jpg", "png", "pdf"):
        if (path := Path(f"{stem}.{ending}")) not in written:
            path.unlink(missing_ok=True)


def _drawn(fig: Figure, **options) -> bytes:
    content = io.BytesIO()
    with context():
        fig.savefig(content, **options)
    return content.getvalue()


def _svg(fig: Figure) -> bytes:
    """The figure as SVG, with a style sheet for the dark theme.

    In a page, an SVG file takes the theme of the place where it is shown (``color-scheme``).
    """
    text = _drawn(fig, format="svg", metadata={"Date": None, "Creator": None}).decode()
    text = re.sub(r"<!--.*?-->\s*", "", text)
    # In tags, coordinates to a hundredth of a point.
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
    rules = ["text{fill:" + DARK[BLACK] + "}"]
    for light, dark in DARK.items():
        for kind in ("fill", "stroke"):
            rules.append(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}')
    sheet = f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    head, mark, rest = text.partition(" <defs>")
    return (head + sheet + "\n" + mark + rest).encode()
