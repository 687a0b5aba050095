"""Which settings a run has, and which values they may take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from asyrepro.data import catalogue
from asyrepro.runs.config import make, written
from asyrepro.system.errors import ConfigError


def _word(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", value):
        raise ValueError("it must be a word of letters, digits, _, - and .")
    return value


def _study(value: str | int) -> str | int:
    """A study may be a folder in a folder, and a number."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError("it must be a name; write \"study='...'\" to have it as it stands")
    if ".." in Path(str(value)).parts:
        raise ValueError("to keep studies elsewhere give results=FOLDER")
    return value


def _described(value: dict) -> dict:
    if "_target_" not in value:
        raise ValueError("it needs a _target_ and its options")
    return value


def _folder(value: str) -> str:
    if not Path(value).expanduser().is_dir():
        raise ValueError("it is no folder: name one that holds data sets, or make it")
    return value


def _named(value: str | None) -> str:
    if value is None:
        raise ValueError("which folder of images? dataset=folder dataset.name=/path/to/images")
    return value


Word = Annotated[str, AfterValidator(_word)]
Described = Annotated[dict, AfterValidator(_described)]  # an object that Hydra makes


class Part(BaseModel):
    """Some settings, whose kinds are taken literally; further ones may stand beside them."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Optimizer(Part):
    target: str = Field(alias="_target_")
    lr: PositiveFloat


class Recipe(Part):
    steps: PositiveInt
    batch: PositiveInt  # patches a step
    patch: PositiveInt  # pixels of a label's side
    optimizer: Optimizer
    scheduler: Described
    clip: PositiveFloat | None = None  # largest norm of the gradient
    ema: Annotated[float, Field(ge=0, lt=1)] | None = None  # decay of the weights' running average
    whiten: str | None = None  # the layer whose input is whitened
    log_every: PositiveInt
    validate_every: NonNegativeInt


class Runtime(Part):
    threads: PositiveInt | None = None
    checkpoint_seconds: NonNegativeFloat
    compile: bool
    graph: bool | None = None
    progress: bool
    download: bool
    data: Annotated[str, AfterValidator(_folder)] | None = None  # folder of data sets


class Loss(Part):
    name: Word
    criterion: Described
    base: Word | None = None  # what it is compared with

    @field_validator("base")
    @classmethod
    def _another(cls, base: str | None, info: ValidationInfo) -> str | None:
        if base is not None and base == info.data.get("name"):
            raise ValueError("name another loss")
        return base


class DataSet(Part):
    name: Annotated[str | None, AfterValidator(_named)]  # of a folder its path, with a slash
    white: PositiveInt | None = None  # in the files of your own folders


class Settings(Part):
    """All settings of a run, resolved."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    study: Annotated[Any, AfterValidator(_study)]
    row: Word
    table: Literal[None, 2, 3, 4, 5]
    amp: Literal["auto", True, False]
    channels_last: bool
    fallback: bool
    max_steps: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    benchmarks: list
    metrics: list[Literal["haarpsi"]]
    loss: Loss
    task: Described
    recipe: Recipe
    runtime: Runtime
    dataset: DataSet


KINDS = ("float", "int", "bool", "str")  # which pydantic names where several are allowed


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that cannot be run; no image is read and nothing computed.

    Raises:
        ConfigError: a value is missing, of the wrong kind or out of range, a data set is unknown,
            or the task or the loss refuses its options.
    """
    try:
        Settings.model_validate(OmegaConf.to_container(cfg))
    except ValidationError as error:
        raise ConfigError(_refusal(error)) from error
    tests = [cfg.testset, cfg.validation, *cfg.benchmarks]
    catalogue.check_names(cfg.dataset.name, [name for name in tests if name is not None])
    if cfg.validation is None and cfg.recipe.validate_every:
        raise ConfigError("validation is null: name images, or give recipe.validate_every=0")
    make(cfg.loss.criterion)
    task = make(cfg.task)
    if cfg.recipe.patch % task.scale:
        raise ConfigError(
            f"recipe.patch is {cfg.recipe.patch}; it must be a multiple of the scale {task.scale}"
        )


def _refusal(error: ValidationError) -> str:
    """The first thing that the schema refuses, in a sentence with the setting's name and value."""
    found = error.errors()[0]
    name = ".".join(part for part in map(str, found["loc"]) if part not in KINDS)
    if found["type"] == "missing":
        return f"{name} is missing; give it a value"
    reason = found["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{name} is {written(found['input'])}; {reason}"
