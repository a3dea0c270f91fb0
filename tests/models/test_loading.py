import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.models.networks import network_of, tokenizer

from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.models import Model, load_model
from headscript.models.weights import file_hash


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small Llama as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("saved")
    network_of("llama-2-groups").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def own(saved, tmp_path):
    """A copy of it to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "own"))


def test_a_folder_is_loaded(saved):
    events: list[Event] = []
    model = load_model(saved, on_event=events.append)
    assert model.heads_per_layer == (4, 4, 4)
    assert model.causal
    assert model.max_tokens == 64
    assert model.name == str(saved)
    assert not model.network.training
    assert model.network.dtype == torch.float32
    assert model.network.config._attn_implementation == "sdpa"
    assert model.weights_hash == file_hash(saved / "config.json", saved / "model.safetensors")
    assert {event.stage for event in events} == {"loading"}


def test_loading_prints_nothing(saved, capfd):
    load_model(saved)
    printed = capfd.readouterr()
    assert not printed.out
    assert not printed.err


def test_another_dtype_has_the_same_hash(saved):
    half = load_model(saved, dtype=torch.bfloat16)
    assert half.network.dtype == torch.bfloat16
    assert half.weights_hash == load_model(saved).weights_hash


def test_the_hash_of_a_network_at_hand_follows_its_weights():
    hashes = {
        Model.of(network_of("gpt2", seed=seed), tokenizer()).weights_hash for seed in (0, 0, 1)
    }
    assert len(hashes) == 2


def test_encode_cuts_and_refuses_what_is_too_long(saved):
    model = load_model(saved)
    text = " ".join(["w5"] * 70)
    assert model.encode("w5 w6 nonsense") == [5, 6, 3]
    assert model.encode(text, 64) == [5] * 64
    assert model.encode("", None) == []
    with pytest.raises(HeadscriptError, match="70 tokens is longer than the 64"):
        model.encode(text)
    for cut in (65, 0):
        with pytest.raises(HeadscriptError, match=f"cut to {cut} tokens"):
            model.encode(text, cut)


def refuse(name, *parts):
    with pytest.raises(HeadscriptError) as refused:
        load_model(name)
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message
    return message


def test_unknown_names_are_refused_with_what_works(tmp_path):
    refuse("smollm2-135", "did you mean smollm2-135m?")
    refuse("SmolLM2", "did you mean smollm2-135m?")
    refuse("nobody/no-such-model", "built-in model", ".gguf")
    refuse(tmp_path / "nowhere", "no model at")
    refuse("./nowhere", "no model at")
    refuse("nowhere.gguf", "no model at")


def test_folders_that_hold_no_model_are_refused(own, tmp_path):
    refuse(tmp_path, "holds no model", "config.json")
    (own / "model.safetensors").unlink()
    refuse(own, "holds no model", "no weights")
    (own / "model.gguf").write_bytes(b"GGUF")
    refuse(own, "name the .gguf file itself")
    text = tmp_path / "text.txt"
    text.write_text("Once.")
    refuse(text, "neither a model folder nor a .gguf file")


def test_truncated_weights_are_refused(own):
    weights = own / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refuse(own, "weights", "damaged")


def test_missing_weights_are_refused(own):
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    refuse(own, "incomplete", "model.layers.3")


def test_weights_of_another_size_are_refused(own):
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    refuse(own, "weights")


def test_broken_configurations_are_refused(own):
    (own / "config.json").write_text("{")
    refuse(own, "configuration")
    (own / "config.json").write_text(json.dumps({"model_type": "of-tomorrow"}))
    refuse(own, "configuration", "of-tomorrow")
    (own / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    refuse(own, "encoder-decoder")


def test_a_folder_without_tokenizer_is_refused(own):
    for file in own.glob("tokenizer*"):
        file.unlink()
    refuse(own, "tokenizer")


def test_a_device_that_is_not_there_is_refused(saved):
    with pytest.raises(HeadscriptError, match="device"):
        load_model(saved, device="cuda:99")
    with pytest.raises(HeadscriptError, match="device"):
        load_model(saved, device="toaster")


def test_broken_gguf_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSCRIPT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not it")
    refuse(file, "not a GGUF file")
    file.write_bytes(b"GGUF" + bytes(100))
    refuse(file, "cannot be read as a GGUF model")
    assert not [path for path in (tmp_path / "cache" / "models").iterdir() if path.is_dir()]


def test_a_checkpoint_without_a_head_is_loaded_without_one(tmp_path):
    network_of("bert").base_model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert type(model.network).__name__ == "BertModel"
    assert not model.causal


def test_a_real_small_model_is_loaded(shared):
    model = load_model(shared / "models" / "stories260k")
    assert model.heads_per_layer == (8,) * 5
    assert model.causal
    assert model.max_tokens == 512
