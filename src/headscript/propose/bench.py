"""What a process needs to work on heads: texts, features and patterns, made once for all layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property

import torch

from headscript.disk import write_atomically
from headscript.language import read_text
from headscript.propose.frontier import Frontier
from headscript.propose.search import (
    SearchSettings,
    SharedRows,
    Step,
    fit_rows,
    held_out,
    search_layer,
)
from headscript.recording import Recording
from headscript.rows import Rows, share_for
from headscript.runs import Run


def search_file(layer: int) -> str:
    """Where a run keeps what was found for a layer."""
    return f"search/L{layer:02d}.json"


class Bench:
    """A process's texts and features: made once, used for every layer it works on."""

    def __init__(self, run: Run) -> None:
        from transformers import AutoTokenizer

        self.run = run
        self.settings = SearchSettings.of(run.config)
        tokenizer = AutoTokenizer.from_pretrained(str(run.tokenizer_folder))
        self.texts = {
            split: [
                read_text(tokenizer, text.token_ids, causal=run.model.causal)
                for text in run.texts(split)
            ]
            for split in ("fit", "select")
        }
        self.fit = Recording.open(run.recording_folder("fit"))
        self.select = Recording.open(run.recording_folder("select"))

    @cached_property
    def shared(self) -> SharedRows:
        """Rows of the fit texts, with the pool that the search draws from."""
        return SharedRows(self.texts["fit"], self.settings)

    @cached_property
    def fit_rows(self) -> Rows:
        """The same rows."""
        return fit_rows(self.texts["fit"], self.settings)

    @cached_property
    def select_rows(self) -> Rows:
        """Rows of the select texts."""
        return Rows(
            self.texts["select"],
            share=share_for(self.texts["select"], self.settings.max_cells),
            generator=torch.Generator().manual_seed(self.settings.seed + 1),
        )

    def search(self, layer: int) -> None:
        """Search the heads of a layer and write what was found."""
        self.write_frontiers(
            search_file(layer),
            layer,
            search_layer(self.shared, self.fit.layer(layer), self.settings),
        )

    def write_frontiers(self, path: str, layer: int, found: Sequence[Sequence[Step]]) -> None:
        """Keep the steps of a layer's heads, with what each is worth on the select texts."""
        actual = self.select_rows.gather(self.select.layer(layer))
        frontiers = [
            Frontier(head, tuple(steps), tuple(held_out(self.select_rows, steps, actual[:, index])))
            for index, (head, steps) in enumerate(zip(self.fit.heads_of(layer), found, strict=True))
        ]
        self.select_rows.release(())
        content = json.dumps([frontier.as_json() for frontier in frontiers])
        write_atomically(self.run.directory / path, content.encode())
