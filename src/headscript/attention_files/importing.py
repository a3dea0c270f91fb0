"""Foreign files of attention as a run: `headscript record --import`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headscript.attention_files.array_form import read_npz, read_safetensors
from headscript.attention_files.checking import check_text, distributions, is_causal
from headscript.attention_files.json_form import read_json
from headscript.attention_files.shards import PatternsOf, write_recording
from headscript.attention_files.text import AttentionText
from headscript.attention_files.tokens import TokenMapper, open_tokenizer
from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.models.weights import file_hash
from headscript.records import IMPORTED, SPLITS, ModelFacts, RunConfig, RunText
from headscript.runs import Run
from headscript.texts.corpora import Document
from headscript.texts.repeats import as_read
from headscript.texts.splits import Dropped, split_documents

SHARES = (3.0, 1.0, 1.0)
"""How texts are shared out among fit, select and test."""

_SHARES_MEANT = "Shares are three numbers above 0, for fit, select and test, such as 3/1/1."
_NO_NAME = "a model without a name"
_LONGEST_NAME = 100
_READERS = {".json": read_json, ".npz": read_npz, ".safetensors": read_safetensors}
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")


@dataclass(frozen=True)
class Imported:
    """A run that was made of foreign files."""

    run: Run
    dropped: list[Dropped]
    """Texts that were left out because they nearly repeat others."""


def import_recording(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    tokenizer: str | Path | Sequence[str | Path],
    name: str | None = None,
    causal: bool | None = None,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    on_event: Listener = ignore,
) -> Imported:
    """Make the run folder `out` of attention that was recorded elsewhere.

    `files` are .json, .npz or .safetensors in the form of docs/importing.md. `tokenizer` is what
    `open_tokenizer` takes. `name` is the model's (None: as the files call it), `causal` whether it
    is a decoder (None: as the attention shows). Texts are shared out by `shares` and `seed` among
    fit, select and test, or as the files mark them. The same files in the same folder are finished
    where that was begun.

    Everything is checked before anything is written. Raises HeadscriptError for files that cannot
    be read, for what is no attention, for texts of different models, for tokens that the tokenizer
    does not have, for fewer than three texts, and as `Run.create_or_resume` does.
    """
    paths = sorted(Path(file).expanduser() for file in files)  # however a shell ordered them
    texts = [text for path in paths for text in read_texts(path)]
    _check_alike(texts)
    places = [tokenizer] if isinstance(tokenizer, str | Path) else tokenizer
    found = open_tokenizer(places, on_event=on_event)
    mapper = TokenMapper(found)
    ids = [mapper(text) for text in texts]
    looks = []
    for number, text in enumerate(texts, 1):
        looks.append(check_text(text))
        on_event(Event("checking", number, len(texts)))
    first = texts[0]
    model = ModelFacts(
        name=_clean(name or _common_name(texts)),
        weights_hash=_hash(paths),
        architecture=IMPORTED,
        heads_per_layer=(first.num_heads,) * first.num_layers,
        causal=is_causal(looks, causal),
    )
    documents = _documents(texts, [mapper.spelled(each) for each in ids])
    splits = split_documents(
        documents,
        seed=seed,
        select=_share(shares, 1),
        test=_share(shares, 2),
        read=[as_read(found, each) for each in ids],
    )
    place = {document.id: number for number, document in enumerate(documents)}
    chosen = {split: [place[each.id] for each in getattr(splits, split)] for split in SPLITS}
    run_texts = [
        RunText(documents[number].id, split, documents[number].text, ids[number])
        for split in SPLITS
        for number in chosen[split]
    ]
    config = RunConfig(model=model.name, texts=_said(paths), seed=seed, proposers=())
    with Run.create_or_resume(out, config) as run:
        run.settle_model(model)
        run.settle_texts(run_texts)
        run.save_tokenizer(found)
        for done, split in enumerate(SPLITS):
            numbers = chosen[split]
            write_recording(
                run.recording_folder(split),
                model,
                [ids[number] for number in numbers],
                _patterns([texts[number] for number in numbers], model.causal),
            )
            on_event(Event("importing", done + 1, len(SPLITS)))
    return Imported(run, splits.dropped)


def parse_shares(said: str | None) -> tuple[float, ...]:
    """Read "3/1/1"; None is `SHARES`. Raises HeadscriptError for what is no three numbers."""
    if said is None:
        return SHARES
    try:
        return tuple(float(share) for share in said.split("/"))
    except ValueError:
        raise HeadscriptError(_SHARES_MEANT) from None


def read_texts(file: Path) -> list[AttentionText]:
    """The texts of a file; raises HeadscriptError where it cannot be read or is of another form."""
    if file.is_dir():
        raise HeadscriptError(f"{file} is a folder; name the files of attention in it.")
    if not file.is_file():
        raise HeadscriptError(f"There is no file {file}.")
    kind = file.suffix.lower()
    if kind in _PICKLED:
        raise HeadscriptError(
            f"{file} is a pickle by its name, which can run any code when it is opened; save the "
            "tensors as .safetensors or .npz."
        )
    if kind not in _READERS:
        raise HeadscriptError(
            f"{file} must end in {', '.join(_READERS)}: attention in another form is not read."
        )
    return _READERS[kind](file)


def _patterns(texts: Sequence[AttentionText], causal: bool) -> PatternsOf:
    return lambda number: distributions(texts[number], causal)


def _check_alike(texts: Sequence[AttentionText]) -> None:
    if not texts:
        raise HeadscriptError("There is nothing to import: no file was named.")
    first = texts[0]
    for text in texts:
        if (text.num_layers, text.num_heads) != (first.num_layers, first.num_heads):
            raise HeadscriptError(
                f"{first.place} has {first.num_layers} layers of {first.num_heads} heads, and "
                f"{text.place} {text.num_layers} of {text.num_heads}; they are not of one model."
            )


def _common_name(texts: Sequence[AttentionText]) -> str:
    names = sorted({text.model for text in texts if text.model is not None})
    if len(names) > 1:
        raise HeadscriptError(
            f"The files are of several models: {', '.join(map(repr, names[:3]))}; import those of "
            "one, or give it a name (--name)."
        )
    return names[0] if names else _NO_NAME


def _clean(name: str) -> str:
    """A name that can stand in a program's first line and on a terminal, whoever made it up."""
    kept = re.sub(r"[^\w .,:;()/+@#=-]", "_", " ".join(name.split()))
    return kept[:_LONGEST_NAME].strip() or _NO_NAME


def _documents(texts: Sequence[AttentionText], spelled: Sequence[str]) -> list[Document]:
    """What the texts say, with ids that none shares with another."""
    names = [text.id for text in texts]
    if len(set(names)) < len(names):
        names = [str(number) for number in range(len(texts))]
    return [
        Document(name, text.text or spelling, text.part)
        for name, text, spelling in zip(names, texts, spelled, strict=True)
    ]


def _share(shares: Sequence[float], place: int) -> float:
    if len(shares) != 3 or not all(0 < share < float("inf") for share in shares):
        raise HeadscriptError(_SHARES_MEANT)
    return shares[place] / sum(shares)


def _hash(files: Sequence[Path]) -> str:
    """Of the contents of all files, in whatever order they are named."""
    return hashlib.sha256("\n".join(sorted(map(file_hash, files))).encode()).hexdigest()


def _said(files: Sequence[Path]) -> str:
    """The files as a person would name them."""
    others = len(files) - 1
    return files[0].name if not others else f"{min(file.name for file in files)} and {others} more"
