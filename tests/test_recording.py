import json
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.models.networks import FAMILIES, VOCABULARY, network_of, some_ids, tokenizer
from tests.mounts import mounted
from tests.small_run import HEADS, save_model, save_texts
from transformers import LlamaConfig, LlamaForCausalLM

from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.explaining import explain
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.packing import CODE_ERROR, check_rows, decode, pack, unpack
from headscript.recording import Recording, begin, estimate, making, planning, record, record_shard
from headscript.runs import Run
from headscript.similarity import iou

LENGTHS = (7, 1, 12, 5, 12, 30)


def wrapped(family: str = "llama-2-groups") -> Model:
    return Model.of(network_of(family), tokenizer(), name=family)


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def texts():
    return [some_ids(n, seed=n) for n in LENGTHS]


def alone(model: Model, ids: list[int]) -> dict[int, torch.Tensor]:
    """The eager patterns of one text by itself, without a batch or padding."""
    network = model.network
    network.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = network(torch.tensor([ids]), output_attentions=True).attentions
    network.set_attn_implementation("sdpa" if network._supports_sdpa else "eager")
    layers = [layer for layer, n in enumerate(model.heads_per_layer) if n]
    attentions = [a for a in attentions if a is not None]
    return {layer: a[0] for layer, a in zip(layers, attentions, strict=True)}


@pytest.mark.parametrize("kept_as", ["float16", "uint8"])
def test_some_heads_of_a_recording_are_those_of_the_whole(model, texts, tmp_path, kept_as):
    whole = record(model, texts, tmp_path, dtype=kept_as)
    chosen = [Head(1, 3), Head(1, 0), Head(2, 2)]
    some = whole.only(chosen)
    assert some.heads == sorted(chosen)
    assert some.layers == [1, 2]
    assert some.heads_of(1) == [Head(1, 0), Head(1, 3)]
    for number in (0, 3, 5):
        assert torch.equal(some.layer(1, [number])[0], whole.layer(1, [number])[0][[0, 3]])
        for head in chosen:
            assert torch.equal(some.pattern(head, number), whole.pattern(head, number))
    assert len(some.layer(2)) == len(texts)
    with pytest.raises(HeadscriptError, match="L01H01 is not in the recording"):
        some.pattern(Head(1, 1), 0)
    with pytest.raises(HeadscriptError, match="L01H01 is not in the recording"):
        some.only([Head(1, 1)])
    with pytest.raises(HeadscriptError, match="Layer 0 is not"):
        some.layer(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_recorded_is_the_attention_of_each_text_alone(family, texts, tmp_path):
    model = wrapped(family)
    made = record(model, texts, tmp_path, dtype="float32")
    assert made.heads == model.heads
    assert made.token_counts == list(LENGTHS)
    assert made.causal is model.causal
    for text, ids in enumerate(texts):
        for layer, expected in alone(model, ids).items():
            packed = made.layer(layer, [text])[0]
            assert packed.dtype == torch.float32
            n = len(ids)
            assert packed.shape == (4, n * (n + 1) // 2 if model.causal else n * n)
            for head in range(4):
                pattern = made.pattern(Head(layer, head), text)
                torch.testing.assert_close(pattern, expected[head], atol=1e-5, rtol=0)
                torch.testing.assert_close(pattern.sum(-1), torch.ones(n))


def test_packing_goes_row_after_row_and_back():
    whole = torch.rand(1, 2, 5, 5).tril()
    (packed,) = pack(whole, [4], True, torch.float32)
    pattern = whole[0, :, :4, :4]
    assert packed[0].tolist() == [float(pattern[0, i, j]) for i in range(4) for j in range(i + 1)]
    assert torch.equal(unpack(packed, 4, True), pattern)
    full = torch.rand(1, 2, 5, 5)
    (packed,) = pack(full, [3], False, torch.float32)
    assert torch.equal(unpack(packed, 3, False), full[0, :, :3, :3])


def test_float16_is_close_and_half_the_size(model, texts, tmp_path):
    exact = record(model, texts, tmp_path / "exact", dtype="float32")
    small = record(model, texts, tmp_path / "small")
    for a, b in zip(exact.layer(1), small.layer(1), strict=True):
        torch.testing.assert_close(a, b, atol=5e-4, rtol=0)
    assert on_disk(tmp_path / "small") < 0.8 * on_disk(tmp_path / "exact")  # headers weigh much


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("causal", [True, False])
def test_codes_of_one_byte_are_as_near_as_is_said(causal):
    n, draw = 40, torch.Generator().manual_seed(0)
    allowed = torch.ones(n, n, dtype=torch.bool)
    scores = torch.stack(
        [
            *(torch.randn(n, n, generator=draw) * sharp for sharp in (0.0, 0.1, 1, 3, 10, 50)),
            torch.arange(n).float().expand(n, n) / 3,  # a geometric series
            torch.eye(n) * 1000,
        ]
    )
    if causal:
        allowed = allowed.tril()
    exact = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    (codes,) = pack(exact[None], [n], causal, torch.uint8)
    kept = unpack(decode(codes, n, causal), n, causal)
    check_rows(kept[None], torch.ones(1, n), [Head(0, head) for head in range(len(exact))], [0])
    torch.testing.assert_close(kept.sum(-1), torch.ones(len(exact), n), atol=1e-6, rtol=0)
    assert (kept[exact == 0] == 0).all()
    spread = ((1 + torch.arange(n) if causal else n) * exact.amax(-1)) ** 0.25  # (n m)^(1/4)
    far = (kept - exact).abs().sum(-1) / spread
    assert far.max() <= CODE_ERROR
    assert far.max() > CODE_ERROR / 10  # the bound says something
    assert torch.equal(kept[-1], exact[-1])


@pytest.mark.parametrize(
    ("dtype", "error"), [("uint8", 0.006), ("float16", 2e-4), ("float32", 0.0)]
)
def test_what_is_read_back_is_as_near_as_is_said_on_a_real_model(shared, tmp_path, dtype, error):
    """The errors of docs/performance.md, 1 - IoU of a head on a text."""
    model, texts = real(shared)
    exact = record(model, texts, tmp_path / "exact", dtype="float32")
    kept = record(model, texts, tmp_path / "kept", dtype=dtype)
    for layer in exact.layers:
        for a, b in zip(exact.layer(layer), kept.layer(layer), strict=True):
            assert b.dtype == torch.float32
            assert (1 - iou(a, b)).max() <= error + 1e-6


def real(shared: Path, number: int = 24) -> tuple[Model, list[list[int]]]:
    model = load_model(shared / "models" / "stories260k")
    lines = (shared / "data" / "text" / "tinystories_excerpts.jsonl").read_text().splitlines()
    return model, [model.encode(json.loads(line)["text"], 128) for line in lines[:number]]


def test_chosen_heads_alone_are_recorded(model, texts, tmp_path):
    chosen = [Head(2, 3), Head(0, 1), Head(2, 0)]
    everything = record(model, texts, tmp_path / "all")
    made = record(model, texts, tmp_path / "some", heads=chosen)
    assert made.heads == sorted(chosen)
    assert made.layers == [0, 2]
    assert made.heads_of(2) == [Head(2, 0), Head(2, 3)]
    for head in chosen:
        assert torch.equal(made.pattern(head, 2), everything.pattern(head, 2))
    with pytest.raises(HeadscriptError, match="Layer 1 is not in"):
        made.layer(1)
    with pytest.raises(HeadscriptError, match="L02H01 is not in"):
        made.pattern(Head(2, 1), 0)
    with pytest.raises(HeadscriptError, match="Text 6 is not in"):
        made.layer(2, [6])


def test_texts_come_in_the_order_asked_for(model, texts, tmp_path):
    made = record(model, texts, tmp_path)
    lengths = [packed.shape[1] for packed in made.layer(0, [5, 1, 5, 0])]
    assert lengths == [n * (n + 1) // 2 for n in (30, 1, 30, 7)]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_the_estimate_is_what_it_takes(shared, tmp_path, dtype):
    model, texts = real(shared, 60)
    few = [Head(1, 2), Head(3, 0), Head(3, 1)]
    for name, ids, heads in [
        ("whole", texts, None),
        ("short", [ids[:6] for ids in texts], None),
        ("few", [ids[:12] for ids in texts], few),
    ]:
        cost = estimate(model, [len(each) for each in ids], heads, dtype=dtype)
        record(model, ids, tmp_path / name, heads=heads, dtype=dtype)
        files = (tmp_path / name).rglob("*.safetensors")
        assert cost.bytes == sum(file.stat().st_size for file in files)
        assert cost.bytes == pytest.approx(on_disk(tmp_path / name), rel=0.1)
        assert cost.texts == 60
        assert cost.tokens == sum(map(len, ids))
        assert cost.patterns == 60 * len(heads or model.heads)


def test_the_estimate_in_words(model):
    cost = estimate(model, LENGTHS)
    assert str(cost) == "72 patterns of 12 heads on 6 texts (67 tokens): 17 kB on disk as float16"
    assert str(estimate(model, LENGTHS, dtype="uint8")).endswith("9 kB on disk as 8-bit codes")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_batches_and_shards_do_not_change_a_text(model, texts, tmp_path, monkeypatch):
    one = record(model, texts, tmp_path / "one", dtype="float32")
    monkeypatch.setattr(planning, "_SHARD_BYTES", 3000)
    many = record(model, texts, tmp_path / "many", dtype="float32", batch_tokens=12)
    assert len(one.manifest["shards"]) == 1
    assert len(many.manifest["shards"]) > 3
    assert sorted(text for shard in many.manifest["shards"] for text in shard) == list(range(6))
    for a, b in zip(one.layer(2), many.layer(2), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_a_recording_that_is_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from headscript.recording import planning, record
        from tests.test_recording import many_texts, wrapped

        def on_event(event):
            if event.done >= 7:
                os.kill(os.getpid(), signal.SIGKILL)

        planning._SHARD_BYTES = 3000
        record(wrapped(), many_texts(), Path(sys.argv[1]), on_event=on_event)
    """)
    monkeypatch.setattr(planning, "_SHARD_BYTES", 3000)
    record(wrapped(), many_texts(), tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    died = subprocess.run([sys.executable, "-c", script, str(killed)], capture_output=True)
    assert died.returncode == -9, died.stderr.decode()
    with pytest.raises(HeadscriptError, match="not finished"):
        Recording.open(killed)
    finished = {shard.name: shard.stat().st_ino for shard in killed.glob("shard-*")}
    assert finished
    (killed / ".shard-00003.part").mkdir(exist_ok=True)
    (killed / ".shard-00003.part" / "layer-000.safetensors").write_bytes(b"half")

    record(wrapped(), many_texts(), killed)
    assert contents(killed) == contents(tmp_path / "undisturbed")
    for name, inode in finished.items():
        assert (killed / name).stat().st_ino == inode


def many_texts() -> list[list[int]]:
    return [some_ids(5 + n % 9, seed=n) for n in range(20)]


def test_a_finished_recording_is_not_done_again(model, texts, tmp_path):
    record(model, texts, tmp_path)
    before = contents(tmp_path)
    with model.network.base_model.register_forward_pre_hook(lambda *_: pytest.fail("ran again")):
        record(model, texts, tmp_path)
    assert contents(tmp_path) == before


def test_a_recording_whose_texts_were_shared_out_otherwise_goes_on(tmp_path, monkeypatch):
    """As one that was begun by a version that made larger or smaller shards."""
    texts = many_texts()
    with monkeypatch.context() as other:
        other.setattr(planning, "_SHARD_TEXTS", 8)
        begun = begin(wrapped(), texts, tmp_path)
        record_shard(wrapped(), texts, tmp_path, 1)
    before = contents(tmp_path)
    assert begin(wrapped(), texts, tmp_path).missing() == [0, 2]
    made = record(wrapped(), texts, tmp_path)
    assert made.manifest == begun.manifest
    assert before.items() <= contents(tmp_path).items()


def test_a_shard_is_made_by_whoever_is_first(model, texts, tmp_path):
    begin(model, texts, tmp_path)
    record_shard(model, texts, tmp_path, 0)
    before = {name: (tmp_path / name).stat().st_ino for name in contents(tmp_path)}
    record_shard(model, texts, tmp_path, 0)
    assert {name: (tmp_path / name).stat().st_ino for name in contents(tmp_path)} == before
    assert not list(tmp_path.rglob("*.part"))


def test_files_are_safetensors(model, texts, tmp_path):
    record(model, texts, tmp_path, dtype="uint8")
    for file in tmp_path.rglob("*.safetensors"):
        tensors = load_file(file)
        assert sorted(tensors) == [str(number) for number in range(len(texts))]
        assert tensors["2"].shape == (4, 12 * 13 // 2)
        assert tensors["2"].dtype == torch.uint8


def deep(num_layers: int) -> Model:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    return Model.of(LlamaForCausalLM(config).eval(), tokenizer(), name="deep")


@pytest.mark.parametrize("number", [8, 40])
@pytest.mark.parametrize("num_layers", [2, 12])
def test_no_more_is_held_than_one_layer_of_one_batch(number, num_layers, tmp_path, monkeypatch):
    live, most = 0, 0

    def let_go(size: int) -> None:
        nonlocal live
        live -= size

    def tracked(*arguments: Any) -> list[torch.Tensor]:
        nonlocal live, most
        packed = pack(*arguments)
        for cells in packed:
            live += cells.nbytes
            weakref.finalize(cells, let_go, cells.nbytes)
        most = max(most, live)
        return packed

    monkeypatch.setattr(making, "pack", tracked)
    texts = [some_ids(20, seed=seed) for seed in range(number)]
    record(deep(num_layers), texts, tmp_path, batch_tokens=80)
    assert most == 4 * 4 * (20 * 21 // 2) * 2  # texts of a batch, heads, cells, bytes


def test_nothing_is_run_beyond_the_last_recorded_layer(model, texts, tmp_path):
    layers = model.network.model.layers
    runs = [0] * 3
    hooks = [
        layer.register_forward_pre_hook(lambda *_, n=n: runs.__setitem__(n, runs[n] + 1))
        for n, layer in enumerate(layers)
    ]
    record(model, texts, tmp_path / "first", heads=[Head(0, 1)])
    record(model, texts, tmp_path / "two", heads=[Head(0, 1), Head(1, 2)])
    for hook in hooks:
        hook.remove()
    assert runs == [2, 1, 0]
    assert model.network.config._attn_implementation == "sdpa"
    assert not model.network._forward_pre_hooks
    assert not model.network.base_model._forward_pre_hooks


def test_another_recording_is_not_overwritten(model, texts, tmp_path):
    record(model, texts, tmp_path)
    before = contents(tmp_path)
    for change, named in [
        ({"texts": texts[::-1]}, "ids_hash"),
        ({"heads": [Head(0, 0)]}, "heads"),
        ({"dtype": "float32"}, "dtype"),
        ({"model": wrapped("gpt2")}, "weights_hash"),
    ]:
        arguments = {"model": model, "texts": texts, "directory": tmp_path} | change
        with pytest.raises(HeadscriptError, match=f"another recording .*{named}"):
            record(**arguments)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, "no text was given"),
        ({"texts": [[5], []]}, "Text 1 is empty"),
        ({"texts": [[5] * 65]}, "Text 0 has 65 tokens, more than the 64"),
        ({"texts": [[5]], "heads": [Head(3, 0)]}, "no head L03H00"),
        ({"texts": [[5]], "heads": []}, "no head was chosen"),
    ],
)
def test_what_cannot_be_recorded_is_refused(model, tmp_path, arguments, message):
    with pytest.raises(HeadscriptError, match=message):
        record(model, directory=tmp_path / "made", **arguments)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("family", ["llama-2-groups", "bert", "gemma2"])
def test_attention_that_is_not_finite_is_named(family, value, tmp_path):
    model = wrapped(family)
    with torch.no_grad():  # one token's embedding: only the text that holds it is struck
        network: Any = model.network
        network.get_input_embeddings().weight[50] = value
    texts = [[5, 6, 7], [8, 50, 9, 10], [11, 12]]
    with pytest.raises(HeadscriptError, match=r"L00H00 on text 1 .*NaN, infinity"):
        record(model, texts, tmp_path)
    assert not list(tmp_path.glob("shard-*"))


def test_rows_that_do_not_sum_to_one_are_named(model, tmp_path, monkeypatch):
    from headscript.models import attention

    true = attention.attention_weights

    def leaking(module, *arguments, **options):
        weights = true(module, *arguments, **options)
        if module.layer_idx == 1:
            weights[:, 2, -1] *= 0.99
        return weights

    monkeypatch.setattr(attention, "attention_weights", leaking)
    with pytest.raises(HeadscriptError, match=r"L01H02 on text 0 .*sum to 1"):
        record(model, [[5, 6, 7]], tmp_path)


def test_a_full_disk_is_one_sentence_and_loses_nothing(model, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_SHARD_BYTES", 3000)
    with mounted(tmp_path / "disk", "size=64k") as disk:
        usage = shutil.disk_usage(disk)
        other = disk / "other"  # what somebody else writes meanwhile
        with monkeypatch.context() as blind:
            blind.setattr(shutil, "disk_usage", lambda _: usage)
            other.write_bytes(b" " * 36_000)
            with pytest.raises(HeadscriptError, match="disk is full"):
                record(model, texts, disk / "made")
        assert not list((disk / "made").glob(".*"))
        other.unlink()
        begun = begin(model, texts, disk / "made")
        assert 0 < len(begun.missing()) < len(begun.shards)
        assert record(model, texts, disk / "made").token_counts == list(LENGTHS)


def test_too_little_room_is_said_before_the_work(model, texts, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(HeadscriptError, match=r"needs 17 kB, but only 1 kB are free"):
        record(model, texts, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(model, texts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadscriptError, match="cannot be written: "):
        record(model, texts, tmp_path / "file" / "made")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_named(model, texts, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(HeadscriptError, match="no permission to"):
        record(model, texts, tmp_path / "made")


def test_damaged_recordings_are_named(model, texts, tmp_path):
    with pytest.raises(HeadscriptError, match="holds no recording"):
        Recording.open(tmp_path)
    made = record(model, texts, tmp_path)
    file = tmp_path / "shard-00000" / "layer-001.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(HeadscriptError, match="damaged"):
        made.layer(1)
    manifest = tmp_path / "recording.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))
    with pytest.raises(HeadscriptError, match="another version"):
        Recording.open(tmp_path)
    manifest.write_text("{")
    with pytest.raises(HeadscriptError, match="cannot be read"):
        Recording.open(tmp_path)


def test_events_count_the_texts(model, texts, tmp_path):
    events: list[Event] = []
    record(model, texts, tmp_path, batch_tokens=12, on_event=events.append)
    assert {event.stage for event in events} == {"recording"}
    assert events[-1].done == events[-1].total == 6
    assert [event.done for event in events] == sorted(event.done for event in events)


def test_a_real_model_on_real_texts(shared, tmp_path):
    model, texts = real(shared)
    made = record(model, texts, tmp_path)
    assert len(made.heads) == 40
    for text in (0, 11, 23):
        for layer, expected in alone(model, texts[text]).items():
            for head in (0, 7):
                pattern = made.pattern(Head(layer, head), text)
                torch.testing.assert_close(pattern, expected[head], atol=5e-4, rtol=0)


def test_a_run_keeps_weights_in_as_many_bits_as_are_asked_for(tmp_path):
    model, texts = str(save_model(tmp_path / "model")), save_texts(tmp_path / "texts.txt")
    with pytest.raises(HeadscriptError, match="takes 8 or 16 bits, not 12"):
        explain(model, texts, tmp_path / "run", recording_bits=12)
    assert not (tmp_path / "run").exists()

    settings: dict[str, Any] = {"heads": "L0H1", "max_terms": 2, "workers": 1}
    run = explain(model, texts, tmp_path / "run", recording_bits=8, **settings)
    for split in ("fit", "select", "test"):
        recorded = Recording.open(run.recording_folder(split))
        assert recorded.manifest["dtype"] == "uint8"
        rows = recorded.pattern(Head(0, 1), 0).sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))
    with pytest.raises(HeadscriptError, match="recording_bits was 8 and is now 16"):
        explain(model, texts, tmp_path / "run", **settings)


def test_a_run_from_before_there_was_a_choice_of_bits_goes_on(small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    assert record["config"].pop("recording_bits") == 16
    (folder / "run.json").write_text(json.dumps(record))
    config = Run.open(folder).config
    assert config.recording_bits == 16
    shutil.rmtree(folder / "recording" / "select" / "shard-00000")
    (folder / "results.json").unlink()
    explain(config.model, config.texts, folder, heads=HEADS, max_terms=3, workers=1)
    for file in ("results.json", "heads.parquet"):
        assert (folder / file).is_file()
    assert contents(folder / "recording") == contents(small_run / "recording")
