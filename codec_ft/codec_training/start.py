"""Where a codec's training begins: with new weights, or with those of a codec there is."""

from dataclasses import dataclass

from transformers import DacConfig, DacModel, EncodecModel

from codec_ft.codec_training.config import CodecTrainingConfig, DacTrainingConfig, EncodecTrainingConfig
from codec_ft.codec_training.dac_model import make_dac
from codec_ft.codec_training.encodec_model import make_encodec
from codec_ft.codec_training.factorized import FactorizedLearner
from codec_ft.codec_training.quantizer import CodebookLearner
from codec_ft.codecs.base import add_weight_norm, trainable_copy
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.errors import UserError


@dataclass
class Network:
    """A codec's layers, trainable, and what trains its codebooks."""

    model: EncodecModel | DacModel
    learner: CodebookLearner | FactorizedLearner


def make_network(config: CodecTrainingConfig) -> Network:
    """The codec that a configuration asks for.

    Raises:
        UserError: the codec to start from cannot be loaded or is of another architecture, or two shapes are given.
    """
    assert isinstance(config, EncodecTrainingConfig | DacTrainingConfig)
    if config.start is not None and config.model != type(config.model)():
        raise UserError("start and model: a codec to start from brings its own shape. Leave out one of them.")
    if isinstance(config, DacTrainingConfig):
        dac = make_dac(config.model) if config.start is None else _dac_of(config.start)
        factorized = FactorizedLearner(dac.quantizer, config.quantizer)
        if config.start is not None:
            factorized.go_on()
        return Network(dac, factorized)
    if config.start is None:
        encodec = make_encodec(config.model)
        return Network(encodec, CodebookLearner(encodec.quantizer, config.model.latent_dim, config.quantizer))
    encodec = _encodec_of(config.start)
    learner = CodebookLearner(encodec.quantizer, encodec.config.hidden_size, config.quantizer)
    frames = config.train.batch_size * config.data.seconds * encodec.config.sampling_rate / encodec.config.hop_length
    learner.go_on(frames)
    return Network(encodec, learner)


def _encodec_of(name: str) -> EncodecModel:
    codec = load_codec(name)
    if not isinstance(codec, EncodecCodec):
        raise UserError(f"start={name}: is no mono EnCodec. Give one, or a configuration with task: dac.")
    model = EncodecModel(codec.config)
    _thaw(codec, model)
    return model


def _dac_of(name: str) -> DacModel:
    codec = load_codec(name)
    if not isinstance(codec, DacCodec) or not isinstance(codec.config, DacConfig):
        raise UserError(f"start={name}: is no DAC. Give one, or a configuration with task: encodec.")
    model = DacModel(codec.config)
    _thaw(codec, model)
    return model


def _thaw(codec: EncodecCodec | DacCodec, model: EncodecModel | DacModel) -> None:
    """Give `model` trainable copies of the layers of a frozen codec, weight-normed like the originals."""
    for name in ("encoder", "quantizer", "decoder"):
        setattr(model, name, trainable_copy(getattr(codec, name)))
    add_weight_norm(model)
