"""The claims as data: complete, and with the thresholds of their rules."""

import re

from asyrepro.paper import claims
from asyrepro.paper.claims import CLAIMS


def test_every_network_base_loss_and_metric_has_its_claim():
    changes = {(c.table, c.model, c.base, c.metric) for c in CLAIMS if c.rule == "change"}
    assert changes == {
        (table, model, base, metric)
        for table, model in ((2, "srcnn"), (3, "edsr"), (4, "dncnn"), (5, "dphsir"))
        for base in ("mae", "mse")
        for metric in ("psnr", "ssim", "nrmse")
    }


def test_the_other_claims_are_there():
    others = {c.id for c in CLAIMS if c.rule != "change"}
    assert others == {
        *(f"srcnn-up-to-{metric}" for metric in ("psnr", "ssim", "nrmse")),
        *(f"training-time-{base}" for base in ("mae", "mse")),
        *(f"sharper-edges-{base}" for base in ("mae", "mse")),
        *(f"darker-regions-{base}" for base in ("mae", "mse")),
    }
    figures = {c.metric: c.figure for c in CLAIMS if c.rule == "up_to"}
    assert figures == {"psnr": 0.5, "ssim": 0.3, "nrmse": 1.7}


def test_ids_are_unique_and_every_claim_says_where_what_and_how():
    assert len({c.id for c in CLAIMS}) == len(CLAIMS)
    for c in CLAIMS:
        assert re.search(r"abstract|section|Table", c.place), c.id
        assert len(c.quote) > 20 and c.quantity and c.how == claims.RULES[c.rule]
        assert c.loss in (None, f"asy_{c.base}")


def test_minimum_of_seeds_is_the_least_that_the_sign_test_can_use():
    assert 2 / 2**claims.MINIMUM_SEEDS < claims.SIGN_LEVEL <= 2 / 2 ** (claims.MINIMUM_SEEDS - 1)


def test_the_rules_state_the_thresholds_that_the_code_uses():
    assert f"{claims.SIGN_LEVEL}" in claims.RULES["change"]
    for rule in ("change", "up_to"):
        assert f"fewer than {claims.MINIMUM_SEEDS} seeds" in claims.RULES[rule]
    assert f"below {claims.TIME_RATIO}" in claims.RULES["time"]
    assert f"below {claims.DARK}" in claims.RULES["dark"]
