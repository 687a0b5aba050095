"""The claims as data: complete, and with the thresholds of their rules."""

import re

from asyrepro.analysis.mechanism import REGIONS
from asyrepro.analysis.verdicts import RULES
from asyrepro.paper import claims
from asyrepro.paper.claims import CLAIMS


def test_figures_of_the_abstract():
    figures = {c.metric: c.figure for c in CLAIMS if c.rule == "up_to"}
    assert figures == {"psnr": 0.5, "ssim": 0.3, "nrmse": 1.7}


def test_nrmse_is_psnr_in_other_units_and_counts_for_nothing():
    uncounted = {c.metric for c in CLAIMS if not c.counted}
    assert uncounted == {"nrmse"} and all(c.counted for c in CLAIMS if c.metric != "nrmse")


def test_every_claim_has_a_rule_and_a_region_that_exist():
    for claim in CLAIMS:
        assert claim.rule in RULES
        assert (claim.region in REGIONS) == (claim.rule == "region")


def test_ids_are_unique_and_every_claim_says_where_what_and_how():
    assert len({c.id for c in CLAIMS}) == len(CLAIMS)
    for c in CLAIMS:
        assert re.search(r"abstract|section|Table", c.place), c.id
        assert len(c.quote) > 20 and c.quantity and c.how == claims.RULES[c.rule]
        assert c.loss in (None, f"asy_{c.base}")


def test_minimum_of_seeds_is_the_least_that_the_sign_test_can_use():
    assert 2 / 2**claims.MINIMUM_SEEDS < claims.SIGN_LEVEL <= 2 / 2 ** (claims.MINIMUM_SEEDS - 1)
