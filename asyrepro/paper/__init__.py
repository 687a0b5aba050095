"""The paper as data: its tables, what they say about themselves, and its claims.

- :func:`.tables.tables`: Tables 2-5 as numbers;
- :func:`.tables.constants`: the brightness of each test image that they betray;
- :mod:`.identify`: which images those are, searched for in any folder of images;
- :mod:`.audit`: what the numbers show and what they do not;
- :mod:`.claims`: the paper's claims, each with its place and how it is tested.
"""

from .tables import DATASETS, MODELS, TABLES, constants, known_images, tables

__all__ = [
    "DATASETS",
    "MODELS",
    "TABLES",
    "constants",
    "known_images",
    "tables",
]
