"""What the paper claims, as data, and the rules by which each claim is judged.

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

from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

from asyrepro.metrics import METRICS

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
    agree = found.sign_p < SIGN_LEVEL
    direction, reason = NEITHER, "interval holds zero"
    if found.lower > 0 or found.upper < 0:
        side = "better" if found.lower > 0 else "worse"
        reason = f"interval on the {side} side of zero, but too few seeds agree"
        if agree and (found.better > found.worse) == (side == "better"):
            direction = BETTER if side == "better" else WORSE
            reason = f"interval on the {side} side of zero, seeds agree"
    if isnan(figure):
        return Verdict(direction, NO_SIZE, reason)
    if found.lower <= figure <= found.upper:
        return Verdict(direction, NOT_EXCLUDED, f"{reason}; interval holds the paper's change")
    than = "smaller" if found.upper < figure else "larger"
    return Verdict(direction, EXCLUDED, f"{reason}; {than} than the paper's change")


def verdict(direction: str, size: str) -> str:
    """Both axes in a phrase: ``better``, ``neither shown, the paper's size excluded``."""
    return f"{direction}, the paper's size excluded" if size == EXCLUDED else direction


_INTERVAL = f"{LEVEL:.0%}".replace("%", " %")

RULES = {
    "change": (
        f"Better: the {_INTERVAL} interval of the mean change over seeds and images lies "
        "wholly on the better side of zero, and the two-sided sign test over seeds has "
        f"p < {SIGN_LEVEL} in that direction. Worse: the same on the worse side. Neither shown: "
        "anything else. The paper's size is excluded where its mean change lies outside the "
        f"interval. Fewer than {MINIMUM_SEEDS} seeds are not judged."
    ),
    "up_to": (
        "Every test image under both base losses has its percentage change, averaged over seeds, "
        f"with a t interval over seeds at {_INTERVAL} for all of them together (Bonferroni). "
        "Better: the largest change's interval lies above zero. Worse: all intervals lie below "
        "zero. Neither shown: anything else. The paper's size is excluded where all intervals lie "
        "below the printed figure (less half a unit of its last digit). Fewer than "
        f"{MINIMUM_SEEDS} seeds are not judged."
    ),
    "time": (
        "The ratio of the step times, asymmetric over base, each repetition of the interleaved "
        f"runs giving one ratio; their geometric mean with the {_INTERVAL} t interval of the "
        "logarithms. Worse: the interval lies above 1, a step takes longer. Better: below "
        '1. Neither shown: it holds 1. The paper gives no size for its "essentially no '
        f'increase". Fewer than {MINIMUM_REPETITIONS} repetitions are not judged.'
    ),
    "region": (
        "A percentage change of each image and seed, in one region of the label or between two, "
        f"by the rule for changes against zero: {_INTERVAL} interval over seeds and images and "
        "sign test. The paper gives no number."
    ),
    "learning": (
        "Validation PSNR at equal steps: the change of each seed at each validation, averaged "
        f"over the course of training, with its {_INTERVAL} t interval over seeds (one set of "
        "validation images) and sign test, by the rule for changes against zero."
    ),
}


@dataclass(frozen=True)
class Claim:
    """One statement of the paper that this project tests.

    Attributes:
        id: short name, unique.
        place: where in the paper.
        quote: the paper's words.
        quantity: what is measured.
        rule: key of :data:`RULES`.
        region: for "region", key of :data:`asyrepro.analysis.mechanism.REGIONS`.
        table: the paper's table (2-5); None for a claim about all of them.
        model: the table's network.
        base: base loss, "mae" or "mse"; None if the claim covers both.
        metric: "psnr", "ssim" or "nrmse"; None if it is about none of them.
        figure: the paper's percentage for "up_to". (The mean changes for "change" are worked out
            from its tables.)
        note: what a reader must know before believing a verdict.
    """

    id: str
    place: str
    quote: str
    quantity: str
    rule: str
    table: int | None = None
    model: str | None = None
    base: str | None = None
    metric: str | None = None
    figure: float | None = None
    region: str | None = None
    note: str = ""

    @property
    def loss(self) -> str | None:
        """The asymmetric loss that the claim is about."""
        return None if self.base is None else f"asy_{self.base}"

    @property
    def counted(self) -> bool:
        """Whether it is evidence of its own: NRMSE is PSNR in other units."""
        return self.metric != "nrmse"

    @property
    def how(self) -> str:
        """How the claim is tested."""
        return RULES[self.rule]


_NAMES = {name: METRICS[name].title for name in ("psnr", "ssim", "nrmse")}
_NAMES["nrmse"] += " (printed as RMSE)"
_AFTERWARDS = "Added after the first studies, whose data it also judges."

_TABLES = {
    2: (
        "srcnn",
        "SRCNN",
        "3.2.1",
        "adding the weights proposed in this paper, the asymmetric loss optimization improves "
        "the super-resolution of the network",
        "The paper shows its test images in Fig. 3, which was not available; ours are others.",
    ),
    3: (
        "edsr",
        "EDSR",
        "3.2.2",
        "by introducing asymmetric weights, we can see that the output outcome metrics are "
        "evaluated better",
        "The paper's EDSR with MSE scores 13 dB, where bicubic upsampling scores above 25 dB. Its "
        "error has a part that all ten images share, and the gains lie in that part (audit, "
        "section 9). It shows its test images in Fig. 3, which was not available; ours are others.",
    ),
    4: (
        "dncnn",
        "DnCNN",
        "3.3.1",
        "introducing the asymmetric loss weights proposed in this paper can significantly "
        "improve the index values of the processing results compared to the results of MAE and "
        "MSE",
        "",
    ),
    5: (
        "dphsir",
        "DPHSIR",
        "3.3.2",
        "the measurement of loss training results was better than the results processed by the "
        "network without introducing asymmetric weights",
        "The quoted sentence has its words in the wrong order; Table 5 shows what is meant.",
    ),
}


def _improvements() -> list[Claim]:
    """ "Asymmetric beats base", per network, base loss and metric."""
    return [
        Claim(
            id=f"table{table}-{base}-{metric}",
            place=f"Table {table}, section {section}",
            quote=quote,
            quantity=f"mean change of {name}, {title}, asymmetric minus plain {base.upper()}",
            rule="change",
            table=table,
            model=model,
            base=base,
            metric=metric,
            note=note,
        )
        for table, (model, title, section, quote, note) in _TABLES.items()
        for base in ("mae", "mse")
        for metric, name in _NAMES.items()
    ]


def _up_to() -> list[Claim]:
    """The abstract's percentages for SRCNN."""
    said = {
        "psnr": (0.5, "improve the peak signal-to-noise ratio (PSNR) by up to about 0.5%", ""),
        "ssim": (
            0.3,
            "the structural similarity index (SSIM) by up to about 0.3%",
            "Table 2's own largest SSIM gain is 0.21 %.",
        ),
        "nrmse": (1.7, "reduce the root-mean-square error (RMSE) by up to about 1.7%", ""),
    }
    return [
        Claim(
            id=f"srcnn-up-to-{metric}",
            place="abstract",
            quote=quote,
            quantity=f"largest improvement of {_NAMES[metric]} on one image, percent, SRCNN, "
            "either base loss",
            rule="up_to",
            table=2,
            model="srcnn",
            metric=metric,
            figure=percent,
            note=note,
        )
        for metric, (percent, quote, note) in said.items()
    ]


def _orders() -> list[Claim]:
    """Which of the plain losses gives the higher PSNR."""
    return [
        Claim(
            id=f"order-table{table}",
            place=f"Table {table}",
            quote="mean PSNR of the column MSE above that of the column MAE",
            quantity=f"mean change of PSNR, {_TABLES[table][1]}, plain MSE minus plain MAE",
            rule="change",
            table=table,
            model=_TABLES[table][0],
            metric="psnr",
            note=f"The table shows it, no sentence says it. {_AFTERWARDS}",
        )
        for table in (4, 5)
    ]


# id, region, place, quote, quantity, note: tested for each network and base loss
_REGIONS = (
    (
        *("darker-regions", "dark", "section 2, third paragraph"),
        "the magnitude of the information difference of the pixel points with small grey values "
        "decreases",
        "squared error in dark pixels",
        "The paper's reason for the method; it never measures it.",
    ),
    (
        *("low-contrast", "flat", "section 2, third paragraph"),
        "enhancing the low-contrast region's information reliability",
        "squared error where the label's gradient is weakest",
        f"The paper does not define the region: here the {FLAT} lowest of ten bins of gradient "
        f"strength. {_AFTERWARDS}",
    ),
    (
        *("closer-deviations", "dark over bright", "section 2, third paragraph"),
        "making the degree of deviation of the grey values of different pixel points closer to "
        "each other",
        "mean relative deviation of dark pixels over that of bright ones",
        "A deviation relative to the grey value is larger in dark pixels; the closer, the smaller "
        f"the ratio. {_AFTERWARDS}",
    ),
    (
        *("sharper-edges", "edges", "section 3.2.1, Fig. 6"),
        "the network has a certain improvement effect on the edge clarity of super-resolution "
        "images",
        "squared error at the label's strongest edges",
        "The paper shows a magnified region and gives no number.",
    ),
    (
        *("contrast", "contrast", "section 3.2.1, Fig. 6"),
        "thereby improving the contrast of the restored image",
        "gradient energy of the restored image, over the label's",
        f"The paper does not define contrast. {_AFTERWARDS}",
    ),
)


def _per_base() -> list[Claim]:
    """Claims without a table of numbers, tested once for each base loss."""
    found = []
    for base in ("mae", "mse"):
        of_base = f"asymmetric against plain {base.upper()}"
        found += [
            Claim(
                id=f"training-time-{base}",
                place="abstract",
                quote="essentially no increase in training time",
                quantity=f"step time, asymmetric over plain {base.upper()}",
                rule="time",
                base=base,
            ),
            Claim(
                id=f"learning-{base}",
                place="section 3.3.2",
                quote="thereby improving the learning efficiency of the network",
                quantity=f"validation PSNR at equal steps, {of_base}",
                rule="learning",
                base=base,
                metric="psnr",
                note=_AFTERWARDS,
            ),
        ]
        for name, region, place, quote, quantity, note in _REGIONS:
            of_table2 = region in ("edges", "contrast")  # said of SRCNN alone
            found.append(
                Claim(
                    id=f"{name}-{base}",
                    place=place,
                    quote=quote,
                    quantity=f"{quantity}, {of_base}",
                    rule="region",
                    region=region,
                    table=2 if of_table2 else None,
                    model="srcnn" if of_table2 else None,
                    base=base,
                    note=note,
                )
            )
    return sorted(found, key=lambda claim: claim.id)


CLAIMS: tuple[Claim, ...] = (*_improvements(), *_up_to(), *_orders(), *_per_base())
