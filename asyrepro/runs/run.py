"""One run of a study: a network trained with one loss and one seed, as its folder holds it.

``results/<study>/<row>/<loss>/seed<k>/``; the runs of one row differ in loss and seed alone. The
row's name is that of the experiment, as "table2", and after commas the settings that differ from
the experiment's own, as "table2,task.scale=2". A folder holds

    config.yaml      what was asked for, resolved
    history.csv      the training's course
    rows.csv         the metrics, written last: a run that has it is finished
    profiles.csv     squared and absolute error by grey value and gradient of the label
    provenance.json  versions, device, flags and commit; hashes of data, weights and rows
    weights.pt       the trained weights
    checkpoint.pt    while the training is under way
    failed.txt       why it failed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict

from asyrepro.runs import config
from asyrepro.system.errors import DataError

# Settings that are part of a run's identity but not of its row's name, as a row has one of each.
UNNAMED = (
    "seed", "amp", "loss.name", "loss.base", "from_sha256", "task.border", "task.noise",
)  # fmt: skip
CHOOSING = ("budget", "recipe", "sweep")  # groups that an identity comes from, beside its settings


@dataclass(frozen=True)
class Run:
    """A run by its folder, which need not be there yet."""

    folder: Path

    @classmethod
    def of(cls, cfg: DictConfig) -> Run:
        """The run that a configuration is of, as :func:`asyrepro.runs.config.compose` returns it.

        The folder's name comes from the values alone: a setting that is written out with its
        default adds nothing to it.

        Raises:
            ConfigError: model or loss have no name.
        """
        config.check_named(cfg)
        row = ",".join([str(cfg.row), *_variant(cfg)])
        study = Path(str(cfg.results)) / str(cfg.study)  # study=2024 is a number
        return cls(study / row / str(cfg.loss.name) / f"seed{cfg.seed}")

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def study(self) -> Path:
        return self.folder.parents[2]

    @property
    def row(self) -> str:
        """What the run shares with those that differ in loss and seed alone."""
        return self.row_folder.name

    @property
    def row_folder(self) -> Path:
        return self.folder.parents[1]

    @property
    def variant(self) -> str:
        """The settings of a sweep in the row's name, as "task.scale=2"; or ""."""
        return self.row.partition(",")[2]

    @property
    def loss(self) -> str:
        return self.folder.parent.name

    @property
    def name(self) -> str:
        """Within the study, as "table2/mae/seed0"."""
        return self.folder.relative_to(self.study).as_posix()

    def file(self, name: str) -> Path:
        return self.folder / name

    config = property(lambda self: self.file("config.yaml"))
    rows = property(lambda self: self.file("rows.csv"))
    weights = property(lambda self: self.file("weights.pt"))
    checkpoint = property(lambda self: self.file("checkpoint.pt"))
    failure = property(lambda self: self.file("failed.txt"))
    provenance = property(lambda self: self.file("provenance.json"))

    def baseline(self, testset: str) -> Path:
        """The rows of a test set's degraded images, once for all losses and seeds."""
        return self.study / "baselines" / f"{self.row}_{testset}.csv"

    @property
    def finished(self) -> bool:
        """Whether the folder holds the run's metrics."""
        try:
            return self.rows.is_file()
        except OSError:  # a name that is too long
            return False

    @property
    def kept_weights(self) -> Path | None:
        """The trained weights: the folder's, else those kept with the study, else None."""
        kept = self.study / "weights" / f"{self.name}.pt"
        return next((path for path in (self.weights, kept) if path.is_file()), None)

    @cached_property
    def _content(self) -> dict | None:
        """What config.yaml holds; None without one or of a damaged one."""
        try:
            found = config.read_yaml(self.config)
        except Exception:  # the system's and yaml's are many
            return None
        return found if isinstance(found, dict) else None

    @cached_property
    def settings(self) -> dict | None:
        """What the run was begun with, as plain values; None if it was not begun.

        Raises:
            DataError: config.yaml is damaged.
        """
        try:
            config.decisive(self._content)
        except Exception as error:
            if not self.config.exists():
                return None
            raise DataError(
                f"{self.config} is damaged; delete the folder to start again"
            ) from error
        return self._content

    @property
    def identity(self) -> str | None:
        return self.settings and config.identity(self.settings)

    @property
    def precision(self) -> str:
        """Of the training: "bfloat16", "float32", or "" where it is not known."""
        amp = (self._content or {}).get("amp")
        return {True: "bfloat16", False: "float32"}.get(amp, "")

    @property
    def base(self) -> str:
        """The loss that the run's declares to be compared with; "" if none or not known."""
        return (self._content or {}).get("loss", {}).get("base") or ""

    def mates(self) -> Iterator[Run]:
        """The other runs of the row that have been begun."""
        for folder in sorted(self.row_folder.glob("*/seed*")):
            if folder != self.folder and (run := Run(folder)).config.is_file():
                yield run


def of_study(study: Path | str) -> Iterator[Run]:
    """The runs of a study that have been begun or finished, sorted by name."""
    for folder in sorted(Path(study).glob("*/*/seed*")):
        run = Run(folder)
        if run.finished or run.config.is_file():
            yield run


def finished(study: Path | str) -> list[Run]:
    """The finished runs of a study, sorted by name."""
    return [run for run in of_study(study) if run.finished]


# ------------------------------------------------------------------------------- a row's name


def _variant(cfg: DictConfig) -> list[str]:
    """The fewest settings that make of the experiment what ``cfg`` is, as ["task.scale=2"]."""
    if not any(map(_changes, cfg.hydra.overrides.task)):
        return []
    start, groups = _choices(cfg)
    wanted, ours = _values(cfg), config.flat(_raw(cfg))
    theirs = config.flat(_raw(_composed((*start, *groups))))
    keys = [key for key in {**ours, **theirs} if ours.get(key, ...) != theirs.get(key, ...)]
    keys = [key for key in keys if key not in UNNAMED]

    def suffice(groups: list[str], keys: list[str]) -> bool:
        try:
            default = _composed((*start, *groups))
        except MissingConfigException:  # as of a network's recipe that there is not
            return False
        return _values(_with(default, ours, keys)) == wanted

    # A setting that follows from the others, or is written out with its default, is not named.
    keys = _fewest(keys, lambda some: suffice(groups, some))
    groups = _fewest(groups, lambda some: suffice(some, keys))
    named = [f"{key}={_text(ours[key])}" if key in ours else key for key in keys]
    return [item.replace("/", ".") for item in sorted([*groups, *named])]


def _fewest(items: list[str], suffice: Callable[[list[str]], bool]) -> list[str]:
    """``items``, which suffice together, without those that are not needed, tried in order."""
    for item in items:
        rest = [other for other in items if other != item]
        if suffice(rest):
            items = rest
    return items


def _changes(override: str) -> bool:
    """Whether an override can make another run of an experiment, loss and seed."""
    name = override.lstrip("+~").partition("=")[0]
    first = name.partition(".")[0].partition("/")[0].partition("@")[0]
    return name not in ("loss", *UNNAMED) and first in (*config.IDENTITY, *CHOOSING)


def _choices(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """Overrides that choose the experiment, and those of groups that it would choose otherwise."""
    chosen = {k: v for k, v in cfg.hydra.runtime.choices.items() if not k.startswith("hydra/")}
    about = ["experiment", "profile", "loss", "runtime"]
    if cfg.table is None:
        about.append("model")  # which the row is called by
    start = [f"{key}={chosen[key]}" for key in about if chosen.get(key)]
    if cfg.hydra.searchpath:
        start.append(config.searching(cfg.hydra.searchpath))
    try:
        default = _composed(tuple(start)).hydra.runtime.choices
    except MissingConfigException:  # a network of your own has no recipe until one is chosen
        default = {}
    others = {k: v for k, v in chosen.items() if k not in about and v != default.get(k)}
    return start, [f"{key}={value}" for key, value in others.items()]


@lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """What choices of groups, as "model=edsr", and a searchpath compose to."""
    choices = (item.partition("=") for item in overrides if not item.startswith("hydra."))
    others = [item for item in overrides if item.startswith("hydra.")]
    return config.compose([*(f"{key}={config.quoted(name)}" for key, _, name in choices), *others])


def _raw(cfg: DictConfig) -> dict:
    """The settings that make a run what it is, with references as they are written."""
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(config.IDENTITY)), resolve=False)


def _values(cfg: DictConfig) -> dict:
    found = config.flat(config.decisive(config.plain(cfg)))
    return {key: value for key, value in found.items() if key not in UNNAMED}


def _with(default: DictConfig, values: dict, keys: list[str]) -> DictConfig:
    """A copy of ``default`` with some settings of ``values``; those that it lacks are removed."""
    cfg = default.copy()
    with open_dict(cfg):
        for key in keys:
            if key in values:
                OmegaConf.update(cfg, key, values[key], force_add=True)
            else:
                group, _, name = key.rpartition(".")
                OmegaConf.select(cfg, group).pop(name, None)
    return cfg


def _text(value: object) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return config.written(value)
    # 1.0 and 1 are one run, with one folder.
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
