"""The page of a study: what it says, what it shows, and how it works in a browser."""

import csv
import html
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, refuses
from PIL import Image
from synthetic import save_rows

from asyrepro import paper
from asyrepro.data.catalogue import TABLE2
from asyrepro.report import crops, front, study
from asyrepro.report.page import failures
from asyrepro.report.wording import MINUS, NOTHING
from asyrepro.runs import results
from asyrepro.system.errors import DataError

ODD = "<b>\"odd\" & 'name'</b>"
LOSSES = ("mae", "mse", "asy_mae", "asy_mse")


def rows(table=4, seeds=(0, 1), images=None, dataset="bsd400", steps=500, losses=LOSSES, low=28):
    """Tidy rows with made-up metrics; a baseline first."""
    random = np.random.default_rng(table)
    images = images or paper.known_images()[4]
    baseline = "bicubic" if table < 4 else "noisy"
    for loss in (baseline, *losses):
        for seed in [""] if loss == baseline else seeds:
            for image in images:
                psnr, ssim, nrmse = random.uniform([low, 0.8, 0.05], [32, 0.9, 0.08]).round(6)
                psnr = 20.17 if loss == baseline else psnr
                yield {
                    **dict.fromkeys(results.COLUMNS, ""),
                    **{"table": table, "model": paper.MODELS[table], "dataset": dataset},
                    **{"loss": loss, "seed": seed, "image": image, "psnr": psnr, "ssim": ssim},
                    **{"rmse": 0.04, "nrmse": nrmse, "testset": f"table{table}", "device": "cpu"},
                    "iterations": "" if loss == baseline else steps,
                }


def write_crops(folder, tidy, name="table4", losses=LOSSES, seed=0):
    """Kept crops of the first two images, as an earlier report made them."""
    random = np.random.default_rng(1)
    tidy, lines = list(tidy), []
    images = list(dict.fromkeys(row["image"] for row in tidy))[:2]
    for number, image in enumerate(images, start=1):
        for kind in ("input", *losses, "label"):
            loss = tidy[0]["loss"] if kind == "input" else kind
            psnr = [row["psnr"] for row in tidy if row["image"] == image and row["loss"] == loss
                    and row["seed"] in ("", seed)]  # fmt: skip
            file = f"{name}_{number}_{kind}.png"
            (folder / "crops").mkdir(parents=True, exist_ok=True)
            pixels = np.uint8(random.integers(0, 256, (crops.SIDE, crops.SIDE)))
            Image.fromarray(pixels).save(folder / "crops" / file)
            lines.append([file, name, image, seed, kind, 11, 6, psnr[0] if psnr else ""])
    with open(folder / "crops" / "crops.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([crops.COLUMNS, *lines])


def built(folder, tidy, **more):
    save_rows(folder / "metrics.csv", list(tidy))
    study.build(folder, log=lambda line: None, **more)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of Tables 2 and 4 whose test images have odd names, six seeds, with crops."""
    folder = tmp_path_factory.mktemp("results") / "odd & study"
    two = list(rows(2, range(6), [ODD, *TABLE2[1:]], "bsd300"))
    four = list(rows(4, range(6)))
    write_crops(folder, four)
    return built(folder, [*two, *four])


def text_of(folder):
    return html.unescape((folder / "index.html").read_text(encoding="utf-8"))


def section(folder, name):
    text = (folder / "index.html").read_text(encoding="utf-8")
    return text.partition(f'<section id="{name}"')[2].partition("</section>")[0]


class Rows(HTMLParser):
    """The texts of all table rows."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.open = False

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data


# ---------------------------------------------------------------------------------- what it says


def test_means_are_the_tidy_tables_and_the_papers(made):
    tidy = [row for row in rows(4, range(6)) if row["loss"] == "mae"]
    mean = np.mean([row["psnr"] for row in tidy])
    theirs = paper.tables().query("table == 4 and loss == 'mae'")["psnr"].mean()
    line = next(r for r in Rows(section(made, "table4")).rows if r[0] == "MAE")
    assert line[1] == f"{mean:.3f}paper: {theirs:.3f}"


def test_each_image_has_its_row_in_each_metric(made):
    found = [r for r in Rows(section(made, "table4")).rows if len(r) > 3 and r[1] == "03"]
    assert len(found) == 3  # psnr, ssim, nrmse
    mine = [r for r in rows(4, range(6)) if (r["loss"], r["image"]) == ("mse", "03")]
    assert f"{np.mean([row['psnr'] for row in mine]):.3f}" in found[0]


def test_colour_only_where_a_change_exceeds_chance(tmp_path):
    random = np.random.default_rng(0)

    def shifted(by):
        for row in rows(4, range(6), losses=("mae", "asy_mae")):
            if row["loss"] != "noisy":
                change = by * (row["loss"] == "asy_mae")
                row["psnr"] = round(30 + change + 0.01 * random.normal(), 6)
            yield row

    for by, marks in ((0.5, {"better"}), (-0.5, {"worse"}), (0.0, set())):
        folder = built(tmp_path / f"{by}", shifted(by))
        cells = section(folder, "table4").partition("</table>")[0]
        line = cells.partition(f"Asy_MAE {MINUS} MAE")[2].partition("</td>")[0]
        assert {m for m in ("better", "worse") if f"number {m}" in line} == marks


def test_names_are_escaped(made):
    raw = (made / "index.html").read_text(encoding="utf-8")
    assert ODD not in raw and "&lt;b&gt;" in raw
    assert ODD in text_of(made)


def test_title_goals_and_answer_stand_first(made):
    text = text_of(made)
    assert re.search(r"<h1>.*SRCNN and DnCNN.*4 losses.*500 steps, 6 seeds", text)
    order = re.findall(r'<section id="(\w+)"', text)
    assert order[:2] == ["answer", "run"] and order.index("table2") < order.index("table4")


def test_everything_it_shows_lies_beside_it(made):
    raw = (made / "index.html").read_text(encoding="utf-8")
    files = set(re.findall(r'src="([^"]+)"', raw)) - {"data:,"}
    elsewhere = ("data:", "../", "https://doi.org/")
    links = {x for x in re.findall(r'href="([^"#]+)"', raw) if not x.startswith(elsewhere)}
    assert files and all((made / name).is_file() for name in files | links)
    pictures = re.findall(r"<img [^>]*>", raw)  # keep their place before they are loaded
    assert all(re.search(r' width="\d+" height="\d+"', tag) for tag in pictures)
    assert not re.search(r'(src|<link [^>]*href)="(https?:)?//', raw)
    assert {"figures/fig4.svg", "figures/fig9.svg", "figures/fig6_dncnn.jpg"} <= files


def test_a_clone_without_run_folders_gives_the_same_bytes(made, tmp_path):
    clone = tmp_path / made.name
    shutil.copytree(made, clone)
    study.build(clone, log=lambda line: None)
    for path in made.rglob("*"):
        if path.is_file():
            assert (clone / path.relative_to(made)).read_bytes() == path.read_bytes(), path.name


def test_pictures_of_another_run_are_not_shown(made, tmp_path):
    folder = tmp_path / "s"
    tidy = list(rows(4, range(6)))
    write_crops(folder, tidy)
    for row in tidy:
        row["psnr"] = round(row["psnr"] + 0.5, 6)
    built(folder, tidy)
    assert "crops/" not in section(folder, "table4")


def test_pictures_of_a_sweep_are_not_a_tables(tmp_path):
    tidy = list(rows(2))
    write_crops(tmp_path, tidy, "table2")
    of_sweep = tmp_path / "figures" / "fig5_table4,task.sigma=15.jpg"  # as the sweep's report left
    of_sweep.parent.mkdir()
    Image.new("L", (9, 9)).save(of_sweep)
    said = section(built(tmp_path, tidy), "table2")
    assert "figures/fig5.jpg" in said and of_sweep.name not in said


def test_warnings_of_few_steps_stand_ins_and_runs_below_the_baseline(tmp_path):
    text = text_of(built(tmp_path / "a", rows(seeds=(0,), dataset="bundled", low=10)))
    assert "bundled stand-in data" in text and "500 steps" in text
    failing = [dict(r, psnr=12.5) if r["loss"] == "mse" else r for r in rows(steps=45_000)]
    text = text_of(built(tmp_path / "b", failing))
    assert re.search(r"DnCNN, Table 4: 2 of 8 runs .*20.17 dB", text)
    own = [dict(r, table="", testset="mine") for r in failing]
    assert "DnCNN, mine: 2 of 8 runs" in text_of(built(tmp_path / "c", own))


def test_a_loss_of_ones_own_is_answered_like_the_papers(tmp_path):
    folder = tmp_path / "own"
    tidy = list(rows(4, range(6), losses=("mse", "mine")))
    tidy = [r | {"base": "mse" if r["loss"] == "mine" else ""} for r in tidy]
    write_crops(folder, tidy, losses=("mse", "mine"))
    text = text_of(built(folder, tidy))
    assert "mine against MSE" in section(folder, "answer")
    assert "not run" not in text and "not measured" not in text and "Asy_MAE" not in text
    shown = {path.name for path in (folder / "figures").iterdir()}
    assert {"fig9.svg", "fig5_dncnn.jpg", "fig6_dncnn.jpg", "changes.svg", "fig1_2.jpg"} <= shown
    assert 'class="gallery"' in section(folder, "table4")


def test_what_is_recorded_of_the_machine_is_said(tmp_path):
    record = {
        "format": 1,
        "cells": {"table4/mae/seed0": {"finished": "2026-01-02", "environments": ["a"]}},
        "environments": {"a": {"cpu": "A Processor", "flags": {"threads": 2, "amp": False}}},
    }
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "reproducibility.json").write_text(json.dumps(record))
    said = section(built(folder, rows()), "run")
    assert all(x in said for x in ("A Processor", "2026-01-02", "float32"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reproducibility.json", "{"),
        ("crops/crops.csv", "file,table\nx,1\n"),
        ("histories.csv", "table\n"),
        ("failure.md", b"\xff"),
    ],
)
def test_a_damaged_file_of_the_page_is_named(tmp_path, name, content):
    save_rows(tmp_path / "metrics.csv", list(rows()))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refuses(DataError, path.name):
        study.build(tmp_path, log=lambda line: None)


def test_a_table_of_which_no_run_is_finished_is_left_out(tmp_path):
    folder = built(tmp_path, [*rows(4), *rows(5, losses=())])  # as while a study runs
    assert [path.stem for path in folder.glob("tables/*.csv")] == ["table4"]


def test_a_study_without_a_finished_run_is_refused(tmp_path):
    with refuses(DataError, "metrics.csv"):
        built(tmp_path, rows(losses=()))


def test_a_failure_stands_first_where_it_is_the_whole_study(tmp_path):
    table = "| seed | dB |\n|--|-:|\n| 0 | -3.1 |\n"
    tmp_path.joinpath("failure.md").write_text(f"# All fail\n\n{table}\n<script>1</script>\n")
    folder = built(tmp_path, rows(seeds=(0,)))
    order = re.findall(r'<section id="(\w+)"', text_of(folder))
    assert order.index("failure") < order.index("run")
    assert ["0", "\u22123.1"] in Rows(section(folder, "failure")).rows
    assert "<script>" not in section(folder, "failure")


def test_a_heading_of_failure_md_keeps_the_paragraph_right_below_it(tmp_path):
    tmp_path.joinpath("failure.md").write_text("# All fail\nRight below.\n\n## Why\nUnknown.\n")
    found = failures(tmp_path)
    assert found.title == "All fail"
    assert found.headings == {"section1": "Why"}
    said = [re.sub(r"<[^>]+>", "", block).strip() for block in found.blocks]
    assert said == ["Right below.", "Why", "Unknown."]


def test_pictures_of_ones_own_stay(tmp_path):
    mine = ["changes_by_rate.jpg", "overview_mine.svg", "curves_mine.png", "fig4.jpg", "x.svg"]
    tidy = list(rows(2, (0,), list(TABLE2), "bsd300"))
    built(tmp_path, [*tidy, *rows(seeds=(0,))])
    for name in mine:
        (tmp_path / "figures" / name).write_text("mine")
    built(tmp_path, rows(seeds=(0,)))
    there = {path.name for path in (tmp_path / "figures").iterdir()}
    assert there >= set(mine) and not there & {"fig4.svg", "forest_table2.svg", "overview.svg"}


# ------------------------------------------------------------------------------------- front page


@pytest.mark.parametrize("steps", [45_000, 2_000])  # 2,000 are fewer than 6 times 400
def test_the_front_page_takes_the_strongest_study_of_each_network(tmp_path, steps):
    built(tmp_path / "long", rows(4, (0,), steps=steps))
    built(tmp_path / "seeds", rows(4, range(6), steps=400))
    built(tmp_path / "weak", rows(4, range(6), steps=100))
    (tmp_path / "weak" / "about.txt").write_text("only to be quick\n")
    headings = {"long": "# EDSR fails", "seeds": "# All fail", "weak": "#\n\nThese fail."}
    for name, text in headings.items():
        (tmp_path / name / "failure.md").write_text(text)
    built(tmp_path / "trial", rows(4, range(6), dataset="bundled", steps=10**6))
    front.write(tmp_path, lambda line: None)
    found = Rows((tmp_path / "index.html").read_text(encoding="utf-8")).rows
    answers = [r for r in found if r[0].startswith("DnCNN, Asy_MAE")]
    assert [r[-1] for r in answers] == ["seeds", "long"]
    assert answers[1][4] == "not judged" and f"{steps:,} steps, 1 seed" in answers[1][3]
    theirs = paper.tables().query("table == 4 and loss == 'mae'")["psnr"].mean()
    assert any(r[0] == "MAE" and r[1].endswith(f"paper: {theirs:.3f}") for r in found)
    studies = {r[0]: r[2] for r in found if r[0] in ("long", "seeds", "weak", "trial")}
    assert len(studies) == 4 and "only to be quick" in studies["weak"]
    assert "EDSR fails" in studies["long"] and "all fail" in studies["seeds"]
    assert studies["weak"].endswith("fail")  # a failure.md without a title has one
    assert (tmp_path / "overview.svg").is_file()


def test_the_front_page_has_the_audit_as_a_page(tmp_path):
    built(tmp_path / "study", rows())
    front.write(tmp_path, lambda line: None)
    assert "audit/" not in (tmp_path / "index.html").read_text()
    (tmp_path / "audit").mkdir()
    shutil.copy(tmp_path / "overview.svg", tmp_path / "audit" / "k.svg")
    table = "| no. | k |\n|---|---:|\n| 1 | -0.5 +- 0.1 |"
    text = f"# The audit\n\n## 1. One <i>part\n\n{table}\n\n![k of each image](k.svg)\n"
    (tmp_path / "audit" / "audit.md").write_text(text)
    front.write(tmp_path, lambda line: None)
    assert "audit/audit.html" in (tmp_path / "index.html").read_text()
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert Rows(page).rows == [["no.", "k"], ["1", f"{MINUS}0.5 \xb1 0.1"]]
    assert "1. One &lt;i&gt;part" in page and "<h1>The audit</h1>" in page
    assert re.search(r'<img src="k.svg" alt="k of each image" width="\d+" height="\d+"', page)


def test_a_damaged_study_does_not_stop_the_front_page(tmp_path):
    built(tmp_path / "good", rows())
    built(tmp_path / "bad", rows())
    (tmp_path / "bad" / "metrics.csv").write_text("nothing")
    said = []
    front.write(tmp_path, said.append)
    assert any("bad" in line and "left out" in line for line in said)
    assert "good/index.html" in (tmp_path / "index.html").read_text()


def test_a_report_of_an_earlier_version_is_named_with_its_command(tmp_path):
    built(tmp_path / "new", rows())
    built(tmp_path / "old", rows())
    claims = tmp_path / "old" / "claims.csv"
    results.read_table(claims).drop(columns="counted").to_csv(claims, index=False)
    said = []
    front.write(tmp_path, said.append)
    assert any("asyrepro report study=old" in line for line in said)
    assert "old/index.html" not in (tmp_path / "index.html").read_text()


def test_a_study_that_does_not_record_its_steps_is_on_the_front_page(tmp_path):
    built(tmp_path / "old", rows(steps=""))
    built(tmp_path / "new", rows())
    said = []
    front.write(tmp_path, said.append)
    assert not any("left out" in line for line in said)
    text = (tmp_path / "index.html").read_text()
    assert "old/index.html" in text and "500 steps" in text


CLAIMS = [
    "claim",
    "table",
    "model",
    "measured",
    "lower",
    "direction",
    "upper",
    "verdict",
    "counted",
]


def entry(name, *claims, dataset="bsd300"):
    """A study by its claims: (id, table or None, model or None, measured, lower, direction)."""
    made = [(*claim, 9.0, claim[-1], True) for claim in claims]
    frame = pd.DataFrame({"dataset": [dataset], "testset": ["table2"]})
    return front.Entry(Path(name), frame, pd.DataFrame(made, columns=CLAIMS), pd.DataFrame())


def test_the_front_page_counts_the_outcomes_of_the_papers_reasons():
    entries = [
        entry(
            "one",
            ("table2-mae-psnr", 2, "srcnn", 0.1, 0, "better"),  # has a number
            ("contrast-mae", 2, "srcnn", 1.0, 0, "better"),
            ("contrast-mse", 2, "srcnn", 1.5, 0, "worse"),
            ("learning-mae", 4, None, 0.2, 0, "neither shown"),
            ("training-time-mae", None, "edsr", 1.1, 0, "worse"),
        ),
        entry(
            "two",
            ("contrast-mae", 2, "srcnn", 2.0, 0, "better"),
            ("contrast-mse", 2, "srcnn", 2.5, 0, "not judged"),
            ("learning-mae", 4, None, 0.2, 0.1, "better"),  # as large by chance
            ("training-time-mae", None, "edsr", 1.1, 0, "worse"),  # measured once, kept twice
        ),
        entry("trial", ("contrast-mae", 2, "srcnn", 3.0, 0, "better"), dataset="bundled"),
    ]
    found = {name: rest for name, *rest in front.reasons(entries).rows}
    assert found["raises contrast"] == ["SRCNN 2 of 3 (one and two)", "SRCNN 1 of 3 (one)", "3"]
    assert found["learns more efficiently"] == ["DnCNN 1 of 2 (two)", NOTHING, "2"]
    assert found["takes no longer"] == [NOTHING, "EDSR 1 of 1 (one)", "1"]
    assert len(found) == 3 and front.reasons([]).rows == []


def test_the_front_page_counts_all_comparisons_with_seeds_enough():
    columns = ["study", "seeds", "direction", "size"]
    outcomes = [
        ("one", 6, "worse", "excluded"),
        ("one", 6, "worse", "not excluded"),
        ("two", 10, "better", "excluded"),
        ("two", 10, "neither shown", "excluded"),
        ("three", 5, "better", "not excluded"),  # too few
    ]
    said = front._everywhere(pd.DataFrame(outcomes, columns=columns))
    # comparisons, the least seeds, studies, better, worse, excluded
    assert re.findall(r"\d+", said) == ["4", "6", "2", "1", "2", "3"]
    assert front._everywhere(pd.DataFrame(columns=columns)) == ""


def test_the_documentation_has_the_outcomes_of_the_committed_studies():
    grid = front.reasons(list(front._entries(ROOT / "results", print)))
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").replace(" - ", f" {NOTHING} ")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert grid.rows and [row for row in [grid.head, *grid.rows] if row not in lines] == []


def test_without_studies_there_is_no_front_page(tmp_path):
    assert front.write(tmp_path, lambda line: None) is None
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------- in a browser

CHECK = r"""
const problems = [];
const shown = (e) => e.checkVisibility && e.checkVisibility({visibilityProperty: true});
for (const image of document.images) {
  if (!image.hasAttribute("alt")) problems.push("no alt: " + image.src);
  if (shown(image) && image.complete && !image.naturalWidth) problems.push("broken: " + image.src);
}
let level = 0;
for (const head of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
  const own = Number(head.tagName[1]);
  if (own > level + 1) problems.push("heading skips a level: " + head.textContent);
  level = own;
}
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
if (new Set(ids).size < ids.length) problems.push("an id twice");
for (const e of document.querySelectorAll("[aria-labelledby]"))
  if (!document.getElementById(e.getAttribute("aria-labelledby"))) problems.push("label: " + e.id);
for (const e of document.querySelectorAll("a[href^='#']"))
  if (!document.querySelector(e.getAttribute("href"))) problems.push("link to " + e.href);
for (const e of document.querySelectorAll("input, select, button, a, [tabindex]")) {
  const name = e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent;
  if (!name) problems.push("no name: " + e.outerHTML.slice(0, 80));
}
for (const t of document.querySelectorAll("table"))
  if (!t.tHead || [...t.rows].some((r) => r.cells.length && !r.querySelector("th")))
    problems.push("a row without a head: " + t.caption?.textContent);
return problems;
"""
LOADED = r"""
const images = [...document.images];
images.forEach((image) => { image.loading = "eager"; });
Promise.all(images.map((image) => image.decode().catch(() => 0))).then(arguments[0]);
"""


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("Chromium and its driver are not installed")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with selenium.Chrome(options, selenium.ChromeService(driver)) as opened:
        yield opened


def opened(browser, folder, theme="light", width=1280):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((folder / "index.html").as_uri() + f"?theme={theme}")
    return browser


@pytest.fixture(scope="module")
def with_front(made):
    front.write(made.parent, lambda line: None)
    return made


@pytest.mark.parametrize("which", ["study", "front"])
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_a_page_is_accessible_and_fits(browser, with_front, which, theme, width):
    folder = with_front if which == "study" else with_front.parent
    opened(browser, folder, theme, width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    assert browser.execute_script(CHECK) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


def test_galleries_open_with_the_first_loss_against_its_base_and_keys_change_it(browser, made):
    opened(browser, made)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    stage = browser.find_element("css selector", ".gallery .stage")
    gallery = browser.find_element("css selector", ".gallery")

    def state():
        return browser.execute_script(
            "const g = arguments[0]; return [g.querySelector('output').value,"
            " g.querySelector('input:checked').value]", gallery)  # fmt: skip

    assert state()[0] == "Left: MAE, right: Asy_MAE"
    stage.send_keys("1")
    assert state()[1] == "0"
    stage.send_keys("\ue014")  # arrow right
    assert state()[1] == "1"


def test_error_maps_show_the_difference_times_eight(browser, tmp_path):
    tidy = list(rows(4, (0,)))
    write_crops(tmp_path, tidy)
    for kind, value in (("label", 100), ("asy_mae", 110)):
        path = tmp_path / "crops" / f"table4_1_{kind}.png"
        Image.fromarray(np.full((128, 128), value, np.uint8)).save(path)
    opened(browser, built(tmp_path, tidy))
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    shown = browser.find_element("css selector", ".gallery .errors .view.shown .pixels")
    browser.execute_script("arguments[0].scrollIntoView()", shown)
    browser.execute_async_script(LOADED)
    image = Image.open(io.BytesIO(shown.screenshot_as_png)).convert("RGB")
    assert image.getpixel((image.width // 2, image.height // 2))[0] == pytest.approx(80, abs=8)
