"""Every loss against its base loss on every test set (asyrepro.analysis.changes)."""

import html
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT
from synthetic import findings, tidy

from asyrepro import paper
from asyrepro.analysis import changes, statistics
from asyrepro.analysis.comparisons import comparisons
from asyrepro.report import answers, between, curves, further, study, texts
from asyrepro.runs import results
from asyrepro.system.errors import DataError


def rows(loss, values, *, testset="table2", variant="", seeds=None, **more):
    """Rows of one loss: ``values`` is seeds x images."""
    for seed, of_seed in zip(seeds or range(len(values)), values, strict=True):
        for image, psnr in zip("abc", of_seed, strict=False):
            yield {
                **{"table": 2 if testset == "table2" else "", "model": "srcnn"},
                **{"dataset": "bsd300", "loss": loss, "seed": seed, "image": image, "psnr": psnr},
                **{"ssim": psnr / 40, "rmse": 0.04, "nrmse": 2 - psnr / 20, "testset": testset},
                **{"variant": variant, "iterations": 100, "device": "cpu"},
                **more,
            }


def changed(frame):
    return changes.view(comparisons(frame))


MAE = [[30.0, 28.0], [30.2, 28.4]]
ASY = [[30.1, 28.5], [30.06, 28.6]]  # +0.1 +0.5, -0.14 +0.2


def test_a_comparison_by_hand(tmp_path):
    table = changed(tidy(tmp_path, rows("mae", MAE), rows("asy_mae", ASY)))
    assert table["metric"].tolist() == ["psnr", "ssim", "nrmse"]
    row = table.iloc[0]
    assert (row["loss"], row["against"], row["seeds"], row["images"]) == ("asy_mae", "mae", 2, 2)
    assert row["change"] == pytest.approx((0.1 + 0.5 - 0.14 + 0.2) / 4)
    assert row["against_mean"] == pytest.approx(29.15)
    # 29.0 and 29.3, and 29.3 and 29.33: two differences
    assert row["noise"] == pytest.approx(((0.3**2 + 0.03**2) / 2) ** 0.5)
    assert (row["seeds_better"], row["images_better"]) == (2, 1)
    assert row["direction"] == "not judged" and "seeds" in row["reason"]
    nrmse = table.iloc[2]  # falls where PSNR rises, and smaller is better
    assert nrmse["change"] == pytest.approx(-row["change"] / 20)
    assert (nrmse["seeds_better"], nrmse["images_better"]) == (2, 1)


def test_what_a_loss_is_compared_with(tmp_path):
    frame = tidy(
        tmp_path,
        rows("mae", MAE),
        rows("mse", [[29.0, 27.0]] * 2),
        rows("mine", ASY, base="mse"),
        rows("other", ASY),
        rows("third", ASY, base="charbonnier"),
    )
    table = changed(frame).query("metric == 'psnr'").set_index("loss")
    assert table["against"].to_dict() == {"mine": "mse", "other": "mae", "third": "charbonnier"}
    assert table.at["mine", "change"] == pytest.approx(29.315 - 28)
    assert table.at["third", "seeds"] == 0 and "Charbonnier" in table.at["third", "reason"]
    text = texts.changes(findings(frame=frame, changes=table.reset_index()))
    assert re.search(r"third \| Charbonnier \|.*no runs of Charbonnier", text)


def test_options_of_a_loss_are_compared_with_its_base_without_them(tmp_path):
    frame = tidy(
        tmp_path,
        rows("mae", MAE),
        rows("mae", [[20.0, 18.0]] * 2, variant="task.scale=4"),
        rows("asy_mae", ASY, variant="loss.criterion.quartile=0.75"),
        rows("mine", ASY, variant="loss.criterion.quartile=0.75"),
        rows("asy_mae", ASY, variant="loss.criterion.x=[1,2],task.scale=4"),
    )
    found = changes.shown(changed(frame)).set_index(["loss", "variant"])["change"]
    assert found["asy_mae", "loss.criterion.quartile=0.75"] == pytest.approx(0.165)
    assert found["mine", "loss.criterion.quartile=0.75"] == pytest.approx(0.165)
    assert found["asy_mae", "loss.criterion.x=[1,2],task.scale=4"] == pytest.approx(29.315 - 19)


def test_options_of_a_loss_are_compared_with_mse_where_there_is_no_mae(tmp_path):
    frame = tidy(
        tmp_path,
        rows("mse", MAE),
        rows("mine", ASY),
        rows("mine", ASY, variant="loss.criterion.delta=2"),
    )
    found = changes.shown(changed(frame)).set_index("variant")
    assert found["against"].to_dict() == {"": "mse", "loss.criterion.delta=2": "mse"}
    assert found["change"].to_numpy() == pytest.approx(0.165)


def test_the_literatures_psnr_is_shown_as_papers_count_it(tmp_path):
    # Set14's grey file counts 20 log10(255 / 219) = 1.3219 dB less in levels, and not in changes.
    y = {"psnr_y": 33.0, "ssim_y": 0.9, "testset": "set14"}
    frame = tidy(
        tmp_path,
        ({**row, **y, "image": "bridge"} for row in rows("mae", [[30.0]])),
        ({**row, **y, "image": "bridge", "psnr_y": 33.25} for row in rows("asy_mae", [[30.5]])),
    )
    frame["table"] = pd.NA
    shown = changes.shown(changed(frame))
    assert len(shown) == 1
    assert shown.iloc[0]["against_mean"] == pytest.approx(33 - 1.3219, abs=1e-4)
    assert shown.iloc[0]["change"] == pytest.approx(0.25)


def test_psnr_is_shown_where_one_of_two_losses_lacks_the_literatures(tmp_path):
    newer = rows("asy_mae", ASY, testset="set5", psnr_y=33.0, ssim_y=0.9)
    frame = tidy(tmp_path, rows("mae", MAE, testset="set5"), newer)
    [found] = changes.shown(changed(frame)).to_dict("records")
    assert found["metric"] == "psnr" and found["change"] == pytest.approx(0.165)


def test_infinite_values_are_left_out_and_told_of(tmp_path):
    flat = [[np.inf, 28.0], [30.2, 28.4]]
    frame = tidy(tmp_path, rows("mae", flat), rows("asy_mae", ASY))
    table = changed(frame)
    row = table.iloc[0]
    assert row["images"] == 1 and row["change"] == pytest.approx((0.5 + 0.2) / 2)
    text = texts.changes(findings(frame=frame, changes=table))
    assert "not judged" in text and "infinite" in row["notes"]


def test_what_was_left_out_is_shown(tmp_path):
    seeds = [0, 1, 2]
    mine = [rows("asy_mae", [value], seeds=[k]) for k, value in enumerate([*ASY, ASY[0]])]
    mine[2] = ({**row, "device": "NVIDIA H100"} for row in mine[2])
    frame = tidy(tmp_path, rows("mae", [*MAE, MAE[0]], seeds=seeds), *mine)
    text = texts.changes(findings(frame=frame, changes=changed(frame)))
    lines = [line for line in text.splitlines() if "seeds 2" in line]  # one a metric, at most
    assert lines and all("2 of 2" in line and "not judged" in line for line in lines)


def test_folders_of_one_name_are_told_apart(tmp_path):
    made = [
        rows(loss, values, testset="test", variant=f"dataset.name={top}.train,testset={top}.test")
        for top in ("a", "b")
        for loss, values in (("mae", MAE), ("asy_mae", ASY))
    ]
    shown = changes.shown(changed(tidy(tmp_path, *made)))
    assert shown["place"].tolist() == [
        f"test (dataset.name={top}.train,testset={top}.test)" for top in ("a", "b")
    ]


def test_order_and_names(tmp_path):
    made = []
    for testset, variant in (
        ("zoo", "dataset.name=.my.photos,dataset=folder,testset=.my.zoo"),
        *(("table2", f"task.scale={scale}") for scale in (10, 4)),
        *(("set14", ""), ("set5", ""), ("table2", "")),
    ):
        made += [rows(x, MAE, testset=testset, variant=variant) for x in ("mae", "asy_mae")]
    shown = changes.shown(changed(tidy(tmp_path, *made)))
    assert shown["place"].tolist() == [
        *("Table 2", "Table 2, task.scale=4", "Table 2, task.scale=10"),
        *("Set5", "Set14", "zoo"),
    ]


def page_of(folder, *made):
    """The page of a study with these rows."""
    tidy(folder, *made)
    study.build(folder, log=lambda line: None)
    return html.unescape((folder / "index.html").read_text(encoding="utf-8"))


def test_a_sweep_has_a_page_with_its_means_and_changes(tmp_path):
    made = [
        rows(loss, values, variant=f"task.scale={scale}")
        for loss, values in (("mae", MAE), ("asy_mae", ASY))
        for scale in (2, 3)
    ]
    text = page_of(tmp_path, *made)
    assert (tmp_path / "figures" / "changes.svg").is_file()
    sections = set(re.findall(r'<section id="(\w+)"', text))
    assert sections == {"answer", "run", "variants", "changes"}
    assert sections <= set(re.findall(r'href="#(\w+)"', text))
    assert '<th scope="row">Table 2, task.scale=3</th><td class="number">29.15</td>' in text
    assert "+0.165" in text and "not judged" in text
    assert "100 steps" in text and "Table 2's images" in text
    assert "SRCNN" in text.partition("What was run")[2].partition("</table>")[0]


def test_a_sweeps_settings_are_compared_by_their_last_validation(tmp_path):
    rates = {"recipe.optimizer.lr=0.0001": (29.0, 31.0), "recipe.optimizer.lr=0.001": (32.0, 33.0)}
    for variant, ends in rates.items():
        for seed, end in enumerate(ends):
            folder = tmp_path / f"table2,{variant},task.scale=2/mae/seed{seed}"
            folder.mkdir(parents=True)
            (folder / "rows.csv").touch()
            lines = ["step,loss,val_psnr,seconds", "5,0.3,35.0,1", f"10,0.2,{end},2", "15,0.1,,3"]
            (folder / "history.csv").write_text("\n".join(lines))
    whole = curves.collect(tmp_path)
    next(iter(tmp_path.glob("*/mae/seed0/history.csv"))).unlink()  # git does not keep them
    pd.testing.assert_frame_equal(curves.collect(tmp_path), whole, check_dtype=False)
    (grid,) = further.validation(whole)
    assert grid.head == ["Setting", "MAE"]
    assert grid.title.endswith("table2, task.scale=2")  # what they share
    assert dict(grid.rows) == dict(zip(rates, ("30.00", "32.50"), strict=True))
    assert further.validation(None) == []


def test_means_of_a_sweep_are_of_one_metric(tmp_path):
    # Two images of an older file lack luma; a mean over both kinds would be of neither.
    sweep = {"variant": "task.scale=2", "testset": "set5"}
    made = [
        {**row, "psnr_y": 33.0 if row["image"] == "a" else ""} for row in rows("mae", MAE, **sweep)
    ]
    (grid,) = further.variants(tidy(tmp_path, made))
    assert grid.rows[0][1:] == ["33.00"]


def test_nothing_to_compare_leaves_nothing(tmp_path):
    page_of(tmp_path, rows("mae", MAE), rows("asy_mae", ASY))
    assert (tmp_path / "changes.md").is_file()
    text = page_of(tmp_path, rows("mine", ASY, base="mse"))
    assert "MSE" in (tmp_path / "changes.md").read_text() and "MSE" in text
    page_of(tmp_path, rows("mae", MAE))
    assert not [path for path in tmp_path.rglob("changes.*")]


def test_two_studies_side_by_side(tmp_path):
    tidy(tmp_path / "short", rows("mae", MAE), rows("asy_mae", ASY))
    tidy(tmp_path / "long", rows("mae", [[31.0, 29.0], [31.2, 29.4]], iterations=900))
    text = between.write(tmp_path / "short", tmp_path / "long")
    assert "29.150" in text and "+1.000" in text and "Asy_MAE" not in text
    assert "29.150" in (tmp_path / "long" / "against_short.html").read_text()
    kept = pd.read_csv(tmp_path / "long" / "against_short.csv")
    assert kept["metric"].tolist() == ["psnr", "ssim", "nrmse"]
    tidy(tmp_path / "other", rows("mse", MAE))
    with pytest.raises(DataError, match="other"):
        between.write(tmp_path / "short", tmp_path / "other")


def test_studies_side_by_side_show_one_metric(tmp_path):
    """The older one has no luma: +0.165 dB there, and +0.165 dB, not luma's +1, in the newer."""
    both = (("mae", MAE, 30.0), ("asy_mae", ASY, 31.0))
    made = [rows(x, values, testset="set5") for x, values, _ in both]
    tidy(tmp_path / "older", *made)
    made = [rows(x, values, testset="set5", psnr_y=luma, ssim_y=0.9) for x, values, luma in both]
    tidy(tmp_path / "newer", *made)
    text = between.write(tmp_path / "older", tmp_path / "newer")
    assert text.count("+0.165") == 2 and "+1.000" not in text


def test_losses_of_ones_own_are_ranked_with_the_papers_beside(tmp_path):
    """Six seeds; changes known: new +0.5, asy_mae +0.1, other -0.2; Set5 is not the main place."""
    random = np.random.default_rng(0)
    mae = random.normal(30, 0.1, (6, 3)).round(6)
    small = {x: random.normal(0, 0.01, (6, 3)).round(6) for x in ("asy_mae", "new", "other")}
    gains = {"asy_mae": 0.1, "new": 0.5, "other": -0.2}
    made = [rows("mae", mae, testset=name) for name in ("table2", "set5")]
    for testset in ("table2", "set5"):
        made += [rows(x, mae + gains[x] + small[x], testset=testset, base="mae") for x in gains]
    compared = comparisons(tidy(tmp_path, *made), paper.tables())
    found = changes.leading(changes.shown(changes.view(compared)))
    assert found["loss"].tolist() == ["new", "asy_mae", "other"]
    assert set(found["place"]) == {"Table 2"}
    assert found["p_holm"].to_numpy() == pytest.approx(statistics.holm(found["p"].to_numpy()))
    theirs = paper.tables().query("table == 2").groupby("loss")["psnr"].mean()
    papers = found.set_index("loss")["paper_change"]
    assert papers["asy_mae"] == pytest.approx(theirs["asy_mae"] - theirs["mae"])
    assert papers[["new", "other"]].isna().all()
    told = answers.answer(
        changes.view(compared), pd.DataFrame(columns=["counted", "power", "verdict"])
    )
    assert told["own"] and [row["kind"] for row in told["rows"]] == ["good", "good", "bad"]
    for p, left in (([0.01] * 3, "3"), ([0.001, 0.06, 0.2], "1"), ([0.06] * 3, "none")):
        said = answers.own_sentence(found.assign(p_holm=p))
        assert re.findall(r"\d+|none", said)[-1] == left  # of Holm's p, below 0.05
    ssim = [row[1] for row in told["others"].rows]  # a fortieth of PSNR
    assert ssim[0].startswith(f"+{(0.5 + small['new'].mean()) / 40:.5f} [")
    assert ["better" in ssim[0], "better" in ssim[1], "worse" in ssim[2]] == [True] * 3


@pytest.mark.parametrize("name", ["asy_mae_table1", "asy_mae_table1_upper"])
def test_a_reading_of_table_1_is_judged_by_the_papers_change(tmp_path, name):
    mine = tidy(tmp_path, rows("mae", MAE), rows(name, ASY))
    compared = comparisons(mine, paper.tables())
    assert changes.leading(changes.shown(changes.view(compared)))["loss"].tolist() == [name]
    row = compared.iloc[0]
    theirs = paper.tables().query("table == 2").groupby("loss")["psnr"].mean()
    assert row["kind"] == "reading" and row["loss"] == name
    assert row["paper_change"] == pytest.approx(theirs["asy_mae"] - theirs["mae"])


def test_controls_answer_only_where_there_is_nothing_else(tmp_path):
    losses = ["asy_mae", "asy_mae_table1", "asy_mae_shuffled", "asy_mae_table1_upper"]
    for there, answering in ((losses, [*losses[:2], losses[3]]), (losses[2:3], losses[2:3])):
        frame = tidy(tmp_path, *(rows(x, [*MAE, *ASY, *MAE]) for x in ("mae", *there)))
        shown = changes.shown(changed(frame))
        assert changes.leading(shown)["loss"].tolist() == answering
        corrected = shown.loc[shown["p_holm"].notna(), "loss"].tolist()
        assert corrected == [loss for loss in there if loss != "asy_mae_shuffled"]


# ------------------------------------------------------------------- the committed studies


@cache
def committed(name):
    """The rows of a committed study, or of two together, and its changes."""
    parts = [results.load(ROOT / "results" / study) for study in name.split("+")]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[frame["seed"].notna()].assign(variant=frame["variant"].fillna(""))
    return frame, changed(frame)


@pytest.mark.parametrize(
    ("name", "variant", "testset", "loss", "metric", "lower", "upper"),
    [  # what README.md says, and some more; worked out by other code, outside this project
        ("paper-cpu", "", "table2", "asy_mae", "psnr", -0.0134, 0.0123),
        ("paper-cpu", "", "table2", "asy_mse", "psnr", -0.0033, 0.0291),
        ("optimisers", "", "table3", "asy_mae", "psnr", -0.0188, 0.0100),
        ("optimisers", "", "table3", "asy_mse", "psnr", -0.0061, 0.0169),
        ("optimisers", "", "table4", "asy_mae", "psnr", -0.2968, 0.0584),
        ("optimisers", "", "table4", "asy_mse", "psnr", -0.1017, 0.2435),
        ("optimisers", "", "table2", "asy_mse", "psnr", -0.0106, -0.0019),
        ("optimisers", "", "table5", "asy_mae", "psnr", -0.0996, 0.0896),
        ("optimisers", "", "table5", "asy_mse", "psnr", -0.0414, 0.0445),
        ("edsr-long", "", "table3", "asy_mae", "psnr", -0.0202, 0.0110),
        ("edsr-long", "", "table3", "asy_mse", "psnr", -0.0197, 0.0351),
        ("edsr-long", "", "table3", "huber", "psnr", -0.0447, 0.0086),
        ("edsr-long", "", "bsd90", "asy_mae", "psnr", -0.0061, 0.0071),
        ("edsr-long", "", "bsd90", "asy_mse", "psnr", -0.0071, 0.0086),
        ("edsr-mid", "", "table3", "asy_mae", "psnr", -0.0148, 0.0130),
        ("edsr-mid", "", "table3", "asy_mse", "psnr", -0.0090, 0.0178),
        ("edsr-mid", "", "bsd90", "asy_mae", "psnr", -0.0061, 0.0060),
        ("edsr-mid", "", "bsd90", "asy_mse", "psnr", -0.0059, 0.0081),
        ("dncnn-seeds", "", "table4", "asy_mae", "psnr", -0.0103, 0.0051),
        ("dncnn-seeds", "", "table4", "asy_mse", "psnr", -0.0060, 0.0100),
        ("dncnn-seeds", "", "bsd68", "asy_mae", "psnr", -0.0051, 0.0099),
        ("dncnn-seeds", "", "bsd68", "asy_mse", "psnr", -0.0039, 0.0063),
        ("seeds", "", "table3", "asy_mae", "psnr", -0.0102, 0.0163),
        ("seeds", "", "table3", "asy_mse", "psnr", -0.0029, 0.0035),
        ("seeds", "", "table4", "asy_mae", "psnr", -0.0564, 0.0190),
        ("seeds", "", "table4", "asy_mse", "psnr", -0.0223, 0.0424),
        ("dphsir-seeds", "", "table5", "asy_mae", "psnr", -0.0393, 0.0133),
        ("dphsir-seeds", "", "table5", "asy_mse", "psnr", -0.0493, 0.0049),
        ("dphsir-seeds", "", "table5", "asy_mse", "ssim", -0.00244, -0.00006),
        ("dphsir-seeds-2", "", "table5", "asy_mae", "psnr", -0.0129, 0.0381),
        ("dphsir-seeds-2", "", "table5", "asy_mse", "psnr", -0.0278, 0.0045),
        ("dphsir-seeds+dphsir-seeds-2", "", "table5", "asy_mae", "psnr", -0.0174, 0.0170),
        ("dphsir-seeds+dphsir-seeds-2", "", "table5", "asy_mse", "psnr", -0.0303, -0.0036),
        ("srcnn-seeds", "", "table2", "asy_mae", "psnr", -0.0150, 0.0031),
        ("srcnn-seeds", "", "table2", "asy_mse", "psnr", -0.0104, 0.0114),
        ("srcnn-seeds", "", "table2", "asy_mae_table1", "psnr", -0.0535, -0.0018),
        ("srcnn-seeds", "", "table2", "asy_mse_table1", "psnr", -0.1198, -0.0174),
        ("eq1", "", "table2", "asy_mae", "psnr", -0.0155, 0.0039),
        ("eq1", "", "table2", "asy_mse", "psnr", -0.0150, 0.0425),
        ("table1", "", "table2", "asy_mae_table1_upper", "psnr", -0.0383, 0.0002),
        ("table1", "", "table2", "asy_mse_table1_threshold", "psnr", -0.7518, -0.3351),
        ("which-loss", "", "bsd90", "asy_mae", "psnr", -0.0042, 0.0026),
        ("which-loss", "", "bsd90", "asy_mse", "psnr", -0.0036, 0.0043),
        ("which-loss-dncnn", "", "table4", "asy_mae", "psnr", -0.0970, 0.0495),
        ("which-loss-dncnn", "", "table4", "huber", "psnr", 0.0522, 0.1835),
        ("dncnn-huber", "", "table4", "huber", "psnr", 0.0086, 0.0686),
        ("dncnn-huber", "", "bsd68", "huber", "psnr", 0.0112, 0.0330),
        ("huber", "", "table3", "huber", "psnr", 0.0098, 0.0415),
        ("huber", "", "bsd90", "huber", "psnr", 0.0063, 0.0202),
        ("dphsir-huber", "", "table5", "huber", "psnr", 0.0053, 0.0475),
        ("dphsir-huber", "", "set12", "huber", "psnr", 0.0214, 0.0982),
        ("sigmas", "task.sigma=50", "table4", "asy_mae", "psnr", -0.0651, 0.0126),
        ("sigmas", "task.sigma=15", "table4", "asy_mse", "psnr", -0.1063, 0.0123),
        ("scales", "task.scale=2", "table2", "asy_mae", "psnr", -0.0135, 0.0040),
        ("scales", "task.scale=4", "table2", "asy_mse", "psnr", -0.0137, 0.0055),
    ],
)
def test_intervals_of_committed_studies_by_a_second_method(
    name, variant, testset, loss, metric, lower, upper
):
    base = "mse" if "mse" in loss else "mae"
    frame, table = committed(name)
    of = {"testset": testset, "variant": variant, "loss": loss, "metric": metric, "against": base}
    [found] = table[(table[[*of]] == [*of.values()]).all(axis=1)].to_dict("records")
    digits = 1e-4 if metric == "psnr" else 1e-5
    assert (found["lower"], found["upper"]) == pytest.approx((lower, upper), abs=digits)
    # ... and a bootstrap that draws seeds and images with replacement; where all variance is of six
    # seeds it is narrower than Student's interval, 1.96 sqrt(5 / 6) to 2.57
    frame = frame[(frame["testset"] == testset) & (frame["variant"] == variant)]
    wide = frame[frame["loss"].isin([loss, base])]
    wide = wide.pivot(index="seed", columns=["loss", "image"], values=metric)
    by_hand = (wide[loss] - wide[base]).to_numpy()
    rng, (seeds, images) = np.random.default_rng(1), by_hand.shape
    drawn = [
        by_hand[np.ix_(rng.integers(seeds, size=seeds), rng.integers(images, size=images))].mean()
        for _ in range(2000)
    ]
    half = np.diff(np.quantile(drawn, [0.025, 0.975]))[0] / 2
    assert found["change"] == pytest.approx(by_hand.mean(), abs=1e-12)
    assert 0.65 < half / ((upper - lower) / 2) < 1.25
