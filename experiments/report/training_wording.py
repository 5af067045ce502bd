"""What a run has trained, in plain words; its configuration says it all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec_ft.data.tracks import context_names
from experiments.report.run_folder import finite, mapping
from experiments.report.wording import metric_label, setting, show_percent

CODEC_TASKS = ("encodec", "dac")
"""The trainers of codecs, named here because the trainers themselves take seconds to import."""

BRIDGES = {"dense": "a dense layer", "transformer": "a causal transformer", "rotary": "a bidirectional transformer"}

BY_HEART = {"song": "one song of the training set", "segment": "one excerpt of one training song"}
"""What a fine-tuning of less than the whole set overfits."""


def trains_codec(config: Mapping[str, Any]) -> bool:
    """Whether the run trains a codec, so that its samples are an original and its reconstruction."""
    return config.get("task") in CODEC_TASKS and not trains_decoder(config)


def trains_decoder(config: Mapping[str, Any]) -> bool:
    """Whether the run trains a codec's decoder on what an enhancer predicts."""
    return config.get("task") in CODEC_TASKS and bool(config.get("enhancer"))


def trains_separator(config: Mapping[str, Any]) -> bool:
    """Whether the run trains a separator of all stems."""
    return config.get("task") == "separator"


def route(config: Mapping[str, Any]) -> str:
    """Where the sound comes from and where it goes, e.g. `separated/spectrogram + mixture → bass`."""
    if trains_separator(config):
        return "mixture → stems"
    if trains_decoder(config):
        return f"tokens of {Path(setting(config, 'enhancer')).name} → audio"
    if trains_codec(config):
        return "audio → tokens → audio"
    stem, source = setting(config, "stem"), setting(config, "input")
    source = {"noisy": f"{stem} + noise", "target": stem}.get(source, source)
    heard = " + ".join(filter(None, (source, *_context(config))))
    return " → ".join(filter(None, (heard, stem)))


def describe(config: Mapping[str, Any]) -> str:
    """What was trained, in one to three sentences, for a reader who knows no abbreviation."""
    if trains_decoder(config):
        return (
            f"The codec's decoder learns to play the tokens that the enhancer {Path(setting(config, 'enhancer')).name} "
            "predicts, wrong ones among them; the tokens stay as they are."
        )
    if trains_codec(config):
        return "A neural codec learns to turn music into tokens and back; the output is what is left of the target."
    if trains_separator(config):
        return "A separator learns to take every stem out of the mixture; no codec has a part in it."
    if not setting(config, "stem") or not setting(config, "input"):
        return ""
    if config.get("task") == "masked":
        return _token_models(config)
    if config.get("task") == "translate":
        return _translation(config)
    hears = f"{_encoder(config)} hears {input_words(setting(config, 'input'), config)}"
    context = [input_words(source, config) for source in _context(config)]
    if context:
        hears += f", and beside it {_listed(context)}"
    bridge = mapping(config.get("bridge"))
    behind = BRIDGES.get(str(bridge.get("kind")), "")
    if not behind:
        learns = f"{hears}{',' if context else ''} and learns to answer with {_target(config)}"
    elif bridge.get("gives") == "codes":
        learns = f"{hears}. {behind.capitalize()} behind it learns to name {_codes(config)}"
    elif setting(config, "encoder") == "frozen":
        learns = f"{hears}. {behind.capitalize()} behind it learns to answer with {_target(config)}"
    else:
        learns = f"{hears}. With {behind} behind it, it learns to answer with {_target(config)}"
    if behind and bridge.get("gives") == "both":
        learns += ", and to prefer some codes near them"
    return f"{learns}; {_decoding(config)}.{_by_heart(config)}"


def input_words(source: str, config: Mapping[str, Any]) -> str:
    """What the model heard, in words: `mixture`, `separated/<separator>`, `target`, `noisy` or `noise`."""
    kind, _, separator = source.partition("/")
    if kind == "separated":
        return f"the stem as separated by “{separator}”" if separator else "the separated stem"
    clean = f"the clean {setting(config, 'stem') or 'stem'}"
    level = finite(mapping(config.get("data")).get("noise_db"))
    noisy = f"{clean} in white noise" + (f", {level:g} dB below it" if level is not None else "")
    words = {"": "the mixture", "mixture": "the mixture", "target": clean, "noisy": noisy, "noise": "white noise"}
    return words.get(source, source)


def shares_heard(config: Mapping[str, Any]) -> str:
    """The inputs that training drew from, with their shares; empty where it heard one."""
    shares = {name: finite(share) or 0.0 for name, share in mapping(config.get("train_inputs")).items()}
    total = sum(shares.values())
    if total <= 0:
        return ""
    return ", ".join(f"{show_percent(share / total)} {name}" for name, share in shares.items())


def loss_words(config: Mapping[str, Any]) -> str:
    """The terms of a fine-tuning's loss with their weights, e.g. `latent MSE + 0.1 × residual loss`."""
    weights = {name: finite(weight) or 0.0 for name, weight in mapping(config.get("losses")).items()}
    total = sum(weights.values())
    if total <= 0:
        return ""
    layers = mapping(config.get("residual")).get("codebooks")
    terms = []
    for name, weight in weights.items():
        label = metric_label(name)
        if name == "residual" and layers:
            label += f" of {layers} codebook{'s' if layers != 1 else ''}"
        if config.get("balance") and weight:
            terms.append(f"{show_percent(weight / total)} {label}")
        elif weight:
            terms.append(label if weight == 1 else f"{weight:g} × {label}")
    return f"{', '.join(terms)} of the gradient" if config.get("balance") else " + ".join(terms)


def clip_caption(name: str, config: Mapping[str, Any]) -> str:
    """What one player plays, in a few words."""
    if trains_codec(config):
        return {"output": "through the codec", "target": "the original"}.get(name, "")
    if trains_decoder(config):
        return {
            "input": "what the enhancer hears",
            "untouched_decoder": "its tokens, played by the codec's own decoder",
            "output": "the same tokens, played by the trained decoder",
            "target": "the clean stem",
            "quantized_target": "the target through the codec: its ceiling",
        }.get(name, "")
    context = context_names(_context(config))
    beside = {name: f"{input_words(source, config)}, heard beside the input" for name, source in context.items()}
    way, _, count = name.partition("_")
    if way in ("given", "steps") and count.isdigit():
        return {"given": f"the first {_codebooks(count)} kept as heard", "steps": f"in {count} steps"}[way]
    return {
        "input": f"{input_words(setting(config, 'input'), config)}, as the model hears it",
        **beside,
        "mixture": "heard beside the input" if "mixture" in context else "",
        "output": "what the model makes of it",
        "coarse": "the tokens of the coarse model alone",
        "c2f": "with the tokens of the fine model",
        "target": f"the clean {setting(config, 'stem') or 'stem'}",
        "quantized_input": "the input through the untouched codec",
        "quantized_target": "the target through the codec: its ceiling",
    }.get(name, "")


def _token_models(config: Mapping[str, Any]) -> str:
    """What masked token models were trained for."""
    stages = {name: mapping(config.get(name)) for name in ("coarse", "fine") if config.get(name)}
    stem, count = setting(config, "stem"), stages.get("coarse", {}).get("codebooks")
    first = f"the first {_codebooks(count)}" if count else "all codebooks"
    learns = f"A masked transformer learns to write the tokens of the clean {stem}, {first} of them"
    if "fine" in stages:
        settled = config.get("settle") is not None
        learns += ", and a second one " + (
            "guesses the latents behind them, to which all other tokens are the nearest" if settled else "those behind"
        )
    conditions = [mapping(stage.get("condition")) for stage in stages.values()]
    forms = {
        "tokens": "the tokens of {}",
        "latents": "the latents of {} before quantisation",
        "spectrogram": "a spectrogram of {}",
    }
    sources = [input_words(source, config) for source in (setting(config, "input"), *_context(config))]
    shown = [
        words.format(sources[0] if name == "tokens" else _listed(sources))
        for name, words in forms.items()
        if any(condition.get(name) for condition in conditions)
    ]
    enhancer = f"the enhancer {Path(str(config.get('enhancer'))).name}"
    if any(condition.get("enhanced") for condition in conditions):
        shown.append(f"what {enhancer} makes of it")
    hears = f"It is shown {_listed(shown)}" if shown else "It is shown nothing else"
    whose = enhancer if config.get("enhancer") else "its input"
    given = config.get("given")
    kept = given[0] if isinstance(given, list) and given else 0
    doubt = finite(mapping(config.get("sampling")).get("doubt"))
    begins = "begins with nothing"
    if kept:
        begins = f"keeps the first {_codebooks(kept)} of {whose}"
    elif doubt is not None:
        begins = f"begins with the tokens of {whose} and writes anew the {show_percent(doubt)} that it doubts most"
    return f"{learns}. {hears}, and {begins}; the codec's own decoder makes its tokens audible."


def _translation(config: Mapping[str, Any]) -> str:
    """What an encoder-decoder was trained for."""
    model = mapping(config.get("model"))
    count, stem = model.get("codebooks"), setting(config, "stem")
    which = f"the first {_codebooks(count)}" if count else "all codebooks"
    sources = _listed([input_words(source, config) for source in (setting(config, "input"), *_context(config))])
    order = {"delay": "one of each codebook at a time", "flattened": "one after the other"}
    return (
        f"An encoder-decoder reads the tokens of {sources} and learns to write those of the clean {stem}, {which} of "
        f"them, {order.get(str(model.get('pattern')), 'in turn')}; the codec's own decoder makes them audible."
    )


def _codebooks(count: object) -> str:
    """`codebook` or `4 codebooks`."""
    return "codebook" if str(count) == "1" else f"{count} codebooks"


def _context(config: Mapping[str, Any]) -> list[str]:
    """What is heard beside the input; a run of an earlier version names it, or has null."""
    value = config.get("context")
    return [value] if isinstance(value, str) else [str(source) for source in value or ()]


def _listed(words: list[str]) -> str:
    """Some words as a sentence has them: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _encoder(config: Mapping[str, Any]) -> str:
    codec = setting(config, "codec")
    of_codec = f"of the codec “{codec}”" if codec else "of a neural codec"
    if setting(config, "encoder") == "frozen":
        return f"The encoder {of_codec}, as it is,"
    if setting(config, "start") == "random":
        return f"An encoder like that {of_codec}, but with random weights at the start,"
    return f"A copy of the encoder {of_codec}"


def _target(config: Mapping[str, Any]) -> str:
    words = f"what the frozen encoder gives for the clean {setting(config, 'stem')}"
    if setting(config, "target") != "quantized":
        return words
    count = setting(config, "target_codebooks")
    return f"{words}, quantised with {f'its first {count}' if count else 'all'} codebooks"


def _codes(config: Mapping[str, Any]) -> str:
    count = mapping(config.get("bridge")).get("codebooks")
    which = "" if not count else " in the first codebook" if count == 1 else f" in the first {count} codebooks"
    return f"the tokens of the clean {setting(config, 'stem')}{which}"


def _decoding(config: Mapping[str, Any]) -> str:
    bridge = mapping(config.get("bridge"))
    if setting(config, "decode") == "latents":
        codes = str(bridge.get("kind")) in BRIDGES and bridge.get("gives") == "codes"
        what = "the encoder's answer" if codes else "it"
        return f"the codec's own decoder makes {what} audible, unquantised"
    if str(bridge.get("kind")) in BRIDGES and bridge.get("gives") == "codes":
        return "the codec's own decoder makes them audible"
    return "the codec's own quantiser and decoder make it audible"


def _by_heart(config: Mapping[str, Any]) -> str:
    what = BY_HEART.get(setting(config, "scope"))
    if not what:
        return ""
    return (
        f" All that it hears is {what}, and the samples are of just that: they show what it has learnt by heart, not "
        "what it makes of other music."
    )
