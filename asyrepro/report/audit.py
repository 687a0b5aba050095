"""The page of the audit, ``results/audit/audit.html``: its text, figures and tables."""

from __future__ import annotations

from pathlib import Path

from asyrepro.report.markup import prose
from asyrepro.system.files import write_text
from asyrepro.system.templates import render


def write(folder: Path) -> Path | None:
    """Write audit.html from the audit's text, audit.md, and the figures beside it; None without."""
    source = folder / "audit.md"
    if not source.is_file():
        return None
    text = prose(source, level=2)
    return write_text(folder / "audit.html", render("asyrepro.report", "audit.html", text=text))
