"""What programs of a library are matched on: heads and the texts on which they were recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from headscript.events import Listener
from headscript.heads import parse_heads
from headscript.language import Text
from headscript.language.text import TextReader
from headscript.models import Model, load_model
from headscript.recording import Recording
from headscript.recording_runs import Recorded
from headscript.records import RunText
from headscript.runs import Run
from headscript.stages import SPLITS, prepare_texts, record_splits

TOKENS = {"fit": 3_000, "select": 2_500, "test": 4_000}
"""Tokens of each split that are taken where nobody says how many texts."""
_LOOKED_AT = 2_000  # texts that these are drawn from


@dataclass(frozen=True)
class Bench:
    """Texts by what they are for, and what the heads do on them."""

    texts: Mapping[str, Sequence[Text]]
    """By split: "fit", "select" and, where something is to be reported, "test"."""
    recordings: Mapping[str, Recording]
    ids: Mapping[str, Sequence[str]]
    seed: int

    @classmethod
    def of_run(cls, recorded: Recorded, seed: int) -> Bench:
        """The texts of a run in their splits."""
        read = TextReader(recorded.tokenizer, causal=recorded.model.causal)
        by_split = {
            split: [text for text in recorded.texts if text.split == split] for split in SPLITS
        }
        return cls(
            {split: [read(text.token_ids) for text in texts] for split, texts in by_split.items()},
            recorded.recordings,
            {split: [text.id for text in texts] for split, texts in by_split.items()},
            seed,
        )

    @property
    def causal(self) -> bool:
        """Whether the heads are a decoder's."""
        return self.recordings["fit"].causal

    def of(self, split: str) -> tuple[Sequence[Text], Recording]:
        """The texts of a split and the heads' patterns there."""
        return self.texts[split], self.recordings[split]


class Chosen(Recording):
    """Some texts of several recordings of the same heads, as one recording."""

    def __init__(self, places: Sequence[tuple[Recording, int]]) -> None:
        """`places` says for each text whose it is and which it is there."""
        first, _ = places[0]
        self.directory: Path = first.directory
        self.manifest = first.manifest
        self.heads = first.heads
        self.causal = first.causal
        self.token_counts = [recording.token_counts[number] for recording, number in places]
        self._places = places

    def layer(self, layer: int, texts: Sequence[int] | None = None) -> list[Tensor]:
        """See `Recording.layer`."""
        wanted = range(len(self._places)) if texts is None else texts
        places = [self._places[text] for text in wanted]
        return [recording.layer(layer, [number])[0] for recording, number in places]


def load(run: Run, on_event: Listener) -> tuple[Model, list[RunText]]:
    """Load a run's model and texts: as many as were asked for or as make about `TOKENS`."""
    model = load_model(run.config.model, on_event=on_event)
    run.settle_model(model)
    config = run.config
    if config.max_texts is not None:
        prepared = prepare_texts(config, model)
    else:
        found = prepare_texts(config.model_copy(update={"max_texts": _LOOKED_AT}), model)
        prepared, tokens = [], dict.fromkeys(SPLITS, 0)
        for text in found:
            if not tokens[text.split] or tokens[text.split] < TOKENS[text.split]:
                tokens[text.split] += len(text.token_ids)
                prepared.append(text)
    run.settle_texts(prepared)
    return model, prepared


def recorded(run: Run, model: Model, texts: Sequence[RunText], on_event: Listener) -> Recorded:
    """Record the heads that a run asks for on its texts, in its folder."""
    run.save_tokenizer(model.tokenizer)
    heads = parse_heads(run.config.heads, model.heads_per_layer)
    recordings = record_splits(run, model, texts, heads, on_event)
    return Recorded(run.model, model.tokenizer, list(texts), recordings)
