"""The two claims about where the error falls, on profiles whose changes are known."""

import numpy as np
import pandas as pd
import pytest
from synthetic import findings, study

from asyrepro.analysis import mechanism as m
from asyrepro.analysis import verdicts
from asyrepro.report import mechanism as report
from asyrepro.report import texts
from asyrepro.runs.profiles import COLUMNS

# ------------------------------------------------------------------------------------- changes

UNCOMPARED = study(losses=("mae",), seeds=1)
GREY = [(k / 10, (k + 1) / 10) for k in range(10)]
GRADIENT = list(zip(m.GRADIENT_EDGES[:-1], m.GRADIENT_EDGES[1:], strict=True))


def profiles(dark=0.0, bright=0.0, edge=0.0, energy=0.0, seeds=6, images=4, noise=0.4, base="mae"):
    """Profiles whose true percentage changes under asy are known; noise is in percent."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(images), range(seeds), (base, f"asy_{base}"), range(20)],
        names=["image", "seed", "loss", "row"],
    )
    frame = index.to_frame(index=False)
    kinds = [("grey", k, *ends) for k, ends in enumerate(GREY)]
    kinds += [("gradient", k, *ends) for k, ends in enumerate(GRADIENT)]
    kinds = pd.DataFrame(kinds, columns=["kind", "bin", "lower", "upper"])
    frame = frame.join(kinds, on="row")
    percent, sharper = np.zeros(20), np.zeros(20)
    percent[:3], percent[7:10], percent[19], sharper[19] = dark, bright, edge, energy
    changed = (frame["loss"] != base).to_numpy()
    percent = changed * (percent[frame["row"]] + noise * rng.normal(size=len(frame)))
    sharper = changed * (sharper[frame["row"]] + noise * rng.normal(size=len(frame)))
    mse = 1e-3 * rng.uniform(0.5, 2, images)[frame["image"]] * (1 + percent / 100)
    label = np.where(frame["kind"] == "gradient", 50.0, np.nan)
    return frame.assign(
        **{"table": 2, "model": "srcnn", "dataset": "bsd300", "image": frame["image"].astype(str)},
        **{"pixels": 1000, "sum_squared": 1000 * mse, "sum_absolute": 1000 * mse**0.5},
        **{"energy_label": label, "energy_output": 0.6 * label * (1 + sharper / 100)},
    )[COLUMNS]


def region(frame, name):
    (found,) = m.regions(frame).query("region == @name").to_dict("records")
    return found


def test_changes_by_hand():
    frame = profiles(noise=0, seeds=2, images=2)
    main, grey = frame["loss"] == "asy_mae", frame["kind"] == "grey"
    frame.loc[main & grey & (frame["bin"] == 0), "sum_squared"] *= 0.5
    frame.loc[grey & (frame["bin"] == 1), ["pixels", "sum_squared"]] *= 3
    frame.loc[grey & (frame["bin"] == 2), ["pixels", "sum_squared", "sum_absolute"]] *= 0
    frame.loc[main & grey & (frame["bin"] == 7), ["sum_squared", "sum_absolute"]] *= 1.3
    frame.loc[main & ~grey & (frame["bin"] == 2), "sum_squared"] *= 0.7
    # bins of one and three parts, the first with half its error: (0.5 + 3) / 4 - 1
    assert region(frame, "dark")["measured"] == pytest.approx(-12.5)
    # of three alike: (1.3 + 1 + 1) / 3 - 1, and (1 + 1 + 0.7) / 3 - 1
    assert region(frame, "bright")["measured"] == pytest.approx(10)
    assert region(frame, "flat")["measured"] == pytest.approx(-10)
    assert region(frame, "dark minus bright")["measured"] == pytest.approx(-22.5)
    assert region(frame, "dark over bright")["measured"] == pytest.approx(100 * (1 / 1.1 - 1))
    split = m.bin_changes(frame).query("kind == 'grey'").set_index("bin")["change"]
    assert split[0] == pytest.approx(-50) and split[1] == pytest.approx(0)


def test_bin_changes_show_the_true_profile():
    found = m.bin_changes(profiles(dark=-4, bright=3, edge=-2, energy=5))
    grey = found[found["kind"] == "grey"].set_index("bin")
    assert grey["change"].tolist() == pytest.approx([-4] * 3 + [0] * 4 + [3] * 3, abs=0.3)
    assert (grey["lower"] < grey["change"]).all() and (grey["change"] < grey["upper"]).all()
    assert (grey["seeds"] == 6).all() and (grey["images"] == 4).all()
    assert grey["share"].tolist() == pytest.approx([10] * 10)
    last = found[(found["kind"] == "gradient") & (found["bin"] == 9)].iloc[0]
    assert last["change"] == pytest.approx(-2, abs=0.3)
    assert last["sharpness_change"] == pytest.approx(5, abs=0.3)
    assert last["sharpness_lower"] < 5.3 and last["sharpness_upper"] > 4.7


def test_images_with_too_few_pixels_in_a_bin_play_no_part():
    frame = profiles(seeds=2, images=4)
    last = (frame["kind"] == "grey") & (frame["bin"] == 9)
    frame.loc[last & (frame["image"] == "2"), "pixels"] = 99
    frame.loc[last & (frame["image"] == "3"), "pixels"] = 100
    exact = (frame["kind"] == "grey") & (frame["bin"] == 4) & (frame["loss"] == "mae")
    frame.loc[exact & (frame["image"] == "0") & (frame["seed"] == 0), "sum_squared"] = 0
    found = m.bin_changes(frame)
    grey = found[found["kind"] == "grey"].set_index("bin")["images"]
    assert grey[9] == grey[4] == 3 and (grey.drop([4, 9]) == 4).all()


def direction(frame, claim):
    table = verdicts.claim_verdicts({"region": m.regions(frame)}).set_index("claim")
    return table.loc[claim, "direction"]


@pytest.mark.parametrize(
    ("claim", "changes", "expected"),
    [
        ("darker-regions-mae", {"dark": -4}, "better"),
        ("darker-regions-mae", {"dark": 3}, "worse"),
        ("darker-regions-mae", {}, "neither shown"),
        ("darker-regions-mae", {"dark": -4, "noise": 60}, "neither shown"),
        ("darker-regions-mae", {"dark": -4, "seeds": 3}, "not judged"),
        ("darker-regions-mae", {"dark": -4, "seeds": 1}, "not judged"),
        ("sharper-edges-mae", {"edge": -4}, "better"),
        ("sharper-edges-mae", {"edge": 4}, "worse"),
        ("contrast-mae", {"energy": 40}, "better"),
        ("contrast-mae", {"energy": -40}, "worse"),
    ],
)
def test_claims_about_regions_are_judged_against_zero(claim, changes, expected):
    frame = profiles(**changes)
    assert direction(frame, claim) == expected
    with pytest.raises(KeyError):
        direction(frame, claim.replace("mae", "mse"))


@pytest.mark.parametrize(("sign", "expected"), [(1, "better"), (-1, "worse")])
def test_directions_of_the_other_regions(sign, expected):
    frame = profiles(dark=-4 * sign, bright=3 * sign, energy=40 * sign)
    for name in ("dark minus bright", "edge energy"):
        assert region(frame, name)["direction"] == expected


@pytest.mark.parametrize(
    ("column", "other"), [("device", "cuda"), ("iterations", 200), ("precision", "bfloat16")]
)
def test_pairs_that_differ_in_more_than_the_loss_are_left_out(column, other):
    frame = profiles(seeds=6)
    metrics = frame.drop_duplicates(["loss", "seed", "image"])
    metrics = metrics.assign(device="cpu", iterations=100, precision="float32")
    metrics[column] = metrics[column].astype(object)
    metrics.loc[(metrics["loss"] == "mae") & (metrics["seed"] < 2), column] = other
    found = m.regions(m.of_runs(frame, metrics))
    assert (found["seeds"] == 4).all()
    assert (m.regions(frame)["seeds"] == 6).all()


def test_edges_and_contrast_are_judged_for_srcnn_alone():
    other = profiles().assign(table=4, model="dncnn")
    with pytest.raises(KeyError):
        direction(other, "sharper-edges-mae")
    assert direction(other, "low-contrast-mae") == "neither shown"


# -------------------------------------------------------------------------------------- output


def test_regions_are_told_whatever_the_order_of_the_rows():
    frame = profiles(dark=-4, seeds=6, images=3)
    found = m.regions(m.of_runs(frame, UNCOMPARED))
    again = m.regions(m.of_runs(frame.sample(frac=1, random_state=1), UNCOMPARED))
    pd.testing.assert_frame_equal(found, again)
    assert "dark" in set(found["region"])


def test_chart_shows_both_kinds_and_the_share_of_pixels():
    figure = report.draw(m.bin_changes(profiles(dark=-4, seeds=3, images=3)), "title")
    assert len(figure.axes) == 4  # one base loss, and the shares below
    line = next(a for a in figure.axes[0].lines if "asymmetric" in a.get_label())
    assert line.get_ydata()[:3] == pytest.approx([-4] * 3, abs=0.7)


@pytest.mark.parametrize(("percent", "failed"), [(900, False), (1100, True)])
def test_failed_runs_have_no_chart_and_the_text_says_so(percent, failed):
    frame = profiles(dark=percent, seeds=2, images=2)
    changes = m.bin_changes(frame)
    assert (report.draw(changes, "title") is None) == failed
    without = report.without_chart(changes)
    compared = verdicts.verdicts(UNCOMPARED, None)
    claims = verdicts.claim_verdicts({"change": compared})
    found = findings(comparisons=compared, claims=claims, bins=changes, regions=m.regions(frame))
    text = texts.verdicts(found)
    assert ("Table 2, SRCNN" in text) == failed == bool(without)
