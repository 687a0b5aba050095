"""Verdicts on synthetic studies whose true effect is known."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import refuses
from synthetic import EFFECT, PAPER, findings, study, table_of_changes

from asyrepro.analysis import statistics
from asyrepro.analysis import verdicts as v
from asyrepro.analysis.comparisons import across, below_baseline
from asyrepro.paper.claims import CLAIMS, judge
from asyrepro.report import texts
from asyrepro.system.errors import DataError


def row(found, metric="psnr", loss="asy_mae", against="mae"):
    chosen = found[
        (found["metric"] == metric) & (found["loss"] == loss) & (found["against"] == against)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


# --------------------------------------------------------------------------------------- rules


def interval(lower, upper, better=10, worse=0, sign_p=0.002):
    middle = (lower + upper) / 2
    return statistics.Interval(middle, lower, upper, lower, upper, 0.01, better, worse, sign_p)


@pytest.mark.parametrize(
    ("found", "seeds", "figure", "direction", "size"),
    [
        (interval(0.01, 0.05), 10, 0.08, "better", "excluded"),
        (interval(0.05, 0.15), 10, 0.08, "better", "not excluded"),
        (interval(0.09, 0.15), 10, 0.08, "better", "excluded"),  # larger than the paper's
        (interval(0.01, 0.05, 7, 3, 0.34), 10, 0.08, "neither shown", "excluded"),  # signs
        (interval(-0.05, -0.01, 0, 10), 10, 0.08, "worse", "excluded"),
        (interval(-0.05, -0.01, 3, 7, 0.34), 10, 0.08, "neither shown", "excluded"),
        (interval(-0.02, 0.05, 7, 3, 0.34), 10, 0.08, "neither shown", "excluded"),
        (interval(-0.02, 0.09, 7, 3, 0.34), 10, 0.08, "neither shown", "not excluded"),
        (interval(-0.02, 0.05, 7, 3, 0.34), 10, np.nan, "neither shown", "no size given"),
        (interval(0.01, 0.05, 5, 0, 0.0625), 5, 0.08, "not judged", "not judged"),
        (interval(0.01, 0.05, 1, 0, 1.0), 1, 0.08, "not judged", "not judged"),
        (interval(np.nan, np.nan), 10, 0.08, "not judged", "not judged"),  # one image
    ],
)
def test_rule_for_changes(found, seeds, figure, direction, size):
    assert judge(found, seeds, figure)[:2] == (direction, size)


def test_an_effect_of_the_papers_size_is_found_and_none_is_not():
    rng = np.random.default_rng(11)

    def verdict(effect):
        found = statistics.crossed_interval(table_of_changes(rng, effect=effect))
        return judge(found, 10, EFFECT)[:2]

    strong = [verdict(EFFECT) for _ in range(200)]
    none = [verdict(0.0) for _ in range(200)]
    worse = [verdict(-EFFECT) for _ in range(100)]
    assert strong.count(("better", "not excluded")) >= 180  # 95 % of nearly all
    directions = [direction for direction, _ in none]
    assert directions.count("better") <= 8 and directions.count("worse") <= 8
    assert [size for _, size in none].count("excluded") >= 190
    assert worse.count(("worse", "excluded")) >= 97


# ------------------------------------------------------------------------- whole comparisons


def test_improvement_is_supported_in_every_metric(compared):
    for metric, sign in (("psnr", 1), ("ssim", 1), ("nrmse", -1)):
        found = row(compared, metric)
        assert found["direction"] == "better"
        assert sign * found["change"] > 0  # raw: NRMSE falls
        assert found["lower"] < found["change"] < found["upper"]
        assert found["fixed_lower"] < found["change"] < found["fixed_upper"]
        assert sign * found["paper_change"] > 0
        assert (found["seeds_better"], found["seeds_worse"]) == (10, 0)
        assert (found["seeds"], found["images"], found["images_better"]) == (10, 10, 10)


def test_numbers_are_those_of_the_rows(full, compared):
    wide = full.pivot(index=["seed", "image"], columns="loss", values="nrmse")
    found = row(compared, "nrmse")
    assert found["change"] == pytest.approx((wide["asy_mae"] - wide["mae"]).mean())
    assert found["against_mean"] == pytest.approx(wide["mae"].mean())
    assert found["paper_change"] == pytest.approx(-0.000532, abs=1e-6)  # Table 2, printed RMSE


def test_yardstick_is_the_difference_of_two_seeds_over_all_losses_but_the_controls(full, compared):
    rows = full[full["loss"].isin(["mae", "mse", "asy_mae", "asy_mse"])]
    squares = []
    for _, of_loss in rows.groupby("loss"):
        means = of_loss.groupby("seed")["psnr"].mean().to_numpy()
        squares += [(a - b) ** 2 for a, b in itertools.combinations(means, 2)]
    assert row(compared)["noise"] == pytest.approx(np.mean(squares) ** 0.5)
    longer = full[(full["loss"] == "mse") & (full["seed"] == 0)].assign(seed=99, iterations=2000)
    more = pd.concat([full, longer.assign(psnr=longer["psnr"] + 3)])  # no run of the usual kind
    assert row(v.verdicts(more, PAPER))["noise"] == row(compared)["noise"]


def test_ranges_without_one_seed_and_without_one_image(full, compared):
    wide = full.pivot(index=["seed", "image"], columns="loss", values="psnr")
    change = (wide["asy_mae"] - wide["mae"]).unstack("image")
    found = row(compared)
    by_seed = [change.drop(index=seed).to_numpy().mean() for seed in change.index]
    by_image = [change.drop(columns=image).to_numpy().mean() for image in change.columns]
    ends = found[["seed_out_lower", "seed_out_upper", "image_out_lower", "image_out_upper"]]
    expected = [min(by_seed), max(by_seed), min(by_image), max(by_image)]
    assert ends.to_list() == pytest.approx(expected)


def test_the_plain_losses_are_compared_with_each_other(full, compared):
    found = row(compared, loss="mse", against="mae")
    assert found["kind"] == "order"
    assert found["change"] == pytest.approx(0, abs=1e-9)  # the same levels
    means = PAPER[PAPER["table"] == 2].groupby("loss")["psnr"].mean()
    assert found["paper_change"] == pytest.approx(means["mse"] - means["mae"])


def test_controls_tell_asymmetry_from_loss_scale(compared):
    shuffled = row(compared, loss="asy_mae", against="asy_mae_shuffled")
    normalized = row(compared, loss="asy_mae", against="asy_mae_normalized")
    assert shuffled["direction"] == "better" and np.isnan(shuffled["paper_change"])
    assert normalized["direction"] == "neither shown"
    assert row(compared, loss="asy_mae_normalized")["direction"] == "better"
    assert row(compared, loss="asy_mae_inverted")["direction"] == "worse"
    sources = v.attribution(compared).set_index(["base", "metric"])
    assert sources.loc[("mae", "psnr")].tolist()[-2:] == ["better", "the asymmetry"]
    both = "both the asymmetry and the smaller loss scale"  # neither control of MSE has its effect
    assert sources.loc[("mse", "psnr")].tolist()[-2:] == ["worse", both]


def test_holm_runs_over_one_kind(compared):
    main = compared[(compared["kind"] == "claim") & (compared["metric"] != "nrmse")]
    assert main["p_holm"].to_numpy() == pytest.approx(statistics.holm(main["p"].to_numpy()))
    assert compared.loc[compared["metric"] == "nrmse", "p_holm"].isna().all()
    assert set(compared["kind"]) == {"claim", "reading", "control", "contrast", "order"}


def test_order_of_rows_does_not_matter(full, compared):
    mixed = full.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(v.verdicts(mixed, PAPER), compared)


def paper_with(factor):
    """The paper with another change of the asymmetric MAE, as a factor, in every metric."""
    other = PAPER.copy()
    asymmetric, base = (other["loss"] == loss for loss in ("asy_mae", "mae"))
    for name in ("psnr", "ssim", "rmse"):
        before = other.loc[base, name].to_numpy()
        other.loc[asymmetric, name] = before + factor * (other.loc[asymmetric, name] - before)
    return other


@pytest.mark.parametrize("metric", ["psnr", "ssim", "nrmse"])
def test_size_is_excluded_where_the_papers_is_another_one(metric, full, compared):
    found = row(v.verdicts(study(seed=6), paper_with(10)), metric)
    assert (found["direction"], found["size"]) == ("neither shown", "excluded")
    assert abs(found["paper_change"]) > 10 * abs(found["change"])
    first = row(compared, metric)
    same = paper_with(first["change"] / first["paper_change"])
    assert row(v.verdicts(full, same), metric)["size"] == "not excluded"


def test_one_seed_gives_no_verdict():
    frame = study({"asy_mae": 0.5}, seeds=1)
    found = v.verdicts(frame, PAPER)
    assert set(found["direction"]) == {"not judged"}
    assert found[["lower", "upper", "p", "noise"]].isna().all(axis=None)


def test_runs_without_a_partner_are_left_out_and_named():
    frame = study({"asy_mae": 0.1}, seeds=9)
    frame = frame[~((frame["loss"] == "mae") & (frame["seed"] == 4))]  # a missing run
    frame = frame[
        ~((frame["loss"] == "asy_mae") & (frame["seed"] == 2) & (frame["image"] == "05"))
    ]  # an unfinished one
    frame.loc[(frame["loss"] == "mae") & (frame["seed"] == 7), "iterations"] = 500
    found = row(v.verdicts(frame, PAPER))
    assert found["seeds"] == 6 and found["images"] == 10
    assert "seeds 2, 4" in found["reason"] and "seeds 7" in found["reason"]


def test_what_is_not_known_of_a_run_agrees_with_anything():
    frame = study({"asy_mae": 0.1})
    frame["device"] = np.where(frame["loss"] == "mae", None, "cpu")
    assert row(v.verdicts(frame, PAPER))["seeds"] == 10


def test_baselines_variants_and_other_test_sets_play_no_part():
    frame = study({"asy_mae": 0.1})
    other = frame.assign(table=np.nan, testset="set5", psnr=0.0)
    sweep = study({"asy_mae": 0.03}, seed=1).assign(variant="task.scale=4")
    baseline = frame[frame["seed"] == 0].assign(loss="bicubic", seed=np.nan)
    both = pd.concat([frame, other, sweep, baseline], ignore_index=True)
    pd.testing.assert_frame_equal(v.verdicts(both, PAPER), v.verdicts(frame, PAPER))


def test_without_the_paper_nothing_is_excluded():
    found = row(v.verdicts(study(seed=4), None))
    assert np.isnan(found["paper_change"])
    assert (found["direction"], found["size"]) == ("neither shown", "no size given")


def test_damaged_tables_are_refused():
    frame = study(seeds=2)
    with refuses(DataError, "image 03"):
        v.verdicts(pd.concat([frame, frame.iloc[:1]]), PAPER)
    for column in ("nrmse", "psnr_y"):
        with refuses(DataError, column):
            v.verdicts(frame.drop(columns=column), PAPER)


# --------------------------------------------------------------------------- the other claims


def up_to(frame, metric, figure):
    [claim] = (claim for claim in CLAIMS if claim.id == f"srcnn-up-to-{metric}")
    return next(v.up_to(replace(claim, figure=figure), frame), None)


def test_up_to():
    frame = study({"asy_mae": 0.0}, spread=(0.01, 0.01, 0.01))
    lucky = (frame["image"] == "07") & (frame["loss"] == "asy_mae")
    frame.loc[lucky, "psnr"] *= 1.006
    found = up_to(frame, "psnr", 0.5)
    assert (found["direction"], found["size"]) == ("better", "not excluded")
    assert found["quantity"].endswith("(image 07, mae)")
    assert found["lower"] < found["measured"] < found["upper"]
    assert found["measured"] == pytest.approx(0.6, abs=0.1)
    wide = frame[frame["image"] == "07"].pivot(index="seed", columns="loss", values="psnr")
    error = (100 * wide["asy_mae"] / wide["mae"]).std(ddof=1) / 10**0.5
    # ten images: t(1 - 0.025 / 10, 9 degrees of freedom) = 3.690 in printed tables
    assert found["measured"] - found["lower"] == pytest.approx(3.690 * error, rel=1e-3)
    for above, size in ((0.04, "not excluded"), (0.06, "excluded")):  # half a printed digit
        assert up_to(frame, "psnr", found["upper"] + above)["size"] == size
    both = pd.concat([frame, study({"asy_mse": 0.0}, seeds=2, losses=("mse", "asy_mse"))])
    assert up_to(both, "psnr", 0.5)["seeds"] == 2
    for few in (1, 4):
        found = up_to(frame[frame["seed"] < few], "psnr", 0.5)
        assert (found["direction"], found["size"]) == ("not judged", "not judged")
    worse = study({"asy_mae": -1.0})
    assert up_to(worse, "nrmse", 1.7)["direction"] == "worse"
    wild = (worse["image"] == "05") & (worse["loss"] == "asy_mae")
    worse.loc[wild, "nrmse"] *= np.where(worse.loc[wild, "seed"] % 2, 0.5, 2)  # its interval: + 0
    assert up_to(worse, "nrmse", 1.7)["direction"] == "neither shown"
    assert up_to(frame.assign(table=4), "psnr", 0.5) is None


def step_times(factor, repetitions=10, noise=0.02):
    rng = np.random.default_rng(0)
    rows = []
    for repetition in range(repetitions):
        slow = rng.lognormal(0, 0.3)  # the machine's mood, shared by what took turns
        for loss, mean in (("mae", 10.0), ("asy_mae", 10.0 * factor)):
            time = slow * mean * rng.lognormal(0, noise)
            rows.append({"loss": loss, "step_ms": time, "repetition": repetition})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("factor", "direction"), [(1.0, "neither shown"), (1.2, "worse"), (0.9, "better")]
)
def test_step_time(factor, direction):
    found = v.step_time_summary(step_times(factor)).iloc[0]
    assert found["direction"] == direction
    assert found["lower"] <= found["ratio"] <= found["upper"]
    assert found["ratio"] == pytest.approx(factor, rel=0.02)
    assert (found["loss"], found["against"], found["repetitions"]) == ("asy_mae", "mae", 10)


def test_step_time_worked_by_hand_and_its_errors():
    frame = pd.DataFrame(
        {
            "loss": [*["mae"] * 3, "asy_mae", "mae", "asy_mae", "mae", "asy_mae"],
            "step_ms": [10, 9, 90, 11, 20, 24, 5, 5],  # ratios 1.1, 1.2, 1.0
            "repetition": [0, 0, 0, 0, 1, 1, 2, 2],
        }
    )
    found = v.step_time_summary(frame).iloc[0]
    assert (found["base_ms"], found["loss_ms"]) == (10, 11)
    assert found["ratio"] == pytest.approx((1.1 * 1.2 * 1.0) ** (1 / 3))
    assert found["direction"] == "not judged" and np.isnan(found["lower"])
    mine = frame.replace({"mae": "mse", "asy_mae": "mine"})
    for declared, base in (({}, "mse"), ({"base": "mse"}, "mse"), ({"base": "mae"}, None)):
        found = v.step_time_summary(mine.assign(**declared))
        assert found["against"].tolist() == [base] * (base is not None)
    with refuses(DataError, "step_ms"):
        v.step_time_summary(frame.assign(step_ms=0))
    with refuses(DataError, "repetition"):
        v.step_time_summary(frame.drop(columns="repetition"))


def test_claims_get_the_verdicts_of_their_rules(full, compared):
    times = v.step_time_summary(step_times(1.0))
    found = v.claim_verdicts({"change": compared, "up_to": full, "time": times}).set_index("claim")
    assert found.loc["table2-mae-nrmse", "direction"] == "better"
    assert found.loc["table2-mse-psnr", "direction"] == "worse"
    assert found.loc["training-time-mae", "direction"] == "neither shown"
    assert (
        found["counted"].to_dict()["table2-mae-psnr"]
        and not found.loc["table2-mae-nrmse", "counted"]
    )
    assert found.loc["srcnn-up-to-ssim", "seeds"] == 10
    assert not any(name.startswith(("table3", "table4", "sharper")) for name in found.index)
    found = v.claim_verdicts({"change": compared.assign(table=4)}).set_index("claim")
    assert found.loc["order-table4", "measured"] == row(compared, "psnr", "mse", "mae")["change"]


def test_learning_by_hand():
    rows = [("mae", seed, step, 20.0 + step) for seed in range(6) for step in (1, 2)]
    gains = (0.1, 0.2, 0.3, 0.1, 0.2, 0.3)  # at step 1; twice that at step 2: 1.5 on average
    rows += [("asy_mae", seed, step, 20 + step + step * gains[seed]) for _, seed, step, _ in rows]
    histories = pd.DataFrame(rows, columns=["loss", "seed", "step", "val_psnr"]).assign(table=2)
    [claim] = (claim for claim in CLAIMS if claim.id == "learning-mae")
    [found] = v.learning(claim, histories)
    assert found["measured"] == pytest.approx(0.3)
    # t(0.975, 5 degrees of freedom) = 2.5706 in printed tables; 1.5 * gains
    half = 2.5706 * 1.5 * np.std(gains, ddof=1) / 6**0.5
    assert (found["lower"], found["upper"]) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-4)
    assert found["direction"] == "better"


# ------------------------------------------------------------------- any losses, other comparisons


def test_a_loss_of_ones_own_is_judged_against_the_base_that_is_there():
    frame = study({"mine": 0.2}, losses=("mse", "mine"))
    found = v.verdicts(frame, PAPER)
    one = row(found, loss="mine", against="mse")
    assert (one["kind"], one["direction"], one["size"]) == ("loss", "better", "no size given")
    assert set(found["against"]) == {"mse"}
    claims = v.claim_verdicts({"change": found, "up_to": frame})
    body = texts.verdicts(findings(comparisons=found, claims=claims))
    assert "mine" in body and "table2-mae-psnr" not in body and "MAE" not in body


def test_two_studies_are_compared_loss_by_loss():
    short = study(losses=("mae", "asy_mae"))
    long = short.assign(psnr=short["psnr"] + 0.5, iterations=2000)
    found = across(short, long[long["loss"] == "mae"])
    assert set(found["loss"]) == {"mae"} and set(found["kind"]) == {"study"}
    one = found[found["metric"] == "psnr"].iloc[0]
    assert (one["seeds"], one["images"]) == (10, 10)
    assert one["change"] == pytest.approx(0.5) and one["direction"] == "better"


def test_runs_below_their_baseline_are_found():
    frame = study(losses=("mae",), seeds=2)
    floor = frame[frame["seed"] == 0].assign(loss="bicubic", seed=np.nan)
    floor["psnr"] -= 1
    frame.loc[frame["seed"] == 1, "psnr"] -= 3
    frame = pd.concat([frame, floor])
    (found,) = below_baseline(frame).to_dict("records")
    assert (found["loss"], found["seed"], found["baseline"]) == ("mae", 1, "bicubic")
    means = frame.groupby(["loss", frame["seed"].fillna(-1)])["psnr"].mean()
    assert found["psnr"] == pytest.approx(means["mae", 1])
    assert found["baseline_psnr"] == pytest.approx(means["bicubic", -1])
    image = frame["image"].iloc[0]
    frame.loc[(frame["loss"] == "bicubic") & (frame["image"] == image), "psnr"] = np.inf
    (found,) = below_baseline(frame).to_dict("records")  # not seed 0, too: the image is left out
    rest = frame[(frame["loss"] == "bicubic") & (frame["image"] != image)]
    assert found["seed"] == 1
    assert found["baseline_psnr"] == pytest.approx(rest["psnr"].mean())


# ------------------------------------------------------------------------------ the paper's changes


def test_power_is_given_where_the_paper_has_a_gain_and_the_seeds_suffice(full):
    table = v.verdicts(full, PAPER, with_power=True)
    gains = table["metric"].map({"psnr": 1, "ssim": 1, "nrmse": -1}) * table["paper_change"] > 0
    assert gains[table["kind"].isin(["claim", "reading"])].all()
    assert table.loc[gains, "power"].between(0, 1).all()
    assert min(row(table, metric)["power"] for metric in ("psnr", "nrmse")) > 0.9
    assert table.loc[~gains, "power"].isna().all()
    few = v.verdicts(full[full["seed"] < 5], PAPER, with_power=True)
    assert few["power"].isna().all()
