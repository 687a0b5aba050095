"""What the paper claims, as data, and the rules by which each claim is judged.

Everything here was fixed before the study was run: the claims, the numbers that the paper gives
for them, and the thresholds. :mod:`asyrepro.analysis.verdicts` and
:mod:`asyrepro.analysis.mechanism` apply the rules; they hold no thresholds of their own.

Changes are "asymmetric minus base". PSNR and SSIM are better when larger, NRMSE when smaller;
NRMSE is the column that the paper prints as RMSE (``asyrepro audit`` shows why).
"""

from __future__ import annotations

from dataclasses import dataclass

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
OPPOSITE = "opposite"
UNDECIDED = "undecided"
IMPOSSIBLE = "no verdict possible"

LEVEL = 0.95  # of every interval
SIGN_LEVEL = 0.05  # of the two-sided sign test over seeds
MINIMUM_SEEDS = 6  # the least with which that test can fall below SIGN_LEVEL: 2 / 2^6 = 0.031
DARK = 0.3  # grey values below it are dark: the three lowest of the ten bins
BRIGHT = 0.7  # grey values from it on are bright: the three highest
TIME_RATIO = 1.05  # step time, asymmetric over base, that still counts as "no increase"
MINIMUM_REPETITIONS = 10  # of the interleaved timing

DIRECTION = {"psnr": 1, "ssim": 1, "nrmse": -1}  # +1: larger is better

_INTERVAL = f"{LEVEL:.0%}".replace("%", " %")

RULES = {
    "change": (
        f"Supported: the {_INTERVAL} interval of the mean change over seeds and images lies "
        "wholly on the better side of zero, and the two-sided sign test over seeds has "
        f"p < {SIGN_LEVEL} in that direction. Opposite: the same on the worse side. Not "
        "supported: the interval reaches zero or lies on the worse side, and all of it is less "
        "than the paper's mean change. Undecided: anything else, and always with fewer than "
        f"{MINIMUM_SEEDS} seeds. One seed: no verdict possible."
    ),
    "up_to": (
        "Every test image under both base losses has its percentage change, averaged over seeds, "
        f"with a t interval over seeds at {_INTERVAL} for all of them together (Bonferroni). "
        "Supported: the largest change is at least the printed figure (less half a unit of its "
        "last digit) and its interval lies above zero. Opposite: all intervals lie below zero. "
        "Not supported: all intervals lie below the printed figure (less that half unit). "
        f"Undecided: anything else, and always with fewer than {MINIMUM_SEEDS} seeds. One seed: "
        "no verdict possible."
    ),
    "time": (
        "The ratio of the step times, asymmetric over base, each repetition of the interleaved "
        f"runs giving one ratio; its median with a {_INTERVAL} bootstrap interval over the "
        f"repetitions. Supported: the interval lies below {TIME_RATIO}. Not supported: above "
        f"{TIME_RATIO}. Undecided: anything else, and always with fewer than "
        f"{MINIMUM_REPETITIONS} repetitions."
    ),
    "edges": (
        "At the label's strongest edges (the last bin of gradient strength, about a tenth of all "
        f"pixels), two changes, each with its {_INTERVAL} interval over seeds and images and its "
        "sign test, judged by the rule for changes: the squared error must fall, and the gradient "
        "energy (output over label) must rise. The paper gives no figure for either; the error "
        "is held against the fall of the whole image's squared error in the paper's table. "
        "Supported: both are. Opposite: both are. Not supported: either is opposite or not "
        "supported. Undecided: anything else."
    ),
    "dark": (
        f"Squared error in dark pixels (label below {DARK}) and in bright ones (from {BRIGHT}), "
        f"as percentage changes per image with {_INTERVAL} intervals over seeds and images. "
        "Supported: the dark pixels' error falls, by the rule for changes, and by more than the "
        "bright ones', by the same rule. Opposite: it rises. Not supported: the interval reaches "
        "zero and all of it is less than the fall of the whole image's squared error in the "
        "paper's table, or the dark pixels' error falls by less than the bright ones'. "
        "Undecided: anything else."
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
    note: str = ""

    @property
    def loss(self) -> str | None:
        """The asymmetric loss that the claim is about."""
        return None if self.base is None else f"asy_{self.base}"

    @property
    def how(self) -> str:
        """How the claim is tested."""
        return RULES[self.rule]


_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "nrmse": "NRMSE (printed as RMSE)"}

_TABLES = {
    2: (
        "srcnn",
        "SRCNN",
        "3.2.1",
        "adding the weights proposed in this paper, the asymmetric loss optimization improves "
        "the super-resolution of the network",
        "The paper does not say which test images Table 2 shows; this project's are others.",
    ),
    3: (
        "edsr",
        "EDSR",
        "3.2.2",
        "by introducing asymmetric weights, we can see that the output outcome metrics are "
        "evaluated better",
        "The paper's EDSR with MSE has 13 dB, where bicubic interpolation gives above 25 dB: a "
        "training that failed, or a fault in measuring, and the gains say more about that than "
        "about the loss. The test images are unknown, too.",
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


def _per_base() -> list[Claim]:
    """Claims without a table of numbers, tested once for each base loss."""
    found = []
    for base in ("mae", "mse"):
        loss = base.upper()
        found += [
            Claim(
                id=f"training-time-{base}",
                place="abstract",
                quote="essentially no increase in training time",
                quantity=f"step time, asymmetric over plain {loss}",
                rule="time",
                base=base,
            ),
            Claim(
                id=f"sharper-edges-{base}",
                place="section 3.2.1, Fig. 6",
                quote="after adding asymmetric gradient weights, the network has a certain "
                "improvement effect on the edge clarity of super-resolution images",
                quantity="squared error and gradient energy at the label's strongest edges, "
                f"SRCNN, asymmetric against plain {loss}",
                rule="edges",
                table=2,
                model="srcnn",
                base=base,
                note="The paper shows a magnified region and gives no number.",
            ),
            Claim(
                id=f"darker-regions-{base}",
                place="section 2",
                quote="the magnitude of the information difference of the pixel points with "
                "small grey values decreases",
                quantity="squared error in dark pixels, and against bright ones, asymmetric "
                f"against plain {loss}",
                rule="dark",
                base=base,
                note="The paper's reason for the method; it never measures it.",
            ),
        ]
    return sorted(found, key=lambda claim: claim.id)


CLAIMS: tuple[Claim, ...] = (*_improvements(), *_up_to(), *_per_base())
