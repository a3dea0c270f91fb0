"""Files of attention in their forms, and hostile ones."""

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.attention_files.files import HEADS, LAYERS, ids, patterns, plain, write_json, write_npz

from headscript.attention_files import array_form, json_form, save_attention
from headscript.attention_files.importing import read_texts
from headscript.errors import HeadscriptError


@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
def test_what_is_saved_is_read(suffix: str, tmp_path: Path) -> None:
    file, attention = tmp_path / f"a{suffix}", patterns(7)
    said: dict[str, Any] = {"text": "w4 w5", "model": "toy", "part": "fit"}
    save_attention(file, attention, ids(7), tokens=[f"w{i}" for i in ids(7)], **said)
    (text,) = read_texts(file)
    assert (text.id, text.num_layers, text.num_heads, text.num_tokens) == ("a", LAYERS, HEADS, 7)
    assert text.token_ids == tuple(ids(7))
    assert text.tokens == tuple(f"w{i}" for i in ids(7))
    assert (text.text, text.model, text.part) == ("w4 w5", "toy", "fit")
    for _ in range(2):  # a second look at the file gives the same
        assert torch.equal(torch.stack(list(text.layers())), attention)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_other_precisions_are_read(suffix: str, dtype: torch.dtype, tmp_path: Path) -> None:
    attention = patterns(5).to(dtype)
    save_attention(tmp_path / f"a{suffix}", attention, ids(5))
    (text,) = read_texts(tmp_path / f"a{suffix}")
    assert torch.equal(torch.stack(list(text.layers())), attention.float())


def test_several_texts_in_a_file(tmp_path: Path) -> None:
    numbers = [*range(11)]
    arrays: dict[str, Any] = {}
    for n in numbers:
        arrays[f"attention.{n}"] = patterns(5 + n, seed=n).numpy()
        arrays[f"token_ids.{n}"] = np.array(ids(5 + n, seed=n))
    file = write_npz(tmp_path / "many.npz", **arrays, model=np.array("toy"))
    tensors = {
        name: torch.from_numpy(array).contiguous()
        for name, array in arrays.items()
        if name != "token_ids.3"
    }
    words = json.dumps([f"w{i}" for i in ids(8, seed=3)])
    save_file(tensors, tmp_path / "many.safetensors", {"model": "toy", "tokens.3": words})
    listed = [plain(5 + n, seed=n) for n in numbers]
    write_json(tmp_path / "many.json", {"model": "toy", "texts": listed})
    for name in ("many.npz", "many.safetensors", "many.json"):
        texts = read_texts(file.with_name(name))
        assert [text.id for text in texts] == [f"many.{n}" for n in numbers]
        assert [text.num_tokens for text in texts] == [5 + n for n in numbers]
        assert {text.model for text in texts} == {"toy"}
        assert torch.allclose(next(texts[10].layers()), patterns(15, seed=10)[0])
    assert texts[0].tokens is None
    assert read_texts(file.with_name("many.safetensors"))[3].tokens == tuple(json.loads(words))


@pytest.mark.parametrize("name", ["{}.{}", "L{}H{}", "l{:02}h{:02}"])
def test_patterns_by_the_names_of_heads(name: str, tmp_path: Path) -> None:
    attention = patterns(4)
    by_head = {
        name.format(layer, head): {"data": attention[layer, head].tolist()}
        for head in reversed(range(HEADS))
        for layer in range(LAYERS)
    }
    found = {
        "prompt": "w4 w5",
        "tokenIds": ids(4),
        "attention_softmax_by_layer_head": by_head,
    }
    (text,) = read_texts(write_json(tmp_path / "ex0.json", found))
    assert torch.equal(torch.stack(list(text.layers())), attention)
    assert text.text == "w4 w5"
    plain_form = {key: pattern["data"] for key, pattern in by_head.items()}
    again = write_json(tmp_path / "a.json", {"token_ids": ids(4), "attention": plain_form})
    assert torch.equal(torch.stack(list(read_texts(again)[0].layers())), attention)


def spoiled(**changes: Any) -> Callable[[], Any]:
    """The plain form with other values; None takes a key out."""
    return lambda: {k: v for k, v in (plain() | changes).items() if v is not None}


def by_head(*names: str) -> Callable[[], Any]:
    return spoiled(attention=dict.fromkeys(names, patterns(5)[0, 0].tolist()))


WRONG_JSON: dict[str, tuple[Callable[[], Any], str]] = {
    "no JSON": (lambda: "{attention: 1}", "no JSON that can be read"),
    "nested without end": (lambda: "[" * 200_000, "no JSON that can be read"),
    "a number too long to read": (
        lambda: '{"attention": ' + "9" * 5000 + "}",
        "no JSON that can be read",
    ),
    "no object": (lambda: [1, 2], "no JSON object"),
    "no attention": (spoiled(attention=None), "has no 'attention'"),
    "no tokens": (spoiled(token_ids=None), "says of no token what it is"),
    "too many tokens": (spoiled(token_ids=ids(6)), "6 token_ids, but its attention is over 5"),
    "tokens that are no strings": (spoiled(tokens=[1] * 5), "must be a list of strings"),
    "ids that are no numbers": (spoiled(token_ids=[True] * 5), "must be a list of whole numbers"),
    "a text that is none": (spoiled(text=3), "'text' in .* must be a string"),
    "half a surrogate": (spoiled(text="\ud800"), "half of a surrogate pair"),
    "one head": (spoiled(attention=patterns(5)[0, 0].tolist()), "has the shape 5x5"),
    "a batch": (spoiled(attention=[patterns(5).tolist()]), "take one text out of the batch"),
    "not square": (spoiled(attention=patterns(5)[..., :4].tolist()), "has the shape 2x3x5x4"),
    "one token": (
        spoiled(attention=[[[[1.0]]]], token_ids=[4]),
        "no head in it that could choose between two tokens",
    ),
    "uneven": (spoiled(attention=[[[[1.0], [0.5, 0.5]]]]), "must be nested lists of numbers"),
    "strings for numbers": (spoiled(attention=[[[["1", "0"]] * 2]]), "nested lists of numbers"),
    "a number beyond all": (spoiled(attention=[[[[10**400, 0]] * 2]]), "nested lists of numbers"),
    "a head without a name": (by_head("first"), "no name of a head"),
    "a head far away": (by_head("0.0", "L99999H99999"), "2 of 100000 x 100000"),
    "a head missing": (by_head("0.0", "0.1", "1.0"), "3 of 2 x 2"),
    "an empty list of texts": (lambda: {"texts": []}, "with a text at least"),
    "a text that is no object": (lambda: {"texts": [7]}, "Text 0 of .* is no JSON object"),
}


@pytest.mark.parametrize("case", WRONG_JSON)
def test_wrong_json_is_one_sentence(case: str, tmp_path: Path) -> None:
    made, told = WRONG_JSON[case]
    with pytest.raises(HeadscriptError, match=told):
        read_texts(write_json(tmp_path / "a.json", made()))


def test_json_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_json(tmp_path / "a.json", plain())
    monkeypatch.setattr(json_form, "MAX_BYTES", file.stat().st_size)
    assert len(read_texts(file)) == 1
    monkeypatch.setattr(json_form, "MAX_BYTES", file.stat().st_size - 1)
    with pytest.raises(HeadscriptError, match=r"save it as \.npz or \.safetensors"):
        read_texts(file)


def npz_of(header: bytes, body: bytes = b"") -> bytes:
    """An archive whose array of attention has a header of one's own."""
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("attention.npy", magic + header + body)
    return stream.getvalue()


def header_of(shape: str, descr: str = "'<f4'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def test_archives_that_lie_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    cases = {
        "more than there is": npz_of(header_of("(1000, 1000, 100000, 100000)"), b"0" * 64),
        "less than there is": npz_of(header_of("(1, 1, 2, 2)"), b"0" * 640),
        "a negative number": npz_of(header_of("(-1, 1, 2, 2)"), b"0" * 16),
        "code": npz_of(header_of("__import__('os').getcwd()")),
        "an endless shape": npz_of(header_of("(" * 500)),
        "no array": npz_of(b""),
        "no archive": b"PK\x03\x04 and no more",
        "text": b"attention",
    }
    for name, content in cases.items():
        file = tmp_path / f"{name}.npz"
        file.write_bytes(content)
        with pytest.raises(HeadscriptError, match="damaged, or not what its name says"):
            read_texts(file)


def test_objects_in_an_archive_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    trap = np.array([Trap()], dtype=object)
    attention = patterns(5).numpy()
    for arrays in (
        {"attention": trap, "token_ids": np.array([4])},
        {"attention": attention, "token_ids": trap},
        {"attention": attention, "tokens": trap},
        {"attention": attention, "token_ids": np.array(ids(5)), "text": trap},
    ):
        file = write_npz(tmp_path / "a.npz", **arrays)
        with pytest.raises(HeadscriptError, match="holds Python objects"):
            read_texts(file)
    assert not (tmp_path / "sprung").exists()


def test_arrays_that_do_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attention, tokens = patterns(5).numpy(), np.array(ids(5))
    cases: list[tuple[str, dict[str, Any]]] = [
        (
            "must be of floating-point",
            {"attention": np.ones((1, 1, 2, 2), int), "token_ids": tokens},
        ),
        ("Fortran's order", {"attention": np.asfortranarray(attention), "token_ids": tokens}),
        ("has no array 'attention'", {"patterns": attention, "token_ids": tokens}),
        ("name them attention.0", {"attention": attention, "attention.0": attention}),
        ("must hold strings or whole numbers", {"attention": attention, "token_ids": tokens / 2}),
        ("must be a list of strings", {"attention": attention, "tokens": tokens}),
        ("must be a list of whole numbers", {"attention": attention, "token_ids": tokens[None]}),
        ("has the shape 3x5x5", {"attention": attention[0], "token_ids": tokens}),
    ]
    for told, arrays in cases:
        with pytest.raises(HeadscriptError, match=told):
            read_texts(write_npz(tmp_path / "a.npz", **arrays))
    monkeypatch.setattr(array_form, "MAX_SMALL_BYTES", 16)
    file = write_npz(tmp_path / "a.npz", attention=attention, token_ids=tokens)
    with pytest.raises(HeadscriptError, match=r"'token_ids' .* is too large"):
        read_texts(file)


def test_safetensors_that_do_not_do(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    attention, tokens = patterns(5), torch.tensor(ids(5))
    cases: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("must be of floating-point", {"attention": torch.ones(1, 1, 2, 2, dtype=torch.int8)}, {}),
        ("has no array 'attention'", {"patterns": attention}, {}),
        ("'token_ids' .* must be a list", {"attention": attention, "token_ids": tokens / 2}, {}),
        ("must be a list of strings as JSON", {"attention": attention}, {"tokens": "w4 w5"}),
        ("must be a list of strings as JSON", {"attention": attention}, {"tokens": "[" * 99_999}),
        ("must be a list of strings", {"attention": attention}, {"tokens": "[1, 2]"}),
        ("says of no token what it is", {"attention": attention}, {}),
    ]
    for told, tensors, metadata in cases:
        save_file(tensors, file, metadata)
        with pytest.raises(HeadscriptError, match=told):
            read_texts(file)
    save_attention(file, attention, ids(5))
    content = file.read_bytes()
    for broken in (content[: len(content) // 2], b"\xff" * 64, b""):
        file.write_bytes(broken)
        with pytest.raises(HeadscriptError, match="damaged, or not what its name says"):
            read_texts(file)


def test_a_file_that_breaks_between_two_looks(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    save_attention(file, patterns(40), ids(40))
    (text,) = read_texts(file)
    content = bytearray(file.read_bytes())
    content[200:400] = bytes(200)
    file.write_bytes(content)
    with pytest.raises(HeadscriptError, match="damaged"):
        list(text.layers())


def test_names_that_are_not_read(tmp_path: Path) -> None:
    for name in ("a.pt", "a.PTH", "pytorch_model.bin", "a.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
        with pytest.raises(HeadscriptError, match=r"save the tensors as \.safetensors or \.npz"):
            read_texts(tmp_path / name)
    (tmp_path / "a.npy").touch()
    for place, told in ((tmp_path / "a.npy", "must end in .json, .npz"), (tmp_path, "is a folder")):
        with pytest.raises(HeadscriptError, match=told):
            read_texts(place)
    with pytest.raises(HeadscriptError, match="There is no file"):
        read_texts(tmp_path / "none.npz")
    with pytest.raises(HeadscriptError, match=r"must end in \.npz"):
        save_attention(tmp_path / "a.pt", patterns(5), ids(5))
