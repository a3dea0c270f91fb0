"""A finished run on a small random network, in words "w4" to "w63"."""

from pathlib import Path
from random import Random

from tests.models.networks import network_of, tokenizer

from headscript.explaining import explain
from headscript.runs import Run

HEADS = "L0H1,L1"


def save_model(folder: Path, *, seed: int = 0) -> Path:
    """A Llama of 3 layers with 4 heads each, as a Hugging Face folder."""
    network_of("llama-2-groups", seed=seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_texts(file: Path, *, number: int = 10, seed: int = 0) -> Path:
    """Texts of 12 random words, a text a paragraph."""
    draw = Random(seed)
    texts = (" ".join(f"w{draw.randint(4, 63)}" for _ in range(12)) for _ in range(number))
    file.write_text("\n\n".join(texts))
    return file


def make_run(folder: Path) -> Run:
    """Explain a few heads of the model, with few terms."""
    model = save_model(folder / "model")
    texts = save_texts(folder / "texts.txt")
    return explain(str(model), texts, folder / "run", heads=HEADS, max_terms=3, workers=1)
