"""Embeddings by name, and what is said about names that are none."""

from pathlib import Path

import pytest

from codec_ft.embeddings.codec import CodecEmbedding
from codec_ft.embeddings.load import load_embedding
from codec_ft.errors import UserError


def test_codecs_by_name_and_path(tiny_codec_folder: Path):
    demo = load_embedding("demo")
    assert isinstance(demo, CodecEmbedding) and demo.name == "demo latents"
    assert load_embedding(str(tiny_codec_folder)).dimension == 8


@pytest.mark.parametrize(
    "name, words",
    [
        ("demoo", "demoo: no such embedding. Did you mean demo?"),
        ("encodec_24", "Did you mean encodec_24khz?"),
        ("vgish=file.pth", "Did you mean vggish=FILE?"),
        ("quite another", "quite another: no such embedding. Give a codec"),
        ("vggish", "vggish: the weights are missing. Say where they are: vggish=FILE."),
        ("clap=", "clap=: the weights are missing. Say where they are: clap=FOLDER_OR_ID."),
        ("vggish=/no/such.pth", "/no/such.pth: no such file. Put vggish-10086976.pth there"),
        ("clap=/no/such", "/no/such: cannot be read as a CLAP"),
        ("./no/such", "./no/such: no such codec"),
    ],
)
def test_names_that_are_none(name: str, words: str):
    with pytest.raises(UserError) as caught:
        load_embedding(name)
    message = str(caught.value)
    assert words in message and "\n" not in message and message.endswith(".")
