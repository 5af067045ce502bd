"""Cards: one YAML file for each experiment, with all its variants and what the thesis found, or we expected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from codec_ft.config import Config, Layer, load_config, merge
from experiments.places import CONFIGS, PROJECT

SCALES = CONFIGS / "scales"
ScaleName = Literal["demo", "full"]
VariantName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Variant(Config):
    """One experiment of a card. In YAML the keys of its configuration stand directly beside `what`."""

    what: str = Field(description="what makes it special, in a phrase")
    config: Layer = Field({}, description="laid over the card's")
    demo: Layer = Field({}, description="laid over that at the demo scale")
    full: Layer = Field({}, description="laid over that at full scale")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        """Whatever is not a key of a variant is one of its configuration."""
        if not isinstance(values, dict) or "config" in values:
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        return own | {"config": {key: value for key, value in values.items() if key not in cls.model_fields}}


class Finding(Config):
    """What the thesis found, or what is expected of an experiment of ours, and the claim that stands for it."""

    thesis: str = Field("", description="the thesis' finding; its numbers as they are printed")
    expected: str = Field("", description="instead: what was expected before it was run")
    here: str = Field("", description="into what a finding that no number can show is translated")
    shows: str = Field(description="the claim, such as song.usdr > bass.usdr + 1")
    why_not: str = Field("", description="why the demo scale does not show it, as far as is known; without numbers")

    @model_validator(mode="after")
    def _somebody_says_it(self) -> "Finding":
        if bool(self.thesis) == bool(self.expected):
            raise ValueError("a finding is either the thesis' own or one that was expected: give one of the two")
        return self

    @property
    def said(self) -> str:
        """The finding in words."""
        return self.thesis or self.expected

    @property
    def by_whom(self) -> str:
        """Whose it is: the thesis', or what was expected here."""
        return "the thesis found" if self.thesis else "expected"


class Card(Config):
    """An experiment of the thesis, or one of ours that goes further."""

    title: str
    source: str = Field(description="where it is described")
    before: str = Field("", description="what the demo scale needs first, beside data/demo; runs of others are known")
    config: Layer = Field({}, description="laid over the scale, for all variants")
    demo: Layer = Field({}, description="laid over that at the demo scale")
    full: Layer = Field({}, description="laid over that at full scale")
    variants: dict[VariantName, Variant] = Field({}, description="what can be run, by name")
    findings: list[Finding] = Field([], description="of the thesis, or expected")
    left_out: str = Field("", description="why it cannot be run here")

    @model_validator(mode="after")
    def _can_be_run_or_says_why_not(self) -> "Card":
        if bool(self.variants) == bool(self.left_out):
            raise ValueError("a card has either variants or a reason why it is left_out")
        return self


class Scale(Config):
    """The size at which cards are run: data, codec, length of training."""

    what: str = Field(description="what the scale is for, in a phrase")
    stand_ins: dict[str, str] = Field({}, description="names in cards, and what takes their place")
    config: Layer = Field(description="what the cards are laid over; its task is that of a card which names none")
    tasks: dict[str, Layer] = Field({}, description="laid over that for cards of one task, by its name")


def read_card(path: Path, values: Layer | None = None) -> Card:
    """A card from its file.

    Args:
        path: the file.
        values: what it holds, if it has been read.

    Raises:
        UserError: it is not there, or a key or value is wrong; names the key and the nearest valid one.
    """
    return load_config(Card, [path if values is None else (str(path), values)], root=PROJECT)


def read_scale(name: ScaleName) -> Scale:
    """A scale from its file.

    Raises:
        UserError: it is not there, or a key or value is wrong.
    """
    return load_config(Scale, [SCALES / f"{name}.yaml"], root=PROJECT)


def overlays(card: Card, variant: Variant, scale: ScaleName) -> list[Layer]:
    """What a variant lays over the scale, lowest first."""
    layers = [part for of in (card, variant) for part in (of.config, of.demo if scale == "demo" else of.full)]
    return [nested(layer) for layer in layers if layer]


def nested(layer: Mapping[str, Any]) -> Layer:
    """`{"data.scope": "song"}` as `{"data": {"scope": "song"}}`: cards spell keys as the command line does."""
    whole: Layer = {}
    for key, value in layer.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        whole = merge(whole, value)
    return whole


def substituted(value: Any, stand_ins: Mapping[str, str]) -> Any:
    """A value in which every string, key or value, that has a stand-in is replaced by it."""
    if isinstance(value, str):
        return stand_ins.get(value, value)
    if isinstance(value, Mapping):
        return {stand_ins.get(key, key): substituted(item, stand_ins) for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, stand_ins) for item in value]
    return value
