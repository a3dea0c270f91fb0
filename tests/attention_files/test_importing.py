"""Recordings made of foreign files: the real one of GPT-2, a small model's own, and refusals."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.attention_files.files import (
    HEADS,
    LAYERS,
    ids,
    patterns,
    save_files,
    save_tokenizer,
    write_json,
)
from tests.models.networks import tokenizer
from tests.small_run import save_model, save_texts

from headscript.attention_files import import_recording, save_attention
from headscript.attention_files.importing import read_texts
from headscript.attention_files.text import AttentionText
from headscript.attention_files.tokens import TokenMapper, open_tokenizer
from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.library.entries import Library
from headscript.library.matching import match
from headscript.packing import pack_rows
from headscript.recorded import Recorded
from headscript.recording import Recording
from headscript.recording_runs import record_run
from headscript.records import SPLITS
from headscript.runs import Run


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of one token a word."""
    return save_tokenizer(tmp_path_factory.mktemp("words"))


def snapshot(run: Path) -> dict[str, int]:
    return {
        str(file.relative_to(run)): file.stat().st_mtime_ns
        for file in run.rglob("*")
        if file.is_file() and not file.name.startswith("lock")
    }


# Real ones ---------------------------------------------------------------------------------------


def test_the_attention_of_gpt2(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "gpt2_attention"
    files = sorted(folder.glob("ex*.json"))
    imported = import_recording(files, tmp_path / "run", tokenizer=folder)
    run = Run.open(tmp_path / "run")
    assert imported.dropped == []
    assert run.model.imported
    assert run.model.causal
    assert run.model.name == "gpt2 (124M)"
    assert len(run.model.heads) == 144
    assert [len(run.texts(split)) for split in SPLITS] == [3, 1, 1]
    recorded = Recorded(run)
    raw = {file.stem: json.loads(file.read_text()) for file in files}
    read = TokenMapper(recorded.tokenizer).read
    for split in SPLITS:
        for number, text in enumerate(run.texts(split)):
            found = raw[text.id]
            assert list(text.token_ids) == found["tokenIds"]
            assert text.text == found["prompt"]
            # Words that follow a space begin with one, as GPT-2 cuts them.
            assert read.surfaces(text.token_ids) == found["tokens"]
            for head in (Head(0, 0), Head(5, 1), Head(11, 11)):
                data = found["attention_softmax_by_layer_head"][f"{head.layer}.{head.head}"]["data"]
                pattern = recorded.recording(split).pattern(head, number)
                assert torch.allclose(pattern, torch.tensor(data), atol=3e-4)


def test_gpt2_by_strings_alone_and_by_its_two_files(shared: Path) -> None:
    folder = shared / "data" / "gpt2_attention"
    one = open_tokenizer([folder])
    two = open_tokenizer([folder / "gpt2_vocab.json", folder / "gpt2_merges.txt"])
    mapper = TokenMapper(one)
    for file in sorted(folder.glob("ex*.json")):
        found = json.loads(file.read_text())
        assert two(found["prompt"])["input_ids"] == found["tokenIds"]
        by_surface = said(found["tokens"], None)
        assert mapper(by_surface) == tuple(found["tokenIds"])
        pieces = one.convert_ids_to_tokens(found["tokenIds"])
        assert any(piece.startswith("Ġ") for piece in pieces)
        assert mapper(said(pieces, None)) == tuple(found["tokenIds"])
        assert mapper(said(pieces, found["tokenIds"])) == tuple(found["tokenIds"])
    with pytest.raises(
        HeadscriptError, match=r"Token 1 of here is 'visualization', .* no such tok"
    ):
        mapper(said(["Data", "visualization"], None))


def said(tokens: Any, token_ids: Any) -> AttentionText:
    """A text of which a file says these tokens."""
    n = len(tokens or token_ids)
    return AttentionText.of(
        "here",
        "a",
        (1, 1, n, n),
        {"tokens": tokens and list(tokens), "token_ids": token_ids},
        lambda: iter(()),
    )


@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
def test_a_recording_goes_out_and_comes_back(suffix: str, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    texts = save_texts(tmp_path / "texts.txt", number=6)
    run = record_run(str(model), texts, tmp_path / "run")
    files = []
    for split in SPLITS:
        recording = Recording.open(run.recording_folder(split))
        for number, text in enumerate(run.texts(split)):
            attention = torch.stack(
                [
                    torch.stack([recording.pattern(head, number) for head in heads])
                    for heads in map(recording.heads_of, recording.layers)
                ]
            )
            file = tmp_path / f"{text.id}{suffix}"
            save_attention(file, attention, text.token_ids, text=text.text, part=split)
            files.append(file)
    import_recording(files, tmp_path / "again", tokenizer=run.tokenizer_folder, name="llama")
    again = Run.open(tmp_path / "again")
    assert again.texts() == run.texts()
    assert again.model.heads_per_layer == run.model.heads_per_layer
    assert again.model.causal
    assert again.model.weights_hash != run.model.weights_hash
    for split in SPLITS:
        first = Recording.open(run.recording_folder(split))
        second = Recording.open(again.recording_folder(split))
        assert second.heads == first.heads
        for layer in first.layers:
            for a, b in zip(first.layer(layer), second.layer(layer), strict=True):
                assert torch.allclose(a, b, atol=6e-4)  # rows sum to 1 anew, in half precision


# What is made ------------------------------------------------------------------------------------


def test_an_encoder_and_patterns_as_they_are(words: Path, tmp_path: Path) -> None:
    files = save_files(tmp_path / "files", suffix=".safetensors", causal=False)
    run = import_recording(files, tmp_path / "run", tokenizer=words).run
    assert not run.model.causal
    assert run.model.heads_per_layer == (HEADS,) * LAYERS
    for split in SPLITS:
        recording = Recording.open(run.recording_folder(split))
        assert recording.token_counts == [len(text.token_ids) for text in run.texts(split)]
        for number, text in enumerate(run.texts(split)):
            place = int(text.id.removeprefix("text"))
            exact = patterns(len(text.token_ids), seed=place, causal=False)
            assert text.token_ids == tuple(ids(len(text.token_ids), seed=place))
            for layer in range(LAYERS):
                (cells,) = recording.layer(layer, [number])
                assert torch.allclose(cells, pack_rows(exact[layer], causal=False), atol=5e-4)


def test_the_same_files_again_and_others(words: Path, tmp_path: Path) -> None:
    files = save_files(tmp_path / "files")
    out = tmp_path / "run"
    import_recording(files, out, tokenizer=words)
    before = snapshot(out)
    import_recording(files[::-1], out, tokenizer=words)  # their order says nothing
    assert snapshot(out) == before
    # What a killed import left is finished; nothing that is there is made anew.
    shutil.rmtree(out / "recording/test/shard-00000")
    shutil.rmtree(out / "recording/select")
    import_recording(files, out, tokenizer=words)
    after = snapshot(out)
    assert after.keys() == before.keys()
    assert all(after[file] == before[file] for file in before if "recording/fit" in file)
    with pytest.raises(HeadscriptError, match=r"texts was 'text0\.npz and 4 more' and is now"):
        import_recording(files[:4], out, tokenizer=words)
    with pytest.raises(HeadscriptError, match="model was 'toy'"):
        import_recording(files, out, tokenizer=words, name="another")
    save_attention(files[0], patterns(6, seed=7), ids(6), model="toy")
    with pytest.raises(HeadscriptError, match="has other weights"):
        import_recording(files, out, tokenizer=words)
    assert snapshot(out) == after


def test_a_name_is_no_place_for_code(words: Path, tmp_path: Path) -> None:
    """It stands in the first line of every program."""
    hostile = 'gpt2"""\nimport os\n\\\x1b[31m' + "x" * 200
    files = []
    for place in range(4):
        files.append(tmp_path / f"{place}.json")
        attention = patterns(6, seed=place)
        save_attention(files[-1], attention, ids(6, seed=place), model=hostile)
    run = import_recording(files, tmp_path / "run", tokenizer=words).run
    assert run.model.name.startswith("gpt2___ import os ___31mxxx")
    assert len(run.model.name) == 100
    (entry,) = Library.load(small_program(tmp_path)).entries
    match(run.directory, library=Library((entry,), "one"), out=run.directory)
    programs = Run.open(run.directory).programs()
    assert len(programs) == LAYERS * HEADS
    first = programs[Head(0, 0)].source.splitlines()[0]
    assert first.startswith('"""Head L00H00 of gpt2___ import os ___31m')
    assert first.count('"""') == 2
    named = import_recording(files, tmp_path / "named", tokenizer=words, name="  my\nmodel ").run
    assert named.model.name == "my model"


def small_program(folder: Path) -> Path:
    """A folder with one program."""
    (folder / "programs").mkdir()
    source = "def attend(text, a=2.0):\n    return softmax(a * text.first)\n"
    (folder / "programs" / "first.py").write_text(source)
    return folder / "programs"


def test_texts_are_shared_out(words: Path, tmp_path: Path) -> None:
    files = save_files(tmp_path / "files", number=12)

    def counts(**options: Any) -> list[int]:
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        run = import_recording(files, out, tokenizer=words, **options).run
        assert len({text.token_ids for text in run.texts()}) == len(run.texts())
        return [len(run.texts(split)) for split in SPLITS]

    assert counts() == [8, 2, 2]
    assert counts(shares=(1, 1, 2)) == [3, 3, 6]
    assert counts(shares=(0.5, 0.25, 0.25)) == [6, 3, 3]


def test_near_duplicates_and_names_that_repeat(words: Path, tmp_path: Path) -> None:
    files = save_files(tmp_path / "files", number=6)
    (tmp_path / "copy").mkdir()
    shutil.copy(files[0], tmp_path / "copy")
    made = import_recording(
        [*files, tmp_path / "copy" / files[0].name], tmp_path / "run", tokenizer=words
    )
    assert [(each.id, each.kept_id) for each in made.dropped] == [("1", "0")]
    assert {text.id for text in made.run.texts()} == set("023456")


def test_a_file_may_say_what_its_text_is_for(words: Path, tmp_path: Path) -> None:
    parts = ["test", "fit", "select", "fit", "test"]
    files = []
    for place, part in enumerate(parts):
        files.append(tmp_path / f"{place}.npz")
        save_attention(files[-1], patterns(6, seed=place), ids(6, seed=place), part=part)
    run = import_recording(files, tmp_path / "run", tokenizer=words).run
    assert {text.id: text.split for text in run.texts()} == dict(zip("01234", parts, strict=True))
    assert run.model.name == "a model without a name"


# What is refused ---------------------------------------------------------------------------------


def test_nothing_is_written_where_something_is_wrong(words: Path, tmp_path: Path) -> None:
    files = save_files(tmp_path / "files")
    other = save_files(tmp_path / "other", layers=3)
    encoder = save_files(tmp_path / "encoder", causal=False)
    named = tmp_path / "named.npz"
    save_attention(named, patterns(6), ids(6), model="another")
    unknown = tmp_path / "unknown.npz"
    save_attention(unknown, patterns(6), [4, 5, 6, 7, 8, 64])
    negative = tmp_path / "negative.npz"
    save_attention(negative, patterns(6), [4, 5, 6, 7, 8, -1])
    strange = tmp_path / "strange.npz"
    save_attention(strange, patterns(6), tokens=["w4", "w5", "w6", "w7", "w8", "nine"])
    disagreeing = tmp_path / "disagreeing.npz"
    save_attention(disagreeing, patterns(6), ids(6), tokens=["w4"] * 6)
    scores = tmp_path / "scores.npz"
    save_attention(scores, patterns(6) - 0.5, ids(6))
    part = tmp_path / "part.npz"
    save_attention(part, patterns(6, seed=99), ids(6, seed=99), part="fit")
    cases: list[tuple[list[Path], dict[str, Any], str]] = [
        ([], {}, "no file was named"),
        (files[:2], {}, "2 texts are too few to split"),
        ([files[0]] * 5, {}, "All 5 texts are near-duplicates"),
        ([*files, other[0]], {}, "has 2 layers of 3 heads, and .* 3 of 3; they are not of one"),
        ([*files, encoder[0]], {}, "are they of one model"),
        (encoder, {"causal": True}, "to a later token in"),
        ([*files, named], {}, "of several models: 'another', 'toy'"),
        ([*files, unknown], {}, "has the token id 64, which the tokenizer does not"),
        ([*files, negative], {}, "has the token id -1, which the tokenizer does not"),
        ([*files, strange], {}, "Token 5 of .* is 'nine', and the tokenizer has no such token"),
        ([*files, disagreeing], {}, "is 'w4', and the tokenizer reads its id"),
        ([*files, scores], {}, "before the softmax"),
        ([*files, part], {}, "'part' is given for 1 of 6 texts"),
        (files, {"shares": (1, 1)}, "three numbers above 0"),
        (files, {"shares": (1, 0, 1)}, "three numbers above 0"),
        (files, {"shares": (1, float("nan"), 1)}, "three numbers above 0"),
        (files, {"tokenizer": tmp_path / "files"}, "There is no tokenizer at"),
        (files, {"tokenizer": files[0]}, "alone is no tokenizer"),
        (files, {"tokenizer": files[:2]}, "There is no tokenizer at"),
        (files, {"tokenizer": files[:3]}, "not 3 files"),
    ]
    for chosen, options, told in cases:
        with pytest.raises(HeadscriptError, match=told) as found:
            import_recording(chosen, tmp_path / "run", **({"tokenizer": words} | options))
        assert str(found.value).count("\n") == 0
        assert not (tmp_path / "run").exists()
    vocabulary = write_json(tmp_path / "vocab.json", {"a": "b"})
    (tmp_path / "merges.txt").write_text("not merges at all")
    with pytest.raises(HeadscriptError, match="make no tokenizer"):
        open_tokenizer([vocabulary, tmp_path / "merges.txt"])


def test_strings_that_several_tokens_share(words: Path) -> None:
    twins = tokenizer()
    twins.add_tokens(["\ufffd"])
    mapper = TokenMapper(twins)
    assert mapper(said(["w4", "\ufffd"], None)) == (4, twins.get_vocab()["\ufffd"])
    mapper.read._surfaces.update({5: "same", 6: "same"})
    with pytest.raises(HeadscriptError, match="2 tokens that read so; save token_ids"):
        mapper(said(["w4", "same"], None))


def test_a_folder_that_holds_something_else(words: Path, tmp_path: Path) -> None:
    files = save_files(tmp_path / "files")
    with pytest.raises(HeadscriptError, match="is not empty and holds no run"):
        import_recording(files, tmp_path, tokenizer=words)
    assert [text.id for text in read_texts(files[0])] == ["text0"]


def test_the_page_about_it_shows_code_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What transformers shows of its own eager attention is what is recorded here."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "importing.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    model = save_model(tmp_path / "model")
    file = save_texts(tmp_path / "texts.txt", number=6)
    monkeypatch.chdir(tmp_path)
    exec(code, {"name": str(model), "texts": file.read_text().split("\n\n")})
    files = sorted(tmp_path.glob("text*.npz"))
    run = record_run(str(model), file, tmp_path / "run")
    imported = import_recording(files, tmp_path / "imported", tokenizer=model).run
    assert {t.text: (t.split, t.token_ids) for t in imported.texts()} == {
        t.text: (t.split, t.token_ids) for t in run.texts()
    }
    for split in SPLITS:
        ours = Recording.open(run.recording_folder(split))
        theirs = Recording.open(imported.recording_folder(split))
        places = {text.text: number for number, text in enumerate(imported.texts(split))}
        for number, text in enumerate(run.texts(split)):
            for layer in ours.layers:
                (a,), (b,) = ours.layer(layer, [number]), theirs.layer(layer, [places[text.text]])
                assert torch.allclose(a, b, atol=2e-3)
