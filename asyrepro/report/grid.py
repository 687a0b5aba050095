"""Tables of text, as Markdown and as LaTeX; as HTML they are the macro ``grid`` of the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pandas as pd
from tabulate import tabulate

from asyrepro.report.wording import MINUS, NOTHING

Cell = str | list[tuple[str, bool]]  # a text, or several that "/" joins, each bold or not


@dataclass
class Grid:
    """A table as text, before it becomes Markdown, LaTeX or HTML."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    text_columns: int = 2  # left-aligned ones at the start

    @classmethod
    def of(cls, rows: list[dict[str, Cell]], text_columns: int, title: str = "") -> Grid:
        """A table of at least one row, whose cells are named by their columns."""
        return cls(title, [*rows[0]], [[*row.values()] for row in rows], text_columns=text_columns)


def markdown(made: list[Grid]) -> str:
    """Grids with their titles and notes as GitHub's Markdown."""
    parts = []
    for level, grid in enumerate(made):
        notes = "".join(f"- {_markdown_text(note)}\n" for note in grid.notes)
        parts.append(f"{'##' if level else '#'} {grid.title}\n\n{markdown_rows(grid)}\n{notes}")
    return "\n".join(parts)


def markdown_rows(grid: Grid) -> str:
    """The rows of a grid as GitHub's Markdown."""
    rows = [[_markdown_cell(cell) for cell in row] for row in grid.rows]
    head = [_markdown_text(name) for name in grid.head]
    align = ["left" if k < grid.text_columns else "right" for k in range(len(head))]
    text = tabulate(rows, head, tablefmt="pipe", colalign=align, disable_numparse=True)
    return re.sub(" {2,}", " ", text) + "\n"


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"**{cell}**" if cell == "Mean" else _markdown_text(cell)
    return "/".join(f"**{text}**" if bold else text for text, bold in cell)


def _markdown_text(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\|*_`<]|\[(?![+\u2212\d]))", r"\\\1", text)


LATEX = r"""\begin{table}[tp]
\centering
\caption{%s}
\label{tab:asyrepro-table%s}
\setlength{\tabcolsep}{3pt}
\resizebox{\linewidth}{!}{%%
%s}
\end{table}
"""


def latex(made: list[Grid], table: int) -> str:
    """Grids as LaTeX floats. Needs booktabs; graphicx, where loaded, fits them to the page."""
    parts = ["% \\usepackage{booktabs,graphicx}\n\\providecommand{\\resizebox}[3]{#3}\n"]
    for number, grid in enumerate(made):
        rows = [[_tex_cell(cell) for cell in row] for row in grid.rows]
        frame = pd.DataFrame(rows, columns=[tex(name) for name in grid.head])
        aligned = "l" * grid.text_columns + "r" * (len(grid.head) - grid.text_columns)
        body = frame.to_latex(index=False, escape=False, column_format=aligned).rstrip()
        heading = grid.title.partition(". ")[2]  # LaTeX counts tables itself
        caption = " ".join([f"{tex(heading)}.", *map(tex, grid.notes)])
        parts.append(LATEX % (caption, f"{table}{f'-{number}' if number else ''}", body))
    return "\n".join(parts)


def _tex_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return rf"\textbf{{{cell}}}" if cell == "Mean" else tex(cell)
    return "/".join(rf"\textbf{{{tex(text)}}}" if bold else tex(text) for text, bold in cell)


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    NOTHING: "--",
    MINUS: "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def tex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_TEX.get(character, character) for character in text)
