"""What a program file does when it is run: prints its pattern for the sentence it is given."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language.text import Text, read_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTENCE = "Once upon a time, a little girl named Lily found a kite, and the kite was red."
_SHADES = ((0.5, "█"), (0.25, "▓"), (0.1, "▒"), (0.04, "░"), (0.015, "·"))
_WORDS = re.compile(r" ?\w+| ?[^\w\s]|\s")


def run(attend: Callable[..., Any], arguments: Sequence[str] | None = None) -> None:
    """Print what a program says of itself and its pattern for the sentence on the command line.

    The tokenizer is the one given by --tokenizer, else that of the run directory the file lies in
    (RUN/tokenizer beside RUN/programs), else a plain split into words, which it says. Exits with
    code 2 and one sentence where something is wrong.
    """
    file = Path(inspect.getsourcefile(attend) or "program.py").resolve()
    options = _options(file, inspect.getdoc(attend) or "", arguments)
    try:
        text, notes = _read(options.sentence, options.tokenizer, attend, file)
        pattern = attend(text)
        if not isinstance(pattern, Tensor) or pattern.shape != (len(text), len(text)):
            raise HeadscriptError(f"{file.name} returns no pattern; end with softmax(...).")
        pattern = pattern.detach().float()
    except HeadscriptError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    if options.json:
        answer = {
            "name": file.stem,
            "explanation": inspect.getdoc(attend) or "",
            "tokens": list(text.surfaces),
            "pattern": [[round(weight, 6) for weight in row] for row in pattern.tolist()],
        }
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        _show(file.stem, inspect.getdoc(attend) or "", text, pattern, notes)


def _options(file: Path, explanation: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=file.name,
        description=explanation.split("\n\n")[0],
        epilog="The pattern has a row for each query and a character for each key.",
    )
    parser.add_argument("sentence", nargs="?", default=SENTENCE, help="the text to attend over")
    parser.add_argument("--tokenizer", metavar="NAME", help="a tokenizer's folder or hub id")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    return parser.parse_args(arguments)


def _read(
    sentence: str, tokenizer_name: str | None, attend: Callable[..., Any], file: Path
) -> tuple[Text, list[str]]:
    """The sentence as a text, and what a reader should know about how it was read."""
    names = attend.__code__.co_names
    causal = "allowed" not in names  # encoders' programs say softmax(scores, text.allowed)
    notes = []
    if "similarity" in names:
        notes.append("The model's embeddings are not at hand here, so text.similarity counts as 0.")
    folder = file.parent.parent / "tokenizer"
    if tokenizer_name is None and folder.is_dir():
        tokenizer_name = str(folder)
    if tokenizer_name is None:
        surfaces = _WORDS.findall(sentence)
        numbers: dict[str, int] = {}
        ids = [numbers.setdefault(surface, len(numbers)) for surface in surfaces]
        text = Text(surfaces, ids, max(len(numbers), 2), causal=causal)
        notes.append(
            "Read as plain words: there is no tokenizer folder beside this file's folder; "
            "--tokenizer names one."
        )
    else:
        tokenizer = _load_tokenizer(tokenizer_name)
        ids = tokenizer(sentence)["input_ids"]
        text = read_text(tokenizer, ids, causal=causal)
    if not len(text):
        raise HeadscriptError("The sentence is empty; give one with at least one word.")
    return text, notes


def _load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError):
        raise HeadscriptError(
            f"There is no tokenizer {name!r}; give a folder with one, or a hub id."
        ) from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def _show(name: str, explanation: str, text: Text, pattern: Tensor, notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.text import Text as Styled

    console = Console(highlight=False, soft_wrap=True)
    console.print(Styled(name, "bold"))
    console.print(Styled(explanation))
    console.print()
    labels = [_label(surface) for surface in text.surfaces]
    wide = max(len(label) for label in labels)
    room = max(console.width - wide - 34, 10)
    shown = min(len(text), room)
    console.print(Styled(f"{'':{wide + 4}} {_ruler(shown)}", "dim"))
    for place, row in enumerate(pattern):
        weights, keys = torch.sort(row, descending=True, stable=True)
        strongest = "  ".join(
            f"{labels[key]} {weight:.2f}"
            for weight, key in zip(weights[:2].tolist(), keys[:2].tolist(), strict=True)
            if weight >= 0.1
        )
        line = Styled(f"{place:>3} {labels[place]:>{wide}} ", "dim")
        line.append(f"{_blocks(row[:shown].tolist()):<{shown}}", "cyan")
        line.append(f"  {strongest}", "dim")
        console.print(line)
    legend = "  ".join(f"{block} {least:g}" for least, block in reversed(_SHADES))
    console.print(Styled(f"\n{legend} or more; a row is a query, a column a key", "dim"))
    for note in notes:
        console.print(Styled(note, "dim"))


def _blocks(weights: Sequence[float]) -> str:
    return "".join(
        next((block for least, block in _SHADES if weight >= least), " ") for weight in weights
    )


def _ruler(length: int) -> str:
    """Places of the keys, every tenth by number."""
    marks = [" "] * length
    for place in range(0, length, 5):
        said = str(place) if place % 10 == 0 else "·"
        if place + len(said) <= length:
            marks[place : place + len(said)] = said
    return "".join(marks)


def _label(surface: str) -> str:
    label = "".join(c if c.isprintable() else repr(c)[1:-1] for c in surface)
    label = "_" + label[1:] if label.startswith(" ") else label
    return label if len(label) <= 12 else label[:11] + "…"
