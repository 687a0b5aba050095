"""What mkdocs does not know: links that lead out of docs/, and Sphinx's roles in docstrings.

The site is published beside results/, so a link to ../results/... stays a link. The source is not
part of it: of a link to ../asyrepro/... and the like only the words stay. The target must exist.
"""

import logging
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(#[^)]*)?\)")
log = logging.getLogger("mkdocs.hooks.docs_hooks")


def on_page_markdown(markdown: str, page, **_) -> str:
    """The page's Markdown with its outward links replaced; a dead one is a warning."""

    def replace(match: re.Match) -> str:
        words, target, anchor = match.groups()
        if not (ROOT / target).exists():
            log.warning("%s links to ../%s, which does not exist", page.file.src_path, target)
        if target.startswith("results/"):
            return f'<a href="../{target}{anchor or ""}">{words}</a>'
        return words

    return LINK.sub(replace, markdown)


def on_page_content(html: str, **_) -> str:
    """The page's HTML without the names of roles (``:func:``) and the second colon of ``::``."""
    html = re.sub(r":(?:func|class|mod|meth|data|attr):\s*(?=<code|<a)", "", html)
    return html.replace("::</p>", ":</p>")
