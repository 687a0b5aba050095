"""What the paper claims, and the rules by which each claim is judged: claims.yaml as objects.

The claims, the numbers that the paper gives for them and the thresholds of the rules were fixed
before the studies that they judge, but for the claims of rule "region" other than dark pixels and
edges, of rule "learning" and about the order of MAE and MSE, which were added after the first
studies and are marked so in their notes. :mod:`asyrepro.analysis` applies the rules; it holds no
thresholds of its own.

A verdict has two axes. Its direction: better, worse or neither shown (what the paper claims is
"better"). And whether the size that the paper gives is excluded. An effect can be shown and too
small, or not shown and the paper's size still possible; one word cannot tell these apart.

Changes are "asymmetric minus base". PSNR and SSIM are better when larger, NRMSE when smaller;
NRMSE is the column that the paper prints as RMSE (``asyrepro audit`` shows why).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import isnan
from pathlib import Path
from typing import NamedTuple

import yaml

from asyrepro.metrics import METRICS, PRINTED
from asyrepro.paper.tables import MODEL_TITLES, MODELS

BETTER, WORSE, NEITHER, NOT_JUDGED = "better", "worse", "neither shown", "not judged"
DIRECTIONS = (BETTER, WORSE, NEITHER, NOT_JUDGED)
EXCLUDED, NOT_EXCLUDED, NO_SIZE = "excluded", "not excluded", "no size given"

LEVEL = 0.95  # of every interval
SIGN_LEVEL = 0.05  # of the two-sided sign test over seeds
MINIMUM_SEEDS = 6  # the least with which that test can fall below SIGN_LEVEL: 2 / 2^6 = 0.031
DARK = 0.3  # grey values below it are dark: the three lowest of the ten bins
BRIGHT = 0.7  # grey values from it on are bright: the three highest
FLAT = 3  # bins of gradient strength, of ten, that are low in contrast
MINIMUM_REPETITIONS = 10  # of the interleaved timing


class Verdict(NamedTuple):
    """What a rule finds: one of ``DIRECTIONS``; excluded, not excluded, or no size given; why."""

    direction: str
    size: str
    reason: str


def judge(found, seeds: int, figure: float = float("nan")) -> Verdict:
    """The rule "change" of :data:`RULES`.

    Args:
        found: an interval (:class:`asyrepro.analysis.statistics.Interval`) of the improvement:
            positive is better.
        seeds: how many it rests on.
        figure: the paper's mean improvement; NaN if it gives none.
    """
    if seeds < 2:
        return Verdict(NOT_JUDGED, NOT_JUDGED, "one seed: chance cannot be told from effect")
    if isnan(found.lower):
        return Verdict(NOT_JUDGED, NOT_JUDGED, "one image: no interval")
    if seeds < MINIMUM_SEEDS:
        return Verdict(NOT_JUDGED, NOT_JUDGED, f"fewer than {MINIMUM_SEEDS} seeds")
    direction, reason = NEITHER, "interval holds zero"
    if found.lower > 0 or found.upper < 0:
        side = BETTER if found.lower > 0 else WORSE
        reason = f"interval on the {side} side of zero, but too few seeds agree"
        if found.sign_p < SIGN_LEVEL and (found.better > found.worse) == (side == BETTER):
            direction, reason = side, f"interval on the {side} side of zero, seeds agree"
    if isnan(figure):
        return Verdict(direction, NO_SIZE, reason)
    if found.lower <= figure <= found.upper:
        return Verdict(direction, NOT_EXCLUDED, f"{reason}; interval holds the paper's change")
    than = "smaller" if found.upper < figure else "larger"
    return Verdict(direction, EXCLUDED, f"{reason}; {than} than the paper's change")


def verdict(direction: str, size: str) -> str:
    """Both axes in a phrase: ``better``, ``neither shown, the paper's size excluded``."""
    return f"{direction}, the paper's size excluded" if size == EXCLUDED else direction


@dataclass(frozen=True)
class Claim:
    """One statement of the paper that this project tests."""

    id: str  # short name, unique
    place: str  # where in the paper
    quote: str  # the paper's words
    quantity: str  # what is measured
    rule: str  # key of RULES
    table: int | None = None  # the paper's, 2-5; None for a claim about all of them
    base: str | None = None  # base loss, "mae" or "mse"; None if the claim covers both
    metric: str | None = None  # "psnr", "ssim" or "nrmse"; None if it is about none of them
    figure: float | None = None  # percent, of "up_to"; those of "change" are from the tables
    region: str | None = None  # of "region", key of asyrepro.analysis.mechanism.REGIONS
    says: str = ""  # without a number: what the asymmetric loss does, as "takes no longer"
    note: str = ""  # what a reader must know before believing a verdict

    @property
    def model(self) -> str | None:
        """The table's network."""
        return MODELS.get(self.table)

    @property
    def loss(self) -> str | None:
        """The asymmetric loss that the claim is about."""
        return None if self.base is None else f"asy_{self.base}"

    @property
    def counted(self) -> bool:
        """Whether it is evidence of its own: NRMSE is PSNR in other units."""
        return self.metric != "nrmse"


_NAMES = {name: METRICS[name].title for name in PRINTED}
_NAMES["nrmse"] += " (printed as RMSE)"


def _filled(content, **values):
    """All texts of a YAML file's content, filled in."""
    if isinstance(content, dict):
        return {key: _filled(value, **values) for key, value in content.items()}
    if isinstance(content, list):
        return [_filled(value, **values) for value in content]
    return content.format(**values) if isinstance(content, str) else content


def _read() -> dict:
    return _filled(
        yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8")),
        interval=f"{LEVEL:.0%}".replace("%", " %"),
        sign=SIGN_LEVEL,
        seeds=MINIMUM_SEEDS,
        repetitions=MINIMUM_REPETITIONS,
        flat=FLAT,
        afterwards="Added after the first studies, whose data it also judges.",
        base="{base}",  # filled in by _claims
    )


def _claims(content: dict) -> Iterator[Claim]:
    """Every claim of claims.yaml, in its order; those of ``others`` by their names."""
    titles = {table: MODEL_TITLES[model] for table, model in MODELS.items()}
    for said in content["improvements"]:
        table, title = said["table"], titles[said["table"]]
        for base, (metric, name) in product(("mae", "mse"), _NAMES.items()):
            quantity = f"mean change of {name}, {title}, asymmetric minus plain {base.upper()}"
            about = {"rule": "change", "base": base, "metric": metric, "quantity": quantity}
            yield Claim(id=f"table{table}-{base}-{metric}", **about, **said)
    for said in content["up_to"]:
        name = _NAMES[said["metric"]]
        quantity = f"largest improvement of {name} on one image, percent, SRCNN, either base loss"
        about = {"rule": "up_to", "place": "abstract", "table": 2, "quantity": quantity}
        yield Claim(id=f"srcnn-up-to-{said['metric']}", **about, **said)
    orders = content["orders"]
    for table in orders.pop("tables"):
        quantity = f"mean change of PSNR, {titles[table]}, plain MSE minus plain MAE"
        about = {"rule": "change", "metric": "psnr", "table": table, "quantity": quantity}
        yield Claim(id=f"order-table{table}", place=f"Table {table}", **about, **orders)
    others = [
        Claim(**_filled(said, base=base.upper()) | {"id": f"{said['id']}-{base}", "base": base})
        for said, base in product(content["others"], ("mae", "mse"))
    ]
    yield from sorted(others, key=lambda claim: claim.id)


_CONTENT = _read()
RULES: dict[str, str] = _CONTENT["rules"]
CLAIMS: tuple[Claim, ...] = tuple(_claims(_CONTENT))
