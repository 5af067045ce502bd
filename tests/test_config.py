"""Configurations: layers, errors, the hash, paths."""

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from codec_ft.config import (
    Config,
    config_hash,
    differences,
    load_config,
    merge,
    parse_overrides,
    peek,
    runtime,
    save_yaml,
    to_dict,
)
from codec_ft.errors import UserError
from codec_ft.training.config import OptimizerConfig, TrainConfig
from experiments.tasks import PROJECT, read_config

Gear = Annotated[int, Field(ge=1)]


class Engine(Config):
    """A section."""

    power: int = Field(5, ge=1)
    fuel: Literal["wind", "sun"] = "wind"
    gears: Gear | list[Gear] = 3
    manual: Path = Path("docs/engine.txt")
    workers: int = runtime(0, "does not change the result", ge=0)


class Pair(Config):
    """Two numbers in order."""

    first: int = 0
    last: float = 9.0

    @model_validator(mode="after")
    def _in_order(self) -> "Pair":
        if self.first > self.last:
            raise ValueError(f"first={self.first} must not be above last={self.last:g}")
        return self


class Ship(Config):
    """A small schema with everything that configurations have."""

    name: str
    sizes: tuple[float, float] = (1.0, 2.0)
    data: Path = Path("data/demo")
    log: Path | None = runtime(None, "a place on disk")
    maps: list[Path] = Field([])
    engine: Engine = Engine()
    spare: Engine = Engine(power=9, fuel="sun")


class Fleet(Config):
    """Sections that must fit together, by name and one by one."""

    flag: str = "blue"
    crew: dict[str, int] = Field({})
    ships: dict[str, Pair] = Field({})
    escort: list[Pair] = Field([])
    harbour: Pair = Pair()

    @model_validator(mode="after")
    def _fits(self) -> "Fleet":
        if self.flag == "white" and self.harbour.last > 5:
            raise ValueError("flag=white is for harbours with harbour.last up to 5")
        return self

    @field_validator("crew")
    @classmethod
    def _some(cls, crew: dict[str, int]) -> dict[str, int]:
        if 0 in crew.values():
            raise ValueError("nobody is no crew")
        return crew


def load(*words: str, text: str = "name: Ada", folder: Path, root: Path = Path("/project")) -> Ship:
    layer = folder / "ship.yaml"
    layer.write_text(text)
    return load_config(Ship, [layer], words, root=root)


def test_later_layers_win_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: Ada\nengine: {power: 2, fuel: sun}\n")
    (tmp_path / "over.yaml").write_text("engine: {power: 3}\nsizes: [4, 5]\n")
    layers = [tmp_path / "base.yaml", tmp_path / "over.yaml"]
    ship = load_config(Ship, layers, ["name=Eve", "engine.workers=2"], root=tmp_path)
    assert (ship.name, ship.sizes) == ("Eve", (4.0, 5.0))
    assert (ship.engine.power, ship.engine.fuel, ship.engine.workers) == (3, "sun", 2)
    assert peek(layers, ["name=Eve"], "name") == "Eve" and peek(layers, [], "weight") is None


def test_section_given_in_part_keeps_the_defaults_that_the_schema_chose(tmp_path: Path) -> None:
    ship = load("spare.power=2", folder=tmp_path)
    assert (ship.spare.power, ship.spare.fuel) == (2, "sun")
    assert load(folder=tmp_path).spare.power == 9


def test_overrides_are_yaml() -> None:
    words = ["a.b=1", "a.c=[1, 2.5]", "d=text", "e=", "f=x=y", "g=true"]
    assert parse_overrides(words) == {
        "a": {"b": 1, "c": [1, 2.5]},
        "d": "text",
        "e": None,
        "f": "x=y",
        "g": True,
    }
    assert parse_overrides(["a=1", "a=2"]) == {"a": 2}


def test_merge_changes_neither() -> None:
    below, above = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}
    assert merge(below, above) == {"a": {"b": 3, "c": 2}}
    assert below == {"a": {"b": 1, "c": 2}} and above == {"a": {"b": 3}}


def test_scientific_notation_without_a_point_is_a_number() -> None:
    """YAML 1.1 takes 1e-3 for a word."""
    assert OptimizerConfig.model_validate(parse_overrides(["learning_rate=1e-3"])).learning_rate == 0.001


def test_no_means_no() -> None:
    """YAML 1.1 takes an unquoted no for false."""
    assert TrainConfig.model_validate(parse_overrides(["mixed_precision=no"])).mixed_precision == "no"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["engine.powr=3"], r"engine\.powr: unknown key in the command line; did you mean engine\.power\?"),
        (["power=3"], r"power: unknown key in the command line; did you mean engine\.power\?"),
        (["engin.power=3"], r"engin: unknown key in the command line; did you mean engine\?"),
        (["engine.power=many"], r"engine\.power: .*valid integer.*but the command line gives 'many'"),
        (["engine.power=1.5"], r"engine\.power: .*but the command line gives 1\.5"),
        (["engine.power=0"], r"engine\.power: .*greater than or equal to 1, but the command line gives 0"),
        (["engine.fuel=coal"], r"engine\.fuel: .*'wind' or 'sun', but the command line gives 'coal'"),
        (["engine=fast"], r"engine: .*but the command line gives 'fast'"),
        (["engine.gears=0"], r"engine\.gears: .*greater than or equal to 1, but the command line gives 0"),
        (["engine.gears=[1, 0]"], r"engine\.gears\.1: .*greater than or equal to 1, but the command line gives 0"),
        (["sizes=[1, x]"], r"sizes\.1: .*but the command line gives 'x'"),
        (["name=12"], r"name: .*valid string, but the command line gives 12"),
        (["engine.power"], r"'engine\.power': an override has the form key=value"),
        (["=3"], r"'=3': an override has the form key=value"),
        (["name=[1"], r"'name=\[1': the value is not valid YAML"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(*words, folder=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: Ada\nengine:\n  powr: 3\n", r"engine\.powr: unknown key in .*ship\.yaml; did you mean engine\.power\?"),
        ("name: Ada\nengine: {power: x}\n", r"engine\.power: .*but .*ship\.yaml gives 'x'"),
        ("engine: {power: 3}\n", r"name: this key has no value; give it in a configuration file or as name=VALUE"),
        ("name: [1\n", r"ship\.yaml: not valid YAML: .*line 2"),
        ("- name\n", r"ship\.yaml: a configuration is a mapping of keys to values, this is list"),
        ("", r"ship\.yaml: a configuration is a mapping of keys to values"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(text=text, folder=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "{b}: flag=white is for harbours with harbour.last up to 5."),  # harbour.last is a default
        (["harbour.last=7"], "{b} and the command line: flag=white is for harbours with harbour.last up to 5."),
        (["harbour.first=10"], "the command line: harbour: first=10 must not be above last=9."),
        (["harbour={first: 10, last: 8}"], "the command line: harbour: first=10 must not be above last=8."),
        (["ships={Ada: {first: 12}}"], "the command line: ships.Ada: first=12 must not be above last=9."),
        (["escort=[{}, {first: 12}]"], "the command line: escort.1: first=12 must not be above last=9."),
        (["flag=blue", "crew={Eve: 0}"], "crew: nobody is no crew, but {a} and the command line give {{'Ada': 3"),
        (["flag=blue", "harbour.last=.inf"], "harbour.last: input should be a finite number, but the command line gi"),
    ],
)
def test_what_does_not_fit_together_names_the_keys_and_their_places(
    tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "a.yaml").write_text("crew: {Ada: 3}\n")
    (tmp_path / "b.yaml").write_text("flag: white\n")
    with pytest.raises(UserError) as caught:
        load_config(Fleet, [tmp_path / "a.yaml", tmp_path / "b.yaml"], words, root=tmp_path)
    assert str(caught.value).startswith(message.format(a=tmp_path / "a.yaml", b=tmp_path / "b.yaml"))


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "ship.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UserError, match=r"ship\.yaml: not valid YAML"):
        load_config(Ship, [tmp_path / "ship.yaml"], root=tmp_path)


def test_missing_file_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("name: Ada")
    with pytest.raises(UserError, match=r"dmo\.yaml: no such configuration file\. There are: demo\."):
        load_config(Ship, [tmp_path / "dmo.yaml"], root=tmp_path)
    with pytest.raises(UserError, match=r"nowhere/a\.yaml: no such configuration file\.$"):
        load_config(Ship, [tmp_path / "nowhere" / "a.yaml"], root=tmp_path)


def test_relative_paths_are_meant_from_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    root = tmp_path / "project"
    default = load(folder=tmp_path, root=root)
    assert default.data == root / "data/demo" and default.engine.manual == root / "docs/engine.txt"
    assert default.spare.manual == root / "docs/engine.txt" and default.log is None
    written = load(text="name: Ada\ndata: mine\nengine: {manual: m.txt}", folder=tmp_path, root=root)
    assert written.data == root / "mine" and written.engine.manual == root / "m.txt"
    given = load("data=mine", "log=a/b", "engine.manual=m.txt", folder=tmp_path, root=root)
    assert (given.data, given.log) == (elsewhere / "mine", elsewhere / "a/b")
    assert given.engine.manual == elsewhere / "m.txt"
    maps = load("maps=[~/a, b, /c]", folder=tmp_path, root=root).maps
    assert maps == [Path("~/a").expanduser(), elsewhere / "b", Path("/c")]
    assert load(text="name: Ada\nmaps: [a, /c]", folder=tmp_path, root=root).maps == [root / "a", Path("/c")]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("data=~/music", "log=/var/x", folder=tmp_path, root=root).data == tmp_path / "music"
    assert load("log=/var/x", folder=tmp_path, root=root).log == Path("/var/x")


def test_hash_is_of_the_science_only() -> None:
    ship = Ship(name="Ada")
    same = [
        Ship(name="Ada", log=Path("/tmp/a")),
        Ship(name="Ada", engine=Engine(workers=4)),
        Ship(name="Ada", data=Path("/another/machine/demo")),
        Ship(name="Ada", sizes=(1, 2)),
    ]
    other = [
        Ship(name="Eve"),
        Ship(name="Ada", engine=Engine(power=6)),
        Ship(name="Ada", data=Path("data/other")),
        Ship(name="Ada", sizes=(1, 3)),
    ]
    assert len(config_hash(ship)) == 8 and {config_hash(each) for each in same} == {config_hash(ship)}
    assert len({config_hash(each) for each in [ship, *other]}) == 5
    assert all(differences(ship, each) == [] for each in same)
    assert differences(ship, other[1]) == ["engine.power: 5 -> 6"]
    assert differences(ship, other[2]) == ["data: 'demo' -> 'other'"]


def test_an_option_that_is_added_later_renames_no_run() -> None:
    class Refit(Ship):
        sails: int = 2
        charts: tuple[Path, ...] = ()
        engine: Engine = Engine(power=9)

    ship, refit = Ship(name="Ada", engine=Engine(power=6)), Refit(name="Ada", engine=Engine(power=6))
    assert config_hash(ship) == config_hash(refit)
    assert config_hash(Refit(name="Ada", sails=3)) != config_hash(Refit(name="Ada"))
    here, there, other = ((Path(text),) for text in ("/here/north", "elsewhere/north", "/here/south"))
    assert config_hash(Refit(name="Ada", charts=here)) == config_hash(Refit(name="Ada", charts=there))
    assert config_hash(Refit(name="Ada", charts=here)) != config_hash(Refit(name="Ada", charts=other))


def test_hash_of_an_experiment() -> None:
    def of(*words: str) -> str:
        return config_hash(read_config(words, default="demo"))

    runtime_words = ["data.workers=3", "data.cache_mb=1", "train.checkpoint_every=7", "train.log_every=7"]
    runtime_words += ["train.tensorboard=false", "runs=elsewhere", "run=elsewhere/this", "data.root=/other/disk/demo"]
    assert {of(word) for word in runtime_words} == {of()}
    scientific = ["train.steps=7", "train.seed=1", "stem=drums", "input=separated/spectrogram", "data.seconds=1.5"]
    scientific += [
        "train.batch_size=3",
        "train.validate_every=7",
        "train.optimizer.decay=linear",
        "data.root=/other/set",
    ]
    assert len({of(word) for word in scientific} | {of()}) == len(scientific) + 1


def test_saved_configuration_is_read_back_equal(tmp_path: Path) -> None:
    engine = Engine(power=3, manual=Path("/m.txt"))
    ship = Ship(name="Åda: yes", sizes=(0.1, 1e-9), data=Path("/a/b c"), engine=engine, spare=engine)
    save_yaml(ship, tmp_path / "saved.yaml")
    assert load_config(Ship, [tmp_path / "saved.yaml"], root=Path("/elsewhere")) == ship
    assert to_dict(ship)["data"] == "/a/b c"


def test_values_do_not_change_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Ship(name="Ada").name = "Eve"  # type: ignore[misc]


def test_command_line_names_files_and_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("id: mine\ntrain: {steps: 5}\n")
    config = read_config(["demo", "mine.yaml", "train.batch_size=3"], default="demo")
    assert (config.id, config.train.steps, config.train.batch_size) == ("mine", 5, 3)
    assert config.data.root == PROJECT / "data" / "demo"
    with pytest.raises(UserError, match=r"dem0\.yaml: no such configuration file\. There are: .*demo"):
        read_config(["dem0"], default="demo")
    with pytest.raises(UserError, match=r"--steps: settings are written key=value, such as train\.steps=400"):
        read_config(["--steps", "4"], default="demo")
    for name in ("V3", "V3.bass"):
        with pytest.raises(UserError, match=rf"{name}: is an experiment\. Run it by: .* run {name}"):
            read_config([name], default="demo")
    trainers = "finetune, encodec, dac, separator, masked, translate"
    with pytest.raises(UserError, match=rf"task: is None, but the trainers are {trainers}\. Set task in mine\.yaml"):
        read_config(["mine.yaml"], default="demo")
    assert os.getcwd() == str(tmp_path)
