"""What is compared with what, and what is left out with a word."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec_ft.errors import UserError
from experiments.evaluation.systems import compare_folders


def make(root: Path, items: dict[str, list[str]]) -> Path:
    """Write a hundredth of a second for each track and stem."""
    for track, stems in items.items():
        (root / track).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            soundfile.write(root / track / f"{stem}.wav", np.full(160, 0.1), 16000)
    return root


@pytest.fixture
def references(tmp_path):
    return make(tmp_path / "true", {"a": ["bass", "drums"], "b": ["bass", "drums"], "c": ["bass", "drums"]})


def test_only_tracks_that_all_systems_have_are_compared(tmp_path, references):
    full = make(tmp_path / "full", {track: ["bass", "drums"] for track in "abc"})
    partial = make(tmp_path / "partial", {"a": ["bass"], "c": ["bass"], "z": ["bass"]})
    comparison = compare_folders(references, [str(full), str(partial)])
    # Only one of them has drums: there, its tracks are all that count.
    assert comparison.items == (("a", "bass"), ("c", "bass"), ("a", "drums"), ("b", "drums"), ("c", "drums"))
    assert [system.name for system in comparison.systems_of(("a", "drums"))] == ["mixture", "full"]
    assert [system.name for system in comparison.systems_of(("a", "bass"))] == ["mixture", "full", "partial"]
    notes = "\n".join(comparison.notes)
    assert "partial: has no drums" in notes
    assert "partial: no bass of b; left out for all systems" in notes
    assert "partial: z not among the references" in notes


def test_the_mixture_is_its_file_or_the_sum_of_the_stems(tmp_path, references):
    system = make(tmp_path / "system", {"a": ["bass"]})
    floor = compare_folders(references, [str(system)]).systems[0]
    assert (floor.name, floor.role) == ("mixture", "floor")
    assert [path.name for path in floor.files["a", "bass"]] == ["bass.wav", "drums.wav"]
    make(references, {"a": ["mixture"]})
    assert [path.name for path in compare_folders(references, [str(system)]).systems[0].files["a", "bass"]] == [
        "mixture.wav"
    ]


def test_references_with_a_single_stem_have_no_mixture(tmp_path):
    references = make(tmp_path / "true", {"a": ["vocals"]})
    comparison = compare_folders(references, [str(make(tmp_path / "x", {"a": ["vocals"]}))])
    assert [system.name for system in comparison.systems] == ["x"]


def test_the_input_is_a_second_floor(tmp_path, references):
    enhanced, separated = (make(tmp_path / name, {"a": ["bass"]}) for name in ("enhanced", "separated"))
    comparison = compare_folders(references, [str(enhanced)], input=str(separated))
    assert [(system.name, system.role) for system in comparison.systems] == [
        ("mixture", "floor"),
        ("separated", "input"),
        ("enhanced", "system"),
    ]


def test_of_a_data_set_with_splits_one_is_taken(tmp_path):
    root = tmp_path / "data"
    make(root / "train", {"a": ["bass", "drums"]})
    make(root / "test", {"b": ["bass", "drums"]})
    make(root / "separated" / "x" / "train", {"a": ["bass"]})
    make(root / "separated" / "x" / "test", {"b": ["bass"]})
    estimates = [str(root / "separated" / "x")]
    assert compare_folders(root, estimates).items == (("b", "bass"),)
    comparison = compare_folders(root, estimates, split="train")
    assert comparison.items == (("a", "bass"),)
    assert comparison.notes == ("drums: left out, no system has it.",)


def test_folders_of_one_name_are_told_apart(tmp_path, references):
    first, second = (make(tmp_path / name / "out", {"a": ["bass"]}) for name in ("first", "second"))
    comparison = compare_folders(references, [str(first), str(second)])
    assert [system.name for system in comparison.systems][1:] == ["out (first)", "out (second)"]
    comparison = compare_folders(references, [f"one={first}", f"two={second}"])
    assert [system.name for system in comparison.systems][1:] == ["one", "two"]
    with pytest.raises(UserError, match="one: the name is taken"):
        compare_folders(references, [f"one={first}", f"one={first}"])
    with pytest.raises(UserError, match="mixture: the name is taken"):
        compare_folders(references, [f"mixture={first}"])
    with pytest.raises(UserError, match="leave out slashes"):
        compare_folders(references, [f"a/b={first}"])


def test_stems_and_tracks_can_be_chosen(tmp_path, references):
    system = str(make(tmp_path / "x", {track: ["bass", "drums"] for track in "abc"}))
    assert compare_folders(references, [system], stems=["drums"], tracks=["b"]).items == (("b", "drums"),)
    with pytest.raises(UserError, match=r"--stem drum: no such stem among the references. Did you mean drums\?"):
        compare_folders(references, [system], stems=["drum"])
    with pytest.raises(UserError, match="--track d: no such track"):
        compare_folders(references, [system], tracks=["d"])


def test_without_anything_in_common_both_sides_are_shown(tmp_path, references):
    system = make(tmp_path / "x", {"a (1)": ["bass"], "b (1)": ["bass"]})
    with pytest.raises(UserError, match=r"no track and stem in common.*a/bass.*x has a \(1\)/bass.*Rename"):
        compare_folders(references, [str(system)])


def test_stems_that_the_references_lack_are_named(tmp_path, references):
    system = make(tmp_path / "x", {"a": ["bass", "accompaniment"]})
    assert (
        "x: accompaniment left out, the references have no such stem."
        in compare_folders(references, [str(system)]).notes
    )
