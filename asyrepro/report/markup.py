"""What pages hold beside tables of numbers: figures with their sizes, and texts in Markdown."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from PIL import Image

from asyrepro.report import wording
from asyrepro.system.errors import DataError

MARKDOWN = MarkdownIt("commonmark", {"html": False, "typographer": True})
MARKDOWN.enable(["table", "replacements"])  # as +- and ... by their signs
SCROLL = '<div class="scroll" role="region" aria-label="Table" tabindex="0">\n<table>\n'
MARKDOWN.renderer.rules |= {
    "table_open": lambda *_: SCROLL,
    "table_close": lambda *_: "</table>\n</div>\n",
}


def figure(folder: Path, stem: str, alt: str) -> dict | None:
    """A figure of a page's folder, with its size, which keeps its place before it is loaded."""
    for ending in ("svg", "jpg", "png"):
        if (folder / f"{stem}.{ending}").is_file():
            further = {"pdf": f"{stem}.pdf", "narrow": f"{stem}_narrow.svg"}
            there = {key: file for key, file in further.items() if (folder / file).is_file()}
            return _sized(folder, f"{stem}.{ending}", alt) | there
    return None


def _sized(folder: Path, file: str, alt: str) -> dict:
    """A picture of a page; its size in pixels or points where the file is there and tells it."""
    path, size = folder / file, ("", "")
    if path.suffix == ".svg" and path.is_file():
        box = re.search(r'viewBox="0 0 (\S+) (\S+)"', path.read_text(encoding="utf-8")[:2000])
        size = tuple(round(float(x)) for x in box.groups()) if box else size
    elif path.is_file():
        with suppress(OSError), Image.open(path) as image:
            size = image.size
    return {"file": file, "alt": alt, "pdf": "", "narrow": "", "width": size[0], "height": size[1]}


@dataclass
class Prose:
    """A text for a page."""

    title: str = ""  # its first heading
    headings: dict[str, str] = field(default_factory=dict)  # the others, by their ids
    blocks: list[str | dict] = field(default_factory=list)  # HTML, and figures


def prose(path: Path, level: int) -> Prose:
    """A Markdown file as parts of a page: headings, paragraphs, tables, lists, and pictures.

    HTML within it is shown as text. In tables each row's first cell is its head.

    Args:
        path: pictures lie beside it; one on a line of its own becomes a figure.
        level: of all headings but the first, which is the title.

    Raises:
        DataError: it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged ({error}): put it back or delete it") from None
    made = Prose()
    nodes = SyntaxTreeNode(MARKDOWN.parse(text)).children
    if nodes and nodes[0].type == "heading":
        made.title = nodes.pop(0).children[0].content
    for node in nodes:
        for part in node.walk():
            if part.type == "text":
                part.token.content = wording.minus(part.content).replace("->", "\u2192")
            elif part.type == "tr":
                _row(part)
        pictures = node.children[0].children if node.type == "paragraph" else []
        if [part.type for part in pictures] == ["image"]:
            file, alt = pictures[0].attrs["src"], pictures[0].content
            made.blocks.append(_sized(path.parent, str(file), alt))
            continue
        if node.type == "heading":
            name, heading = f"section{len(made.headings) + 1}", node.nester_tokens
            made.headings[name] = node.children[0].content
            heading.opening.attrs["id"] = name
            heading.opening.tag = heading.closing.tag = f"h{level}"
        made.blocks.append(MARKDOWN.renderer.render(node.to_tokens(), MARKDOWN.options, {}))
    return made


def _row(row: SyntaxTreeNode) -> None:
    """The looks of a table's row, as the pages' other tables have them."""
    cells = [cell.nester_tokens for cell in row.children]
    cells[0].opening.tag = cells[0].closing.tag = "th"
    for cell in cells:
        if "right" in str(cell.opening.attrs.pop("style", "")):
            cell.opening.attrs["class"] = "number"
