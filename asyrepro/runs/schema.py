"""Which settings a run has, and which values they may take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

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
)

from asyrepro.system.errors import ConfigError


def _word(value: str) -> str:
    if "/" in value or value in ("", ".", ".."):
        raise ValueError("it must be a word, without a slash")
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


def _loss_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("name a loss, in a word")
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
    progress: bool
    download: bool


class Loss(Part):
    name: Word
    criterion: Described
    base: Annotated[Word, AfterValidator(_loss_name)] | None = None  # what it is compared with


class DataSet(Part):
    name: str | None  # of a folder its path, with a slash
    white: PositiveInt | None = None  # in the files of your own folders


class Settings(Part):
    """All settings of a run, resolved."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    study: Annotated[Any, AfterValidator(_study)]
    cell: Word
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


def check(settings: dict) -> None:
    """ConfigError if one of a run's settings is missing, of the wrong kind or out of range."""
    try:
        Settings.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_refusal(error)) from error


def _refusal(error: ValidationError) -> str:
    """The first thing that the schema refuses, in a sentence with the setting's name and value."""
    found = error.errors()[0]
    name = ".".join(part for part in map(str, found["loc"]) if part not in ("float", "int", "bool"))
    if found["type"] == "missing":
        return f"{name} is missing; give it a value"
    reason = found["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{name} is {shown(found['input'])}; {reason}"


def shown(value: object) -> str:
    """A value as it is written in a configuration."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
