"""Forest plots of comparisons whose true effect is known (asyrepro.report.forest)."""

import numpy as np
import pandas as pd
import pytest
from synthetic import PAPER, study

from asyrepro.analysis import verdicts as v
from asyrepro.report import forest
from asyrepro.report.wording import MINUS


def test_forest_shows_every_comparison_and_the_paper(compared):
    figure = forest.of_table(compared, "title")
    axes = figure.axes
    assert len(axes) == 3
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels[0] == "Asy_MAE" and len(labels) == 10
    diamonds = [line for line in axes[0].lines if line.get_marker() == "D"]
    papers = [line.get_xdata()[0] for line in diamonds]  # of eq. (2) and of Table 1's reading
    assert sorted(papers) == pytest.approx([0.048564, 0.048564, 0.079848, 0.079848])


def test_overview_has_a_line_for_each_table_and_base_loss_with_its_budget():
    losses = ("mae", "asy_mae", "mse", "asy_mse")
    frame = pd.concat([study(losses=losses), study(losses=losses, table=4, seeds=6)])
    found = v.verdicts(frame, PAPER)
    claims = found[(found["kind"] == "claim") & (found["metric"] == "psnr")]
    (ax,) = forest.overview(claims.assign(steps="1,000"), "title").axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert [("10 seeds" in name, "6 seeds" in name) for name in names] == [
        *[(True, False)] * 2,
        *[(False, True)] * 2,
    ]
    assert all("1,000 steps" in name for name in names)
    at = dict(zip(ax.get_yticks(), (0.079848, 0.048564, 0.118, 0.147), strict=True))
    drawn = {x.get_ydata()[0]: x.get_xdata()[0] for x in ax.lines if x.get_marker() == "D"}
    beyond = {t.xy[1]: float(t.get_text().replace(MINUS, "-")) for t in ax.texts}
    found = {**drawn, **beyond}  # as diamonds, or as numbers at the border
    assert found.keys() == at.keys()
    assert all(found[place] == pytest.approx(value, abs=6e-3) for place, value in at.items())


def test_a_narrow_chart_shows_the_same_and_all_its_words_fit(compared):
    claims = compared[(compared["kind"] == "claim") & (compared["metric"] == "psnr")]
    title = "What the asymmetric weight changes, and what the paper reports"

    def made(narrow):
        figure = forest.overview(claims.assign(steps="24,000"), title, "A line.", narrow)
        (ax,) = figure.axes
        dots = [x.get_xdata()[0] for x in ax.lines if x.get_marker() == "o"]
        return figure, dots, [" ".join(x.get_text().split()) for x in ax.get_yticklabels()]

    (wide, dots, names), (narrow, same, beside) = made(False), made(True)
    assert dots == same and len(dots) == 2
    assert [name.replace(",", "") for name in names] == [name.replace(",", "") for name in beside]
    assert narrow.get_figwidth() < 0.5 * wide.get_figwidth()
    for figure in (wide, narrow):
        figure.canvas.draw()
        (ax,) = figure.axes
        texts = [*figure.texts, ax.xaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        for text in [*texts, *figure.legends[0].get_texts()]:
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("seeds", [1, 10])
def test_forest_explains_what_it_shows_and_nothing_else(full, seeds):
    table = v.verdicts(full[full["seed"] < seeds], PAPER)
    (legend,) = forest.of_table(table, "title").legends
    words = " | ".join(text.get_text() for text in legend.get_texts())
    assert "paper" in words
    assert ("95 %" in words) == (seeds > 1)


def test_forest_has_room_for_the_noise_and_far_off_changes_get_an_arrow(compared):
    rows = compared.assign(change=0.01, lower=0.005, upper=0.015, noise=0.03)
    for far, inside in ((0.04, True), (0.4, False)):
        ax = forest.of_table(rows.assign(paper_change=far), "title").axes[0]
        low, high = ax.get_xlim()
        assert low < -0.03 and high > 0.03 and (high > far) == inside
        assert any(line.get_marker() == ">" for line in ax.lines) != inside
        assert [text.get_text() for text in ax.texts] == [] if inside else ["+0.40", "+0.40"]
    alone = rows.assign(lower=np.nan, upper=np.nan, noise=np.nan, paper_change=0.15)  # one seed
    assert forest.of_table(alone, "title").axes[0].get_xlim()[1] > 0.15


def test_forest_says_how_many_seeds_and_whose_images(compared):
    def about(**columns):
        _, found = forest.of_table(compared.assign(**columns), "title").texts
        return found.get_text()

    assert "10 seeds" in about() and "test images of Table 2" in about()
    assert "1 seed." in about(seeds=1)
    assert "test images" not in about(table=4)
    assert "6 to 10 seeds" in about(seeds=[6, *[10] * (len(compared) - 1)])
