"""The claims as data: complete, and in step with the paper's printed numbers."""

import re

import pytest

from asyrepro.paper import claims, tables
from asyrepro.paper.claims import CLAIMS, claim

PRINTED = {"psnr": "psnr", "ssim": "ssim", "nrmse": "rmse"}


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
    assert {claim(f"srcnn-up-to-{m}").figure for m in ("psnr", "ssim", "nrmse")} == {0.5, 0.3, 1.7}


def test_ids_are_unique_and_every_claim_says_where_what_and_how():
    assert len({c.id for c in CLAIMS}) == len(CLAIMS)
    for c in CLAIMS:
        assert re.search(r"abstract|section|Table", c.place), c.id
        assert len(c.quote) > 20 and c.quantity and c.how == claims.RULES[c.rule]
        assert c.loss in (None, f"asy_{c.base}")


@pytest.mark.parametrize("c", [c for c in CLAIMS if c.rule == "change"], ids=lambda c: c.id)
def test_means_are_those_of_the_printed_table(c):
    printed = tables()
    column = printed[printed["table"] == c.table].pivot(
        index="image", columns="loss", values=PRINTED[c.metric]
    )
    assert c.before == pytest.approx(column[c.base].mean(), abs=6e-7)
    assert c.after == pytest.approx(column[c.loss].mean(), abs=6e-7)
    assert c.figure == pytest.approx((column[c.loss] - column[c.base]).mean(), abs=1.2e-6)
    assert c.figure * c.direction > 0, "the paper's mean is an improvement in every table"


def test_means_against_columns_typed_from_the_paper():
    # Table 2, PSNR under MAE and Asy_MAE, and Table 5, SSIM under MSE and Asy_MSE
    mae = [28.92492, 29.22410, 24.58361, 29.34065, 25.27809]
    mae += [29.41628, 29.06536, 31.98799, 23.43703, 26.07676]
    asy_mae = [29.03716, 29.23325, 24.60460, 29.46290, 25.34343]
    asy_mae += [29.49005, 29.18247, 32.13706, 23.46459, 26.17776]
    found = claim("table2-mae-psnr")
    assert found.before == pytest.approx(sum(mae) / 10, abs=6e-7)
    assert found.after == pytest.approx(sum(asy_mae) / 10, abs=6e-7)
    mse = [0.86228, 0.89098, 0.93252, 0.82345, 0.85225, 0.87443, 0.86539, 0.82429, 0.81272, 0.85461]
    asy = [0.86291, 0.89102, 0.93323, 0.82600, 0.85345, 0.87563, 0.86670, 0.82540, 0.81362, 0.85463]
    assert claim("table5-mse-ssim").figure == pytest.approx((sum(asy) - sum(mse)) / 10, abs=1.2e-6)


def test_published_summary_of_the_changes():
    # mean PSNR changes per table, three decimals
    changes = {"2-mae": 0.080, "2-mse": 0.049, "3-mae": 1.847, "3-mse": 3.727}
    changes |= {"4-mae": 0.118, "4-mse": 0.147, "5-mae": 0.153, "5-mse": 0.143}
    for name, change in changes.items():
        assert round(claim(f"table{name}-psnr").figure, 3) == change


def test_minimum_of_seeds_is_the_least_that_the_sign_test_can_use():
    assert 2 / 2**claims.MINIMUM_SEEDS < claims.SIGN_LEVEL <= 2 / 2 ** (claims.MINIMUM_SEEDS - 1)


def test_the_rules_state_the_thresholds_that_the_code_uses():
    assert f"{claims.SIGN_LEVEL}" in claims.RULES["change"]
    for rule in ("change", "up_to"):
        assert f"fewer than {claims.MINIMUM_SEEDS} seeds" in claims.RULES[rule]
    assert f"below {claims.TIME_RATIO}" in claims.RULES["time"]
    assert f"below {claims.DARK}" in claims.RULES["dark"]


def test_unknown_claim():
    with pytest.raises(KeyError, match="table9"):
        claim("table9-mae-psnr")
