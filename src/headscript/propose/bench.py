"""What a process needs to work on heads: texts, features and patterns, made once for all layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property

import torch

from headscript.disk import write_atomically
from headscript.propose.frontier import Frontier
from headscript.propose.search import (
    SearchSettings,
    SharedRows,
    Step,
    fit_rows,
    held_out,
    search_layer,
)
from headscript.recorded import Recorded
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
        # `Recorded` would import all that models need, and a search needs none.
        self._recorded = Recorded(run, AutoTokenizer.from_pretrained(str(run.tokenizer_folder)))
        self.fit = self._recorded.recording("fit")
        self.select = self._recorded.recording("select")

    @cached_property
    def fit_rows(self) -> Rows:
        """Rows of the fit texts."""
        return fit_rows(self._recorded.split("fit").texts, self.settings)

    @cached_property
    def shared(self) -> SharedRows:
        """The same rows with the pool that the search draws from."""
        return SharedRows(self.fit_rows, self.settings)

    @cached_property
    def select_rows(self) -> Rows:
        """Rows of the select texts."""
        texts = self._recorded.split("select").texts
        return Rows(
            texts,
            share=share_for(texts, self.settings.max_cells),
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
