"""The dialect of the commands: what is read, what is refused, and what loads for it."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import ROOT

from asyrepro.__main__ import COMMANDS, main
from asyrepro.system.errors import ConfigError
from asyrepro.system.options import argument, command, help_text, parse, rest, setting

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "skimage")


@dataclass(kw_only=True)
class Options:
    first: Path = argument("what to read")
    second: Path | None = argument("what to write", default=None)
    count: int = setting(about="how many", at_least=1)
    share: float | None = setting(None, "which share", above=0)
    kind: str = setting("a", "which kind", choices=("a", "beta"))
    deep: bool = setting(False, "look deeper")
    tables: list[int] = setting([2, 3], "which tables", choices=(2, 3, 4))
    names: list[str] = setting([], "whose")
    task: dict[str, str] = setting({}, "of the task", shown="task.sigma=X")


@dataclass(kw_only=True)
class More:
    name: str = setting(about="a name")
    others: list[str] = rest("settings of another program", shown="others")


@dataclass(kw_only=True)
class Names:
    names: list[str] = argument("names", default=[])


def test_values_and_defaults():
    plain = parse(Options, ["in", "count=3"])
    assert plain == Options(first=Path("in"), count=3)
    assert plain.tables == [2, 3] and plain.tables is not parse(Options, ["in", "count=3"]).tables
    full = "in out count=3 share=1e-3 kind=beta deep=true tables=4,2"
    assert parse(Options, [*full.split(), "tables=3", "task.sigma=5"]) == Options(
        first=Path("in"), second=Path("out"), count=3, share=0.001, kind="beta", deep=True,
        tables=[4, 2, 3], task={"sigma": "5"},
    )  # fmt: skip
    assert parse(Names, ["b", "a"]).names == ["b", "a"] and parse(Names, []).names == []


def test_settings_that_are_passed_on():
    given = parse(More, ["a.b=1", "name=x", "others=2"])
    assert given == More(name="x", others=["a.b=1", "others=2"])


def test_a_file_may_be_named_as_a_setting_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1.png").touch()
    assert parse(Options, ["x=1.png", "count=1"]).first == Path("x=1.png")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("in", ["count="]),
        ("count=1", ["FIRST"]),
        ("in out more count=1", ["FIRST", "SECOND"]),
        ("in count=0", ["count=0"]),
        ("in count=1.5", ["count=1.5"]),
        ("in count=", ["count="]),
        ("in count=1 count=2", ["count="]),
        ("in count=1 share=0", ["share=0"]),
        ("in count=1 share=nan", ["share=nan"]),
        ("in count=1 deep=perhaps", ["deep=perhaps"]),
        ("in count=1 kind=bet", ["'bet'", "'beta'"]),
        ("in count=1 tables=2,9", ["'9'"]),
        ("in count=1 cont=1", ["'cont'", "'count'"]),
        ("in count=1 sigma=1", ["'sigma'", "'task.sigma'"]),
        ("in count=1 sig=1", ["'sig'", "task"]),
        ("in count=1 tables=2,", ["tables=2,"]),
        ("in count=1 names=a,,b", ["names=a,,b"]),
        ("in count=1 task=1", ["task="]),
        ("in count=1 --deep", ["'--deep'", "deep=true"]),
        ("x=1.png count=1", ["'x'", "'x=1.png'"]),
    ],
)
def test_what_is_refused(arguments, names):
    with pytest.raises(ConfigError) as caught:
        parse(Options, arguments.split())
    assert all(name in str(caught.value) for name in names), caught.value
    assert "\n" not in str(caught.value)


def test_no_setting_is_suggested_that_is_none():
    for item in ("sig=1", "=1"):
        with pytest.raises(ConfigError) as caught:
            parse(Options, ["in", "count=1", item])
        assert "task.sig" not in str(caught.value) and "'task.'" not in str(caught.value)


def test_an_empty_path():
    with pytest.raises(ConfigError):
        parse(Options, ["", "count=1"])


def test_help_has_every_setting(capsys):
    text = help_text("What it does.", Options)
    for name in ("FIRST", "SECOND", "count=N", "share=X", "kind=a|beta", "deep=true", "task.sigma"):
        assert name in text
    assert command("What it does.", Options, print, []) == 2  # something is needed
    assert command("What it does.", Options, print, ["in", "--help"]) == 0
    assert capsys.readouterr().out.count("What it does.") == 2
    assert command("What it does.", Names, lambda given: 7, []) == 7  # nothing is


def test_the_door(capsys):
    assert main([]) == 2 and main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(text.count(f"asyrepro {name}") >= 2 for name in COMMANDS)
    assert main(["trian"]) == 2
    assert "'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["compare", "a.png"],
        ["train", "los=mae"],
        ["reproduce", "los=mae"],
    ],
    ids=" ".join,
)
def test_answers_without_heavy_modules(arguments):
    """Which is what makes them fast; counted, not timed."""
    code = (
        "import sys; from asyrepro.__main__ import main; status = main(sys.argv[1:]); "
        f"print(status, *{{name for name in {HEAVY} if name in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    wrong = not arguments[-1].startswith("--")
    assert done.stdout.splitlines()[-1] == ("2" if wrong else "0")


def test_comparing_files_needs_no_pytorch():
    assert not loads_pytorch("import asyrepro.restoration.comparing")


def test_the_report_of_a_study_without_weights_needs_no_pytorch(tmp_path):
    study = shutil.copytree(ROOT / "results" / "edsr-failing", tmp_path / "edsr-failing")
    sheet = study / "figures" / "fig3.jpg"
    before = sheet.read_bytes()
    images = "study._test_set = lambda *_, **__: catalogue.test_set('bundled', mode='rgb')"
    build = "from asyrepro.data import catalogue; from asyrepro.report import study; "
    assert not loads_pytorch(f"{build}{images}; study.build({str(study)!r})")
    assert sheet.read_bytes() != before  # the images were read


def loads_pytorch(code: str) -> bool:
    code += "; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1] == "True"
