"""Cards, scales, IDs, and the configurations that they make."""

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.config import config_hash, load_config
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.training.config import RunConfig
from codec_ft.training.run_folder import RunFolder, run_path
from experiments.places import CONFIGS, PROJECT
from experiments.registry import catalogue, resolve
from experiments.registry.before import check_before
from experiments.registry.card import nested, read_card, read_scale, substituted
from experiments.registry.catalogue import Experiment, choose, experiments, groups_of, read_catalogue
from experiments.registry.describe import describe_config, describe_group, list_catalogue
from experiments.registry.queue import Queued
from experiments.registry.state import forget_failure, record_failure, state_of

CARDS = ["N1", "N2", "N3", "N4", "N5", "N6", "N7", "N8", "M0", "M1", "M2", "M3", "M5", "M6", "M7"]

Call = Callable[..., tuple[int, str, str]]

CARD = """
title: Cooking
source: an old book
config:
  input: separated/spleeter
  bridge: {kind: transformer, gives: latents}
demo: {bridge.layers: 1}
full: {train.steps: 7}
variants:
  soup: {what: with water, codec: vampnet, stem: drums}
  stew:
    what: with less of it
    data: {scope: song}
    bridge.layers: 2
    full: {train.steps: 9}
findings:
  - {thesis: It was good., shows: soup.usdr > 1}
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of its own with one card, X2."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "X2.yaml").write_text(CARD)
    monkeypatch.setattr(catalogue, "EXPERIMENTS", folder)
    return folder


SHIPPED = experiments()


def any_of(name: str, *overrides: str, scale: str = "demo") -> RunConfig:
    experiment = SHIPPED.get(name) or experiments()[name]  # those of the shelf are read anew
    return resolve.resolve(experiment, overrides, scale)  # type: ignore[arg-type]


def of(name: str, *overrides: str, scale: str = "demo") -> FinetuneConfig:
    config = any_of(name, *overrides, scale=scale)
    assert isinstance(config, FinetuneConfig)
    return config


def test_every_experiment_of_the_thesis_has_a_card_with_vocals() -> None:
    ids = experiments()
    for card in CARDS:
        assert f"{card}.vocals" in ids and "not in the thesis" in ids[f"{card}.vocals"].what
        assert of(f"{card}.vocals").stem == "vocals"
    assert {name.partition(".")[0] for name in ids} >= {*CARDS, *(f"A{number}" for number in range(1, 7))}
    assert "M4" in read_catalogue()


@pytest.mark.parametrize("scale", ["demo", "full"])
def test_every_card_is_a_configuration_at_both_scales(scale: str) -> None:
    every = {name: any_of(name, scale=scale) for name, experiment in SHIPPED.items() if experiment.card}
    assert [config.id for config in every.values()] == list(every)
    assert len({config_hash(config) for config in every.values()}) == len(every)
    small = scale == "demo"
    decoder = every["X11.bass"]
    assert isinstance(decoder, EncodecTrainingConfig) and decoder.start == ("demo" if small else "encodec_24khz")
    configs = [of(name, scale=scale) for name in every if name.partition(".")[0] in CARDS]
    assert {config.data.root for config in configs} == {PROJECT / "data" / ("demo" if small else "musdb18hq")}
    assert {config.codec for config in configs} == ({"demo", "demo_dac"} if small else {"encodec_24khz", "vampnet"})
    assert {config.data.seconds for config in configs} == {1.0 if small else 16.0}
    # Section 6.2.2: always Adam, by default with 0.001.
    assert {(c.train.optimizer.name, c.train.optimizer.learning_rate) for c in configs} == {("adam", 1e-3)}
    separators = {config.input for config in configs if config.input.startswith("separated/")}
    pairs = {"demo": {"spectrogram", "waveform"}, "full": {"spleeter", "htdemucs"}}
    assert separators == {f"separated/{name}" for name in pairs[scale]}


def test_no_two_experiments_are_the_same_but_for_their_id() -> None:
    names = [name for name, experiment in experiments().items() if experiment.card]
    hashes = {name: config_hash(any_of(name, "id=same")) for name in names}
    assert len(set(hashes.values())) == len(names)


def test_cards_say_what_the_thesis_did() -> None:
    """A reading of sections 6.2.2 and 6.3, beside the cards."""
    n1, n2, n4, n6 = of("N1.bass"), of("N2.bass", scale="full"), of("N4.waveform"), of("N6.adversarial")
    assert (n1.encoder, n1.bridge.kind, n1.bridge.codebooks, n1.input) == (
        "frozen",
        "dense",
        None,
        "separated/spectrogram",
    )
    assert (n1.losses.softmax, n1.losses.latent_mse) == (1, 0)
    assert (n2.encoder, n2.start, n2.losses.latent_mse / n2.losses.softmax) == ("warm", "pretrained", 100)
    assert (of("N2.song").decode, of("N2.song_latents").decode) == ("codes", "latents")
    assert of("N2.song").data.scope == of("N3.song").data.scope == of("M0.bass").data.scope == "song"
    n3 = of("N3.bass")
    assert n3.bridge.kind == "none" and n3.losses.model_dump(exclude_defaults=True) == {}
    assert (of("N3.segment").data.scope, of("N3.random").start, of("N3.denoise").input) == (
        "segment",
        "random",
        "noisy",
    )
    assert (n4.losses.residual, n4.losses.latent_mse, n4.residual.form, n4.residual.codebooks) == (1, 0, "soft", None)
    assert n4.data.scope == "song" and n4.input == of("N5.bass").input == "separated/waveform"
    assert n6.residual.codebooks == 4 and n6.losses.adversarial and not of("N6.residual").losses.adversarial
    assert [of(f"N7.{name}").bridge.codebooks for name in ("first", "four", "warm")] == [1, 4, 4]
    assert [of(f"N7.{name}").encoder for name in ("first", "four", "warm")] == ["frozen", "frozen", "warm"]
    assert [of(f"N8.{name}").encoder for name in ("frozen", "warm")] == ["frozen", "warm"]
    for transformer in (of("N7.first"), of("N8.warm"), of("M3.other"), of("M5.bass")):
        assert (transformer.bridge.kind, transformer.bridge.layers, transformer.bridge.heads) == ("transformer", 3, 4)
    assert of("M0.bass").input == "noise" and of("M1.drums").input == of("M7.bass").input == "mixture"
    assert of("M2.bass", "id=x", "input=separated/waveform") == of("N6.adversarial", "id=x")
    for name in ("M6.bass", "M7.bass"):
        assert (of(name).target, of(name).target_codebooks, of(name).codec) == ("quantized", 4, "demo_dac")
    assert (of("M6.bass").bridge.kind, of("M7.bass").bridge.kind) == ("transformer", "none")


def test_layers_lie_over_each_other(shelf: Path) -> None:
    """Scale, card, card at this scale, variant, variant at this scale, command line."""
    soup, stew = of("X2.soup"), of("X2.stew", scale="full")
    assert (soup.id, soup.stem, soup.input, soup.codec) == ("X2.soup", "drums", "separated/spectrogram", "demo_dac")
    assert (soup.bridge.kind, soup.bridge.layers, soup.train.steps) == ("transformer", 1, 400)
    assert (stew.input, stew.codec, stew.data.scope) == ("separated/spleeter", "encodec_24khz", "song")
    assert (stew.bridge.layers, stew.train.steps, of("X2.soup", scale="full").train.steps) == (2, 9, 7)
    assert (of("X2.stew").bridge.layers, of("X2.stew", "bridge.layers=5").bridge.layers) == (2, 5)


def test_keys_with_dots_are_sections() -> None:
    assert nested({"a.b": 1, "a": {"c": 2}, "d": 3, "a.e.f": 4}) == {"a": {"b": 1, "c": 2, "e": {"f": 4}}, "d": 3}


def test_stand_ins_replace_whole_names_anywhere() -> None:
    value = {"codec": "vampnet", "inputs": {"separated/spleeter": 1}, "also": ["vampnet", "vampnets", 3]}
    found = substituted(value, {"vampnet": "demo_dac", "separated/spleeter": "separated/spectrogram"})
    assert found == {"codec": "demo_dac", "inputs": {"separated/spectrogram": 1}, "also": ["demo_dac", "vampnets", 3]}
    assert read_scale("full").stand_ins == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: Cooking", "titel: Cooking"), r"titel: unknown key in .*X2\.yaml; did you mean title\?"),
        (
            ("thesis: It", "theses: It"),
            r"findings\.0\.theses: unknown key in .*X2\.yaml; did you mean findings\.thesis\?",
        ),
        (("source: an old book\n", ""), "source: this key has no value"),
        (("  soup:", "  Soup!:"), r"variants\.Soup!.*should match pattern"),
        (("what: with water, ", ""), r"variants\.soup\.what: this key has no value"),
        (("title: Cooking", "left_out: no fire\ntitle: Cooking"), "either variants or a reason"),
        (("title: Cooking", "title: [Cooking"), "not valid YAML"),
    ],
)
def test_mistakes_in_a_card_are_told_in_one_line(shelf: Path, change: tuple[str, str], message: str) -> None:
    (shelf / "X2.yaml").write_text(CARD.replace(*change))
    with pytest.raises(UserError, match=message) as caught:
        read_catalogue()
    assert "\n" not in str(caught.value)


def test_mistakes_in_the_configuration_of_a_card_name_its_file(shelf: Path) -> None:
    (shelf / "X2.yaml").write_text(CARD.replace("stem: drums", "steem: drums"))
    with pytest.raises(UserError, match=r"steem: unknown key in .*X2\.yaml; did you mean stem\?"):
        of("X2.soup")
    (shelf / "X2.yaml").write_text(CARD.replace("gives: latents", "gives: soup"))
    with pytest.raises(UserError, match=r"bridge\.gives: .*'latents', 'codes' or 'both', but .*X2\.yaml gives 'soup'"):
        of("X2.soup")


def names(words: list[str]) -> list[str]:
    return [experiment.id for experiment in choose(words)]


def test_words_mean_ids_cards_letters_all_and_files(tmp_path: Path) -> None:
    every = list(experiments())
    assert names(["A2", "N5.drums", "A2"]) == ["A2", "N5.drums"]
    assert names(["N5"]) == ["N5.song", "N5.bass", "N5.drums", "N5.vocals"]
    assert names(["A"]) == [f"A{number}" for number in range(1, 7)]
    assert names(["M"]) == [name for name in every if name.startswith("M")]
    assert names(["all"]) == every and names(["N3", "all"])[0] == "N3.bass" and len(names(["N3", "all"])) == len(every)
    assert choose([str(tmp_path / "mine.yaml")])[0].file == tmp_path / "mine.yaml"
    own = Experiment("mine.yaml", "", Path("mine.yaml"))
    assert [(group.name, len(members)) for group, members in groups_of([*choose(["N3", "A1"]), own])] == [
        ("N3", 7),
        ("A1", 1),
        ("mine.yaml", 1),
    ]


@pytest.mark.parametrize(("word", "near"), [("N3.sog", "N3.song"), ("n3.song", "N3.song"), ("N33", "N3"), ("q", "")])
def test_unknown_ids_are_told_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"^{word}: no such experiment. Near to it are .*{near}.*list$") as caught:
        choose(["A1", word])
    assert "\n" not in str(caught.value)


def test_what_is_left_out_says_why() -> None:
    with pytest.raises(UserError, match=r"M4: is left out: .*RAVE"):
        choose(["M4"])
    assert not any(name.startswith("M4") for name in experiments())


def test_the_order_is_that_of_the_thesis(shelf: Path) -> None:
    for name in ("A10", "A2", "M1", "N1", "X10"):
        (shelf / f"{name}.yaml").write_text(f"# What {name} is about.\nid: {name}\n")
    assert list(read_catalogue()) == ["A2", "A10", "N1", "M1", "X2", "X10"]
    assert read_catalogue()["A10"].title == "What A10 is about"


def test_outside_a_clone(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "EXPERIMENTS", shelf / "gone")
    with pytest.raises(UserError, match="Work in a clone"):
        choose(["N1"])


def test_a_configuration_of_its_own_is_an_experiment_too(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(resolve, "run_experiment", trained.append)
    (shelf / "B1.yaml").write_text("# Mine.\nid: B1\ntask: finetune\n")
    resolve.run(resolve.resolve(experiments()["B1"], ["stem=drums"], "full"))
    assert [(config.id, config.stem, config.codec) for config in trained] == [("B1", "drums", "demo")]  # no scale
    (shelf / "B1.yaml").write_text("# Mine.\nid: B1\ntask: cooking\n")
    with pytest.raises(UserError, match=r"task: is 'cooking', but there are finetune, .*tokens.*B1\.yaml"):
        resolve.resolve(experiments()["B1"])


def test_list_tells_every_id_and_why_one_is_missing() -> None:
    told = list_catalogue(read_catalogue()).splitlines()
    for name in experiments():
        assert sum(line.split()[:1] == [name] for line in told) == 1
    assert any("left out: the thesis trained" in line for line in told)
    assert max(map(len, told)) <= 140


def test_show_tells_what_is_changed_and_how_it_is_checked() -> None:
    chosen = choose(["N3.segment"])
    ((group, members),) = groups_of(chosen)
    told = describe_group(group, members, "demo")
    assert "thesis, section 6.2.2, experiment N3" in told and "input=separated/spectrogram" in told
    assert "data.scope=segment" in told and "N3.drums" not in told
    card = read_card(group.file)
    for finding in card.findings:
        assert finding.thesis in told and " ".join(finding.shows.split()) in told
    assert "input=separated/spleeter" in describe_group(group, members, "full")
    assert "left out" in describe_group(read_catalogue()["M4"], [], "demo")


def test_what_show_prints_is_a_configuration(tmp_path: Path) -> None:
    config = of("N6.drums")
    (tmp_path / "shown.yaml").write_text(describe_config(config))
    assert load_config(FinetuneConfig, [tmp_path / "shown.yaml"], root=PROJECT) == config


def test_state_follows_the_run_folder(tmp_path: Path) -> None:
    config = of("N3.bass", f"runs={tmp_path}")
    assert run_path(config) == tmp_path / f"N3.bass-{config_hash(config)}"
    assert state_of(config).kind == "not run"
    record_failure(config, "no fire")
    assert (state_of(config).kind, state_of(config).why) == ("failed", "no fire")
    forget_failure(config)
    forget_failure(config)
    run = RunFolder(run_path(config))
    run.path.mkdir()
    run.config.write_text("id: N3.bass\n")
    run.log({"step": 10, "split": "train", "loss": 1.0})
    assert (state_of(config).kind, state_of(config).why) == ("unfinished", "at step 10")
    record_failure(config, "no fire")
    run.finish({"status": "finished"})
    assert state_of(config).kind == "finished"


@pytest.fixture
def command() -> Call:
    """Calls the script in this process: exit status, what it printed, and what it told on stderr."""
    app = runpy.run_path(str(PROJECT / "scripts" / "run_experiment.py"))["app"]

    def call(*words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(words))
        return result.exit_code, result.stdout, result.stderr

    return call


def test_command_lists_and_shows(command: Call) -> None:
    status, told, _ = command("list")
    assert status == 0 and "N3.song" in told and "Idempotence" in told
    status, told, _ = command("show", "N3.song", "train.steps=9", "--scale", "full")
    assert status == 0 and yaml.safe_load(told[told.index("\nid:") :])["train"]["steps"] == 9
    status, told, _ = command("show", "N3")
    assert status == 0 and "N3.random" in told and "\nid:" not in told
    assert command("show", "A1")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "A1", "A7", "codec=nowhere"], "A7: no such experiment"),
        (["run", "N3.bass", "N8.frozen", "bridge.kind=none"], "encoder=frozen without a bridge"),
        (["run", "N1", "train.stepz=3"], "train.stepz: unknown key in the command line; did you mean train.steps?"),
        (["run", "N3", "run=mine"], "N3.bass and N3.song would share the run folder"),
        (["run", "N3", "--launch", "no-such-launcher -x"], "--launch no-such-launcher -x: cannot be run"),
        (["run", "Y2.drums"], "Y2.drums: goes on from X9.drums, and "),
        (
            ["run", "N3.song", "Y2.drums"],
            "is not there or not finished. Run that first with the same key=value words: ",
        ),
        (["run", "Y1.bass", "data.extra=[nowhere]"], "nowhere is not there. It needs before it: make data (data/more"),
        (["show", "N99"], "N99: no such experiment"),
        (["table", "N99"], "N99: no such experiment"),
        (["table", "A1", "losses.softmax=1"], "A1: losses"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_run(
    command: Call, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [] if words[0] == "table" else [f"runs={tmp_path / 'runs'}"]
    status, _, told = command(*words, *places)
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "RESULTS.md").exists()


def test_runs_that_others_go_on_from_may_be_made_before_them(tmp_path: Path) -> None:
    """Finished, earlier in the same queue, or not needed because something else was chosen."""
    words = [f"runs={tmp_path / 'runs'}", f"data.root={tmp_path}", f"data.extra=[{tmp_path}]"]

    def queue(*names: str, also: Sequence[str] = ()) -> None:
        chosen = [*words, *also]
        check_before([Queued(one, resolve.resolve(one, chosen)) for one in choose(names)], chosen, "demo")

    with pytest.raises(UserError, match=r"Y2\.drums: goes on from X9\.drums"):
        queue("Y2.drums")
    queue("X9.drums", "Y2.drums")
    with pytest.raises(UserError, match=r"Y2\.drums: goes on from X9\.drums"):
        queue("Y2.drums", "X9.drums")
    queue("Y2.drums", also=["enhancer=demo_drums"])
    folder = run_path(resolve.resolve(choose(["X9.drums"])[0], words))
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{}")
    queue("Y2.drums")

    # What is no word for X9 leaves it without any, but where its run lies is known.
    bare = run_path(resolve.resolve(choose(["X9.drums"])[0]))
    (tmp_path / "runs" / bare.name).mkdir()
    (tmp_path / "runs" / bare.name / "results.json").write_text("{}")
    queue("Y2.drums", also=["coarse.dim=16"])


def test_several_ids_are_not_for_several_processes(command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, told = command("run", "N3")
    assert status == 2 and "--launch" in told


def test_scales_are_where_the_schema_looks_for_them() -> None:
    assert {path.stem for path in (CONFIGS / "scales").glob("*.yaml")} == {"demo", "full"}
