"""The page of a study: its numbers, its parts, and how it works in a browser."""

import csv
import html
import io
import json
import re
import shutil
from collections import defaultdict
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from asyrepro import paper
from asyrepro.analysis import verdicts
from asyrepro.data.catalogue import TABLE2
from asyrepro.report import page
from asyrepro.report.page import crops, curves
from asyrepro.runs import results
from asyrepro.system import files
from asyrepro.system.errors import DataError

ODD = "<b>\"odd\" & 'name'</b>"
SIZE = (150, 140)  # of the test images
LOSSES = ("mae", "mse", "asy_mae", "asy_mse")


def rows(table=4, seeds=(0, 1), images=None, dataset="bsd400", steps=500):
    """Tidy rows with made-up metrics; a baseline first."""
    random = np.random.default_rng(table)
    images = images or paper.test_images(4)
    model = paper.MODELS[table]
    baseline = "bicubic" if table < 4 else "noisy"
    for loss in (baseline, *LOSSES):
        for seed in [""] if loss == baseline else seeds:
            for image in images:
                psnr, ssim, nrmse = random.uniform([28, 0.8, 0.05], [32, 0.9, 0.08]).round(6)
                yield {
                    **dict.fromkeys(results.COLUMNS, ""),
                    **{"table": table, "model": model, "dataset": dataset, "loss": loss},
                    **{"seed": seed, "image": image, "psnr": psnr, "ssim": ssim, "rmse": 0.04},
                    **{"nrmse": nrmse, "testset": f"table{table}", "device": "cpu"},
                    "iterations": "" if loss == baseline else steps,
                }


def write_metrics(folder, tidy):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metrics.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, results.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(tidy)


def write_config(folder, table, **parts):
    """The run folder of a finished training, with the parts of its config.yaml."""
    run = folder / f"table{table}" / "mae" / "seed0"
    run.mkdir(parents=True)
    (run / "rows.csv").touch()
    (run / "config.yaml").write_text(json.dumps(parts))  # JSON is YAML


def section_of(folder, name):
    return text_of(folder).partition(f'<section id="{name}"')[2].partition("</section>")[0]


def write_claims(folder):
    """What verdicts_report.write writes, without its figures."""
    tidy = results.load(folder)
    claims = verdicts.claim_verdicts(verdicts.verdicts(tidy, paper.tables()), tidy)
    files.write_csv(folder / "claims.csv", claims)


def restored(table, loss, seed, image):
    """A label that grows darker to the right, and outputs that miss it by a little."""
    label = np.tile(np.linspace(1, 0, SIZE[1], dtype=np.float32), (SIZE[0], 1))
    return label * 0.5, label + 0.01 * (1 + LOSSES.index(loss)), label


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tables 2 (an odd image name) and 4, Set5, two seeds, verdicts, a history and a chart."""
    folder = tmp_path_factory.mktemp("results") / "odd & <study>"
    tidy = [*rows(2, images=[ODD, "second", "third"], dataset="bsd300"), *rows(4)]
    tidy += [
        {**row, "table": "", "testset": "set5", "psnr_y": 30 + row["ssim"], "ssim_y": row["ssim"]}
        for row in rows(2, images=["baby"], dataset="bsd300")
    ]
    write_metrics(folder, tidy)
    write_claims(folder)
    for loss in LOSSES:
        run = folder / "table4" / loss / "seed0"
        run.mkdir(parents=True)
        (run / "rows.csv").touch()
        lines = ["step,loss,lr,val_psnr,patches_per_second,seconds"]
        for k in range(1, 151):
            lines.append(f"{k},{1 / k},0.1,{20 + k / 50 if k % 50 == 0 else ''},9,{k}")
        (run / "history.csv").write_text("\n".join(lines) + "\n")
    (folder / "figures").mkdir()
    Image.new("L", (30, 20)).save(folder / "figures" / "fig9.png")
    page.write(folder, restored)
    return folder


def text_of(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


class Tables(HTMLParser):
    """The cells of each metric's table, by section and metric: lists of rows of (class, text)."""

    def __init__(self):
        super().__init__()
        self.found, self.place, self.section = defaultdict(list), None, None

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        names = (given.get("class") or "").split()
        if tag == "section":
            self.section, self.place = given.get("id"), None
        elif tag == "div" and "metric" in names:
            self.place = self.found[self.section, names[-1]]
        elif tag == "tr" and self.place is not None:
            self.place.append([])
        elif tag in ("td", "th") and self.place:
            self.place[-1].append([names, ""])
        elif tag == "table" and self.place is None:
            self.place = None

    def handle_data(self, data):
        if self.place and self.place[-1]:
            self.place[-1][-1][1] += data


def cells(folder):
    parser = Tables()
    parser.feed(text_of(folder))
    return parser.found


def means(folder, table, metric):
    """{(loss, image): mean over seeds} and {(asymmetric, image): mean paired change}."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        found = {
            (row["loss"], row["image"], row["seed"]): float(row[metric])
            for row in csv.DictReader(file)
            if row["table"] == str(table)
        }
    values, changes = defaultdict(list), defaultdict(list)
    for (loss, image, seed), value in found.items():
        values[loss, image].append(value)
        if loss.startswith("asy_"):
            changes[loss, image].append(value - found[loss[4:], image, seed])
    return [{k: sum(v) / len(v) for k, v in given.items()} for given in (values, changes)]


@pytest.mark.parametrize(("metric", "decimals"), [("psnr", 3), ("ssim", 5), ("nrmse", 5)])
def test_the_numbers_are_the_tidy_tables_and_the_papers(study, metric, decimals):
    body = cells(study)["table4", metric]
    values, changes = means(study, 4, metric)
    printed = paper.tables().rename(columns={"rmse": "nrmse"})
    printed = printed[printed["table"] == 4].set_index(["loss", "image"])[metric]
    columns = ["noisy", "mae", "asy_mae", "change", "mse", "asy_mse", "change"]
    assert len(body) == 12  # heads, ten images, means
    for number, image in enumerate(paper.test_images(4), start=1):
        line = body[number]
        assert line[0][1].split() == [str(number), image]
        for column, (names, text) in zip(columns, line[1:], strict=True):
            asymmetric = "asy_mae" if line[1:].index([names, text]) < 4 else "asy_mse"
            if column == "noisy":
                ours, theirs, against = values[column, image], None, None
            elif column == "change":
                ours = changes[asymmetric, image]
                theirs = printed[asymmetric, number] - printed[asymmetric[4:], number]
                against = 0
            else:
                ours, theirs = values[column, image], printed[column, number]
                against = theirs
            shown = re.findall(r"[+-]?\d+\.\d+", text.replace("\u2212", "-"))
            wanted = [x for x in (ours, theirs) if x is not None]
            assert [float(x) for x in shown] == [
                float(f"{round(x, 9):.{decimals}f}") for x in wanted
            ]
            better = against is not None and (ours - against) * (-1 if metric == "nrmse" else 1) > 0
            marks = {"better"} if better else {"worse"} if against is not None else set()
            assert {"better", "worse"} & set(names) == marks
            assert ("▲" in text, "▼" in text) == ("better" in marks, "worse" in marks)
    mean = np.mean([values["asy_mse", image] for image in paper.test_images(4)])
    assert f"{mean:.{decimals}f}" in body[-1][6][1]


def test_the_papers_numbers_of_other_images_stand_apart(study):
    body = cells(study)["table2", "psnr"]
    assert all(len(re.findall(r"\d+\.\d+", text)) == 1 for _, text in body[1][1:])
    values = paper.tables()
    values = values[(values["table"] == 2) & (values["loss"] == "mae")]["psnr"][:3]
    assert f"{values.mean():.3f}" in body[-1][2][1]
    assert not {"better", "worse"} & set(body[-1][2][0])  # compared with nothing
    assert f"{values.iloc[0]:.3f} / " in text_of(study)


def test_literature_metrics_are_means_over_images_and_seeds(study):
    tidy = results.load(study)
    luma = tidy[(tidy["testset"] == "set5") & (tidy["loss"] == "asy_mse")]
    section = text_of(study).partition('id="benchmarks"')[2].partition("</section>")[0]
    line = re.search(r"Asy_MSE</th>(.*)</tr>", section)[1]
    assert re.findall(r"\d+\.\d+", line) == [
        f"{luma['psnr_y'].mean():.2f}",
        f"{luma['ssim_y'].mean():.4f}",
    ]


def test_each_claim_has_its_verdict(study):
    with open(study / "claims.csv", newline="") as file:
        claims = list(csv.DictReader(file))
    section = text_of(study).partition('id="verdicts"')[2].partition("</section>")[0]
    lines = re.findall(r'<tr>\s*<th scope="row">.*?</tr>', html.unescape(section), re.S)
    assert len(lines) == len(claims) > 0
    for claim in claims:
        assert any(claim["quantity"] in line and claim["verdict"] in line for line in lines)


def test_names_are_escaped(study):
    text = text_of(study)
    assert "<b>&quot;" not in text and "<b>&#34;" not in text and ODD not in text
    assert "&lt;b&gt;&#34;odd&#34; &amp; &#39;name&#39;&lt;/b&gt;" in text
    assert "<h1>Study odd &amp; &lt;study&gt;</h1>" in text


def test_nothing_is_fetched(study):
    text = text_of(study)
    assert "http:" not in text and "https:" not in text
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', text))
    links = re.findall(r'href="([^"#][^"]*)"', text)
    inside = r"data:,|verdicts\.md|tables/|figures/|\.\./audit/|\.\./[^/]+/index\.html"
    assert all(re.match(inside, link) for link in links)


def test_a_clone_without_weights_and_run_folders_gives_the_same_bytes(study, tmp_path):
    before = (study / "index.html").read_bytes()
    clone = tmp_path / study.name
    shutil.copytree(study, clone, ignore=shutil.ignore_patterns("table4", "index.html"))
    page.write(clone)
    assert (clone / "index.html").read_bytes() == before


def test_pictures_of_another_run_are_not_shown(study, tmp_path):
    clone = tmp_path / study.name
    shutil.copytree(study, clone)
    assert text_of(clone).count('class="gallery"') == 4
    with open(clone / "metrics.csv", newline="", encoding="utf-8") as file:
        tidy = list(csv.DictReader(file))
    changed = next(r for r in tidy if (r["table"], r["loss"], r["image"]) == ("4", "mse", "03"))
    changed["psnr"] = "12.345678"
    write_metrics(clone, tidy)
    page.write(clone)
    assert text_of(clone).count('class="gallery"') == 3
    page.write(clone, restored)
    assert text_of(clone).count('class="gallery"') == 4


def test_what_is_missing_is_left_out(tmp_path):
    folder = tmp_path / "bare"
    write_metrics(folder, rows(4, seeds=(0,)))
    page.write(folder)
    text = text_of(folder)
    sections = set(re.findall(r'<section id="(\w+)"', text))
    assert sections == {"run", "table4", "galleries"}
    assert set(re.findall(r'href="#(\w+)"', text)) == sections - {"run"} | {"main"}
    assert "No pictures of Table 4 (DnCNN)" in text
    assert not (folder / "crops").exists() and not (folder / "histories.csv").exists()


def test_warnings_of_one_seed_a_small_budget_and_stand_in_data(tmp_path):
    folder = tmp_path / "small"
    write_metrics(folder, rows(4, seeds=(0,), images=["moon"], dataset="bundled", steps=1200))
    write_claims(folder)
    page.write(folder)
    text = text_of(folder)
    assert "One seed: no verdict possible" in text
    assert "Small budget: 1,200 steps" in text
    assert "Made from bundled stand-in data" in text
    write_metrics(folder, rows(4, steps=200_000))
    write_claims(folder)
    page.write(folder)
    assert not re.search("<strong>(One seed|Small budget|Made from)", text_of(folder))


def test_goals_and_a_failure_appear_with_their_files(tmp_path):
    folder = tmp_path / "later"
    write_metrics(folder, rows(4, seeds=(0,)))
    (folder / "goals.csv").write_text(
        "network,test,goal,anchor,reached,loss,met\nDnCNN,Set12,30.4,DnCNN-S: 30.44,30.1,MSE,no\n"
    )
    table = "| seed | MAE |\n| --- | --- |\n| 7 | -31.5 |"
    blocks = ["# Why <it>", "A paragraph.", table, "![A curve](f.png)"]
    (folder / "failure.md").write_text("\n\n".join(blocks))
    Image.new("L", (7, 5)).save(folder / "f.png")
    page.write(folder)
    text = text_of(folder)
    assert re.search(r'DnCNN</th><td data-label="Test">Set12<.*30\.4<.*30\.1<.*bad.*no<', text)
    assert "<h3>Why &lt;it&gt;</h3>" in text and "<p>A paragraph.</p>" in text
    assert re.search(r'alt="A curve" width="7" height="5"', text)
    assert re.search(r'<th scope="row">7</th><td class="number">\u221231.5</td></tr>', text)
    (folder / "goals.csv").write_text("network,test\n")
    with pytest.raises(DataError, match="lacks the columns goal, anchor, reached, loss, met"):
        page.write(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("failure.md", b"\xff\xfe\0"),
        *(
            (name, content)
            for name in ("histories.csv", "crops/crops.csv", "../audit/summary.csv")
            for content in (b"", b"\xff\xfe\0", b"a,b\n1,2\n")
        ),
    ],
)
def test_a_damaged_file_of_the_page_is_named(tmp_path, name, content):
    folder = tmp_path / "study"
    write_metrics(folder, rows(4, seeds=(0,)))
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name} (is damaged|lacks the columns)"):
        page.write(folder, lambda *_: None)


def test_what_is_recorded_of_the_machine_is_said(tmp_path):
    folder = tmp_path / "recorded"
    write_metrics(folder, rows(4, seeds=(0,)))
    known = {"cpu": "Abacus 3", "code": {"commit": "c0ffee0123456789"}, "flags": {"threads": 2}}
    earlier = {"cpu": None, "code": {"commit": None}, "flags": {"threads": None}}
    days = ["2026-01-03", None, "2026-01-02"]
    record = {
        "environments": {"x": known, "y": earlier},
        "cells": {str(k): {"finished": day} for k, day in enumerate(days)},
        "command": "make <it>",
    }
    (folder / "reproducibility.json").write_text(json.dumps(record))
    page.write(folder)
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text_of(folder)))
    assert facts["Processor"] == "Abacus 3" and facts["Threads"] == "2"
    assert facts["Code"] == "c0ffee0123" and facts["Finished"] == "2026-01-02 to 2026-01-03"
    assert facts["Command"] == "<code>make &lt;it&gt;</code>"
    outside, folded = section_of(folder, "run").split('<details class="machine">')
    assert "<dt>" not in outside and "Abacus 3" in folded
    (folder / "reproducibility.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        page.write(folder)


def test_the_precision_is_said_table_by_table(tmp_path):
    folder = tmp_path / "mixed"
    write_metrics(folder, rows(4, seeds=(0,)))
    environments = {"half": {"flags": {"amp": True}}, "full": {"flags": {"amp": False}}, "old": {}}

    def said(**tables):
        cells = {f"{t}/{i}/seed0": {"environments": e} for t, c in tables.items() for i, e in c}
        record = {"environments": environments, "cells": cells}
        (folder / "reproducibility.json").write_text(json.dumps(record))
        page.write(folder)
        return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text_of(folder))).get("Precision")

    half, full = [("mae", ["half"])], [("mae", ["full"])]
    assert said(table2=full, table5=full) == "float32"
    assert said(table3=half, table2=full, table4=half, table5=full) == (
        "float32 (Tables 2, 5), bfloat16 (Tables 3, 4)"
    )
    mixed = said(table2=full, table4=[*half, ("mse", ["full"])])
    assert mixed == "float32 (Table 2), bfloat16 and float32 (Table 4)"
    assert said(table4=[("mae", ["old"])]) is None


# ------------------------------------------------------------------- the answer, and what was run


def claims_of(folder, changes):
    """Write a claims.csv of (table, base, measured, seeds, verdict, reason, power), about PSNR.

    The last may be left out.
    """
    lines = ["claim,place,table,model,dataset,base,quantity,paper,measured,lower,upper,unit,seeds"]
    lines[0] += ",verdict,reason,power"
    for table, base, measured, seeds, verdict, reason, *power in changes:
        known = power[0] if power else ""
        spread = f"{measured - 0.01},{measured + 0.01}" if seeds > 1 else ","
        lines.append(
            f"table{table}-{base}-psnr,here,{table},{paper.MODELS[table]},bsd300,{base},"
            f"change,0.08,{measured},{spread},dB,{seeds},{verdict},{reason},{known}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claims.csv").write_text("\n".join(lines) + "\n")


ONE = "one seed: chance"
FEW = "fewer than 6 seeds"


def answered(folder, *changes):
    write_metrics(folder, [*rows(2, images=["a", "b"], dataset="bsd300"), *rows(4)])
    claims_of(folder, changes)
    page.write(folder)
    return html.unescape(re.sub(r"\s+", " ", section_of(folder, "answer")))


def test_the_answer_stands_first_with_each_change(tmp_path):
    found = answered(
        tmp_path / "study",
        (2, "mae", -0.02, 6, "opposite", "worse"),
        (2, "mse", 0.004, 6, "not supported", "reaches zero"),
        (4, "mae", 0.09, 6, "supported", "better"),
    )
    sections = re.findall(r'<section id="(\w+)"', text_of(tmp_path / "study"))
    assert sections[:3] == ["answer", "run", "verdicts"]
    assert "3 mean gains of PSNR in the paper's Tables 2 and 4, 1 is supported: 1 not supp" in found
    lines = [re.sub(r"<.*?>", " ", line) for line in re.findall(r"<tr>.*?</tr>", found)]
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "SRCNN, MAE +0.080 \u22120.020 [\u22120.030, \u22120.010] 6 opposite Table 2",
        "SRCNN, MSE +0.080 +0.004 [\u22120.006, +0.014] 6 not supported Table 2",
        "DnCNN, MAE +0.080 +0.090 [+0.080, +0.100] 6 supported Table 4",
    ]
    assert found.count('href="#table2"') == 2 and 'class="badge bad">opposite' in found
    assert "3 tests of the paper's claims</a>: 1 supported, 1 not supported, 1 opposite." in found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            [(2, "mae", 0.1, 6, "not supported", "x"), (2, "mse", 0.1, 6, "undecided", "x")],
            "Of the 2 mean gains of PSNR in the paper's Table 2, none is supported: 1 not "
            "supported, 1 undecided.",
        ),
        (
            [(2, "mae", 0.1, 3, "undecided", FEW)],
            "Of the one mean gain of PSNR in the paper's Table 2, none is decided: 1 undecided "
            "(fewer than 6 seeds).",
        ),
        (
            [(2, b, 0.1, 6, "supported", "x") for b in ("mae", "mse")],
            "Of the 2 mean gains of PSNR in the paper's Table 2, 2 are supported.",
        ),
        (
            [(2, "mae", 0.1, 6, "opposite", "x"), (4, "mae", 0.1, 1, "no verdict possible", ONE)],
            "Of the 2 mean gains of PSNR in the paper's Tables 2 and 4, 1 can be judged here, and "
            "of these none is supported: 1 opposite.</strong> No verdict possible on Table 4 "
            "(one seed: chance).",
        ),
        (
            [(2, "mae", 0.1, 1, "no verdict possible", ONE)],
            "<strong>One seed: no verdict possible.</strong>",
        ),
    ],
)
def test_the_answer_says_what_the_verdicts_say(tmp_path, changes, sentence):
    assert sentence in answered(tmp_path / "study", *changes)


def test_power_stands_beside_the_verdict_where_it_is_known(tmp_path):
    folder = tmp_path / "study"
    known, unknown = (2, "mae", 0, 6, "undecided", "holds both", 0.404), (2, "mse", 0, 6, "x", "y")
    answered(folder, known, unknown)
    section = section_of(folder, "verdicts")
    assert "holds both; power 40 %</span>" in section and ">y</span>" in section
    assert "Power is the probability" in section
    answered(folder, unknown)
    assert "ower" not in section_of(folder, "verdicts")


def test_without_claims_about_psnr_there_is_no_answer(tmp_path):
    folder = tmp_path / "study"
    claims_of(folder, [(2, "mae", 0.1, 6, "supported", "x")])
    text = (folder / "claims.csv").read_text().replace("table2-mae-psnr", "darker-regions-mae")
    write_metrics(folder, rows(2, images=["a"], dataset="bsd300"))
    (folder / "claims.csv").write_text(text)
    page.write(folder)
    assert 'id="answer"' not in text_of(folder) and 'id="verdicts"' in text_of(folder)


def test_studies_with_more_seeds_are_linked_where_seeds_are_lacking(tmp_path):
    def sibling(name, *changes):
        claims_of(tmp_path / name, changes)
        (tmp_path / name / "index.html").touch()

    sibling("more & more", (4, "mae", 0, 6, "undecided", ""), (3, "mae", 0, 6, "undecided", ""))
    sibling("few", (4, "mae", 0, 5, "undecided", FEW))
    sibling("other", (2, "mae", 0, 6, "undecided", ""))
    sibling("pageless", (4, "mae", 0, 6, "undecided", ""))
    (tmp_path / "pageless" / "index.html").unlink()
    sibling("damaged")
    (tmp_path / "damaged" / "claims.csv").write_bytes(b"\xff")
    mine = [(2, "mae", 0.1, 6, "undecided", ""), (4, "mae", 0.1, 1, "no verdict possible", ONE)]
    found = answered(tmp_path / "study", *mine)
    assert re.findall(r'href="(\.\./[^"]*)"', found) == ["../more%20%26%20more/index.html"]
    assert "study more & more</a> (Table 4)." in found
    assert "../" not in answered(tmp_path / "study", mine[0])  # seeds enough


def test_task_images_and_recipe_are_said(tmp_path):
    folder = tmp_path / "study"
    tidy = [*rows(2, images=TABLE2, dataset="bsd300"), *rows(3, images=TABLE2, dataset="bsd300")]
    tidy += [*rows(4), *rows(5, images=paper.test_images(5)[:9])]
    for row in tidy:
        if row["loss"] == "bicubic":
            row["psnr"] = {2: 28.586, 3: 27.231}[row["table"]]
    write_metrics(folder, tidy)
    cycle = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.003}
    adam = {"_target_": "torch.optim.Adam", "lr": 0.0001}
    recipe = {"batch": 8, "patch": 72, "optimizer": adam}
    write_config(
        folder, 2, task={"scale": 3, "mode": "luma"}, recipe={**recipe, "scheduler": cycle}
    )
    write_config(folder, 3, task={"scale": 3, "mode": "rgb"}, recipe=recipe)
    write_config(folder, 4, task={"sigma": 25, "mode": "grey"})
    page.write(folder)
    lines = re.findall(r"<tr>(<td data-label.*?)</tr>", section_of(folder, "run"))
    said = [re.findall(r'data-label="(.*?)">(.*?)</t', html.unescape(line)) for line in lines]
    srcnn, edsr, dncnn, dphsir = map(dict, said)
    assert srcnn["Task"] == "super-resolution \u00d73 (bicubic), luma"
    assert edsr["Task"] == "super-resolution \u00d73 (bicubic), RGB"
    assert (dncnn["Task"], dphsir["Task"]) == ("denoising, \u03c3 = 25, grey", "denoising")
    first = "the first ten of BSD300's test images, by number; the paper's are unknown"
    assert srcnn["Tested on"] == edsr["Tested on"] == first
    assert dncnn["Tested on"] == "Set12, images 03 to 12, the paper's own"
    assert dphsir["Tested on"] == "9 of ten of BSD300's test images, the paper's own"
    patches = "500 steps of 8 patches, 72 \u00d7 72; Adam, learning rate "
    assert srcnn["Training"] == patches + "up to 0.003 (OneCycleLR)"
    assert edsr["Training"] == patches + "0.0001"
    assert dncnn["Training"] == dphsir["Training"] == "500 steps"
    text = html.unescape(text_of(folder))
    assert "28.59 dB in Table 2 and 27.23 dB in Table 3, on the same images" in text
    assert "Table 4: DnCNN, denoising, \u03c3 = 25, grey</h2>" in text
    assert "Tested on Set12, images 03 to 12, the paper's own. Trained on" in text
    assert "iterations" not in text
    write_config(folder, 5)
    (folder / "table5" / "mae" / "seed0" / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"config\.yaml is damaged"):
        page.write(folder)


def test_trainings_below_the_baseline_are_counted(tmp_path):
    folder = tmp_path / "study"
    tidy = list(rows(3, seeds=(0, 1), images=["a"], dataset="bsd300"))
    for row in tidy:
        row["psnr"] = 28 if row["loss"] == "bicubic" else 27.9 if row["seed"] == 1 else 28.1
    write_metrics(folder, tidy)
    page.write(folder)
    assert "Table 3: 4 of 8 trainings end below bicubic enlargement." in text_of(folder)
    write_metrics(folder, [{**row, "psnr": 28} for row in tidy])
    page.write(folder)
    assert "trainings end below" not in text_of(folder)


def test_a_failure_stands_first_where_it_is_the_whole_study(tmp_path):
    def order(*tables):
        folder = tmp_path / f"of {len(tables)}"
        write_metrics(folder, [row for table in tables for row in rows(table)])
        (folder / "failure.md").write_text("It fails at -3 dB (rate 1e-4, seeds 0-2, [-1, 2]).")
        page.write(folder)
        text = text_of(folder)
        assert "at \u22123 dB (rate 1e-4, seeds 0-2, [\u22121, 2])" in text
        assert text.count('id="failure"') == text.count('href="#failure">Tr') == 1
        return re.findall(r'<section id="(\w+)"', text)

    assert order(3)[0] == "failure"
    assert order(3, 4)[-1] == "failure"


def test_benchmarks_stand_in_the_papers_order(tmp_path):
    folder = tmp_path / "study"
    sets = {5: ("bsd68", "set12"), 3: ("set14", "set5"), 2: ("own", "set14", "set5")}
    tidy = list(rows(4, seeds=(0,)))
    for table, names in sets.items():
        for name in names:
            tidy += [{**r, "table": "", "testset": name} for r in rows(table, (0,), ["x"])]
    write_metrics(folder, tidy)
    page.write(folder)
    section = section_of(folder, "benchmarks")
    assert re.findall(r"<caption>(\w+),", section) == ["SRCNN", "EDSR", "DPHSIR"]
    heads = re.findall(r">(\w+) PSNR</th>", section)
    assert heads == ["Set5", "Set14", "own", "Set5", "Set14", "Set12", "BSD68"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_charts_say_what_they_are_and_link_what_lies_beside(tmp_path, seeds):
    folder = tmp_path / "study"
    write_metrics(folder, rows(3, seeds=seeds, images=["a", "b"], dataset="bsd300"))
    (folder / "figures").mkdir()
    for name in ("fig7", "forest_table3", "mechanism_table3", "fig3", "fig5", "fig5_edsr"):
        Image.new("L", (30, 20)).save(folder / "figures" / f"{name}.png")
    for name in ("fig7", "fig5_edsr"):
        (folder / "figures" / f"{name}.pdf").touch()
    page.write(folder)
    section = html.unescape(section_of(folder, "charts"))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", section)
    assert "paper's Fig. 7, remade" in captions[0]
    assert [text.startswith("Not in the paper") for text in captions] == [False, True, True]
    alts = re.findall(r'alt="(.*?)"', section)
    assert [alt.partition("Table 3, EDSR")[0] for alt in alts] == [
        "Radar charts of ",
        "Mean changes of PSNR, SSIM and NRMSE in ",
        "Where the error changes in ",
    ]
    assert ("95 %" in alts[1], "95 %" in captions[1]) == (len(seeds) > 1,) * 2
    links = re.findall(r'href="figures/(.*?)">(.*?)</a>', section)
    assert links == [
        ("fig7.pdf", "PDF"),
        ("fig3.png", "picture"),
        ("fig5.png", "SRCNN"),
        ("fig5_edsr.png", "EDSR"),
        ("fig5_edsr.pdf", "PDF"),
    ]


def test_the_lower_training_loss_of_an_asymmetric_loss_is_explained(study):
    assert "by M, which is at most 1" in section_of(study, "curves")


def test_error_maps_and_masks():
    label = np.zeros((4, 4, 3), np.uint8)
    output = label.copy()
    output[0, 0] = 255  # beyond the scale
    output[1, 1] = 16  # 16/255 * 8 is half of it
    levels = np.asarray(Image.open(io.BytesIO(crops.error_map(output, label))))
    assert (levels[0, 0], levels[2, 2]) == (crops.LEVELS - 1, 0)
    assert levels[1, 1] == round(16 / 255 * 8 * (crops.LEVELS - 1))
    label[:, 2:] = 255
    weights = np.asarray(Image.open(io.BytesIO(crops.mask(label))))
    assert set(weights[:, :2].ravel()) == {crops.LEVELS - 1} and set(weights[:, 2:].ravel()) == {0}


def test_crops_are_the_centre_clipped_and_rounded(study):
    first = np.asarray(Image.open(study / "crops" / "table4_1_label.png"))
    label = np.linspace(1, 0, SIZE[1])[(SIZE[1] - crops.SIDE) // 2 :][: crops.SIDE]
    assert first.shape == (crops.SIDE, crops.SIDE)
    assert np.abs(first[0] / 255 - label).max() <= 0.5 / 255 + 1e-6


def test_histories_are_thinned_and_nothing_is_lost(study):
    kept = curves.collect(study)
    run = kept[(kept["loss"] == "mse") & (kept["seed"] == 0)]
    assert run["step"].tolist() == sorted({*range(3, 151, 3), 50, 100})  # every third of 150
    assert run["train_loss"].iloc[0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3, rel=1e-5)
    assert run["val_psnr"].dropna().tolist() == [21, 22, 23]
    assert curves.seconds(kept).tolist() == [150] * 4
    charts = curves.charts(kept, 4)
    assert [len(chart["lines"]) for chart in charts] == [4, 2, 2]
    ends = [point.split(",") for point in charts[0]["lines"][0]["points"]]
    assert [float(x) for x, _ in ends] == [145.3, 240.7, 336]  # thirds of the way from 50 to 336
    assert float(ends[0][1]) > float(ends[1][1]) > float(ends[2][1])  # higher PSNR, higher up


# ------------------------------------------------------------------------------------- a browser

CONTRAST = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = parts(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const clear = (colour) => (parts(colour)[3] ?? 1) === 0;
const found = [];
for (const element of document.querySelectorAll("body, body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  let behind = element;
  while (behind && clear(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const colour = element.tagName === "text" ? style.fill : style.color;
  const back = behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)";
  const [low, high] = [light(colour), light(back)].sort((a, b) => a - b);
  found.push([(high + 0.05) / (low + 0.05), element.outerHTML.slice(0, 80), colour, back]);
}
return found.sort((a, b) => a[0] - b[0]);
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


def opened(browser, study, theme="light"):
    browser.get((study / "index.html").as_uri() + f"?theme={theme}")
    return browser


def width_on_a_phone(browser):
    """How wide the opened page is on a screen of 360 pixels."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        return browser.execute_script("return document.documentElement.scrollWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_browser_has_no_complaint_and_no_sideways_scrolling_on_a_phone(browser, study):
    opened(browser, study)
    assert browser.get_log("browser") == []
    assert width_on_a_phone(browser) <= 360


def test_a_long_word_of_a_failure_breaks_on_a_phone(browser, tmp_path):
    folder = tmp_path / "study"
    write_metrics(folder, rows(3, seeds=(0,)))
    (folder / "failure.md").write_text(f"To see it: OVERRIDES={'x' * 200}")
    page.write(folder)
    opened(browser, folder)
    assert width_on_a_phone(browser) <= 360


def test_the_papers_numbers_are_muted(browser, study):
    opened(browser, study)
    colour = "return getComputedStyle(document.querySelector(arguments[0])).color"
    marked, muted = "#table4 .change.better", "#table4 caption"
    paper = browser.execute_script(colour, f"{marked} .paper")
    assert paper == browser.execute_script(colour, muted)
    assert paper != browser.execute_script(colour, marked)


def test_print_has_small_type(browser, study):
    opened(browser, study)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        size = "return parseFloat(getComputedStyle(document.querySelector(arguments[0])).fontSize)"
        assert browser.execute_script(size, "main p") == pytest.approx(9.5 * 96 / 72, abs=0.01)
        assert browser.execute_script(size, "h1") < 2.1 * 9.5 * 96 / 72
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_digits_act_on_the_gallery_in_view_and_take_the_focus_along(browser, study):
    from selenium.webdriver.common.keys import Keys

    opened(browser, study)
    galleries = browser.find_elements("css selector", ".gallery")
    chosen = "return [...document.querySelectorAll('.gallery input:checked')].map((x) => x.value)"
    body = browser.find_element("css selector", "body")
    body.send_keys("1")  # none is in view
    assert browser.execute_script(chosen) == ["2"] * 4
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", galleries[2])
    body.send_keys("1")
    assert browser.execute_script(chosen) == ["2", "2", "0", "2"]
    body.send_keys("7")  # there are six
    assert browser.execute_script(chosen) == ["2", "2", "0", "2"]
    galleries[1].find_element("css selector", ":checked").send_keys("6")
    assert browser.execute_script(chosen) == ["2", "5", "0", "2"]
    focused = browser.switch_to.active_element
    assert (focused.get_attribute("name"), focused.get_attribute("value")) == ("table2-2", "5")
    focused.send_keys(Keys.ARROW_LEFT)  # goes on from there
    assert browser.execute_script(chosen) == ["2", "4", "0", "2"]


def test_keys_switch_the_picture_and_the_slider_compares(browser, study):
    from selenium.webdriver.common.keys import Keys

    opened(browser, study)
    gallery = browser.find_element("css selector", ".gallery")
    stage = gallery.find_element("css selector", ".stage")

    def alts():
        found = gallery.find_elements("css selector", ".stage img")
        return [x.get_attribute("alt").partition(" of ")[0] for x in found if x.is_displayed()]

    slider = gallery.find_element("css selector", "input[type=range]")
    assert alts() == ["Asy_MAE", "Label"] and slider.get_attribute("value") == "50"
    sides = gallery.find_element("css selector", "output")
    assert sides.text == "Left: Label, right: Asy_MAE"
    browser.execute_script(
        "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider
    )
    assert alts() == ["Asy_MAE"] and sides.text == ""
    stage.send_keys("5")
    assert alts() == ["Asy_MSE"]
    stage.send_keys(Keys.ARROW_LEFT)
    assert alts() == ["MSE"]
    errors = gallery.find_elements("css selector", ".errors img")
    displayed = [x.get_attribute("alt") for x in errors if x.is_displayed()]
    assert displayed == ["Error map of MSE"]
    chosen = gallery.find_element("css selector", "input:checked")
    chosen.send_keys(Keys.ARROW_RIGHT)  # the buttons' own keys
    assert alts() == ["Asy_MSE"]
    slider.send_keys(Keys.ARROW_RIGHT)
    assert alts() == ["Asy_MSE", "Label"]


def test_heads_sort_and_the_mean_stays_last(browser, study):
    opened(browser, study)
    table = browser.find_element("css selector", "#table4 .metric.psnr table")
    head = table.find_elements("css selector", "thead button")[2]  # MAE

    def column():
        lines = table.find_elements("css selector", "tbody tr")
        cells = [line.find_elements("css selector", "td")[1] for line in lines]
        return [float(cell.text.split()[0].rstrip("▲▼")) for cell in cells]

    before = column()
    assert before != sorted(before)
    head.send_keys("\ue007")  # Enter
    assert column() == sorted(before)
    assert table.find_elements("css selector", "th[aria-sort=ascending]")
    head.click()
    assert column() == sorted(before, reverse=True)
    assert table.find_element("css selector", "tfoot th").text == "Mean"
    number = table.find_elements("css selector", "thead button")[0]
    number.click()
    assert column() == before


def test_metrics_can_be_chosen(browser, study):
    opened(browser, study)
    shown = "return [...document.querySelectorAll('#table4 .metric')].map(x => x.offsetHeight > 0)"
    assert browser.execute_script(shown) == [True, False, False]
    browser.find_element("css selector", "#table4 input[value=ssim]").send_keys(" ")
    assert browser.execute_script(shown) == [False, True, False]


def test_contrast_suffices_in_both_themes(browser, study):
    backs = set()
    for theme in ("light", "dark"):
        found = opened(browser, study, theme).execute_script(CONTRAST)
        assert len(found) > 100
        assert found[0][0] >= 4.5, found[:3]
        backs.add(found[0][3])
    assert len(backs) == 2  # the themes do differ
    browser.find_element("id", "theme").click()
    assert browser.execute_script("return document.documentElement.dataset.theme") == "light"
