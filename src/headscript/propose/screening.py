"""Screening: what every possible next term would gain, for all heads of a layer at once.

For a term with feature f, the gradient g of the L1 loss with respect to its weight and the variance
h of f under the head's current pattern say to second order what adding it gains, about g^2 / 2h.
Both are sums over cells of products of a query class, a relation and a key class, so that for all
classes at once they are matrix products. g is taken on two halves of the texts, a and b, and the
gain estimated by g_a g_b / h: what does not hold on both halves gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.programs.terms import Term
from headscript.propose.pool import Pool
from headscript.rows import Rows
from headscript.tuning.loglinear import score_gradient

SURPRISE = 0.1
"""The share of cross-entropy in the loss while terms are looked for."""
_PRIOR_VARIANCE = 3.0  # in units of one row's variance: rare features must earn their place
_MAX_WORDS = 12


@dataclass
class _Sums:
    """Gradient on each half of the texts and variance, for a grid of candidate terms."""

    gradient: Tensor  # (2, heads, *grid)
    variance: Tensor  # (heads, *grid)

    @classmethod
    def zeros(cls, heads: int, *grid: int) -> _Sums:
        return cls(torch.zeros(2, heads, *grid), torch.zeros(heads, *grid))

    def gains(self, head: int) -> Tensor:
        agreeing = (self.gradient[0, head] * self.gradient[1, head]).clamp(min=0)
        return agreeing / (self.variance[head] + _PRIOR_VARIANCE)


@dataclass
class _TextCells:
    """What screening needs of one text; R relations, C classes."""

    half: int
    cells: Tensor  # (rows, n) indices on the flat axis
    inside: Tensor  # (rows, n) 1 where the query may look
    dense: Tensor  # (R dense, rows, n) values of relations with many keys a row
    pointers: Tensor  # (R pointing, rows) the one key of each row
    points: Tensor  # (R pointing, rows) 1 where there is one
    query_classes: Tensor  # (rows, C)
    key_classes: Tensor  # (n, C)
    query_words: Tensor  # (rows,) number of the query's literal
    key_words: Tensor  # (n,)


class Screening:
    """Candidate terms of a pool on sampled rows; built once a layer, used in every round."""

    def __init__(self, rows: Rows, pool: Pool, *, max_texts: int, seed: int) -> None:
        self.rows, self.pool = rows, pool
        self.classes: list[str | None] = [None, *pool.classes]
        relations = list(pool.relations)
        pointing = [self._points(relation) for relation in relations]
        self.dense: list[str | None] = [
            None,
            *(name for name, one in zip(relations, pointing, strict=True) if not one),
        ]
        self.pointing = [name for name, one in zip(relations, pointing, strict=True) if one]
        self._core_dense = [
            index
            for index, name in enumerate(self.dense)
            if name is None or name in pool.core_relations
        ]
        self._core_pointing = [
            index for index, name in enumerate(self.pointing) if name in pool.core_relations
        ]
        order = torch.randperm(len(rows.texts), generator=torch.Generator().manual_seed(seed))
        self._texts = self._prepare(order[:max_texts].tolist())

    def _points(self, relation: str) -> bool:
        """Whether the relation holds for at most one key of a row."""
        values = self.rows.relation(relation)
        if not bool(((values == 0) | (values == 1)).all()):
            return False
        return bool(self.rows.row_sums(values).max() <= 1)

    def _prepare(self, chosen: list[int]) -> list[_TextCells]:
        rows = self.rows
        words = {surface: index for index, surface in enumerate(self.pool.literals)}
        classes = torch.stack(
            [torch.ones(int(rows.token_offsets[-1]))]
            + [rows.tokens(name) for name in self.pool.classes],
            1,
        )
        dense = [rows.relation(name) for name in self.dense if name is not None]
        pointing = [rows.relation(name) for name in self.pointing]
        prepared: list[_TextCells] = []
        for index in chosen:
            of_text = (rows.row_text == index).nonzero().squeeze(1)
            if not len(of_text):
                continue
            text = rows.texts[index]
            query = rows.row_query[of_text]
            keys = torch.arange(len(text)).expand(len(query), len(text))
            inside = (
                keys <= query[:, None] if rows.causal else torch.ones_like(keys, dtype=torch.bool)
            )
            # Cells past the row's end are read from its start, and masked.
            cells = rows.first_cell_of_row[of_text][:, None] + torch.where(inside, keys, 0)
            offset = int(rows.token_offsets[index])
            key_classes = classes[offset : offset + len(text)]
            key_words = torch.tensor([words.get(s, len(words)) for s in text.surfaces])
            flags = torch.stack([column[cells] * inside for column in pointing])
            prepared.append(
                _TextCells(
                    half=len(prepared) % 2,
                    cells=cells,
                    inside=inside.float(),
                    dense=torch.stack(
                        [inside.float()] + [column[cells] * inside for column in dense]
                    ),
                    pointers=flags.argmax(2),
                    points=flags.amax(2),
                    query_classes=key_classes[query],
                    key_classes=key_classes,
                    query_words=key_words[query],
                    key_words=key_words,
                )
            )
        return prepared

    def __call__(self, patterns: Tensor, actual: Tensor) -> Candidates:
        """Screen all terms given the heads' current patterns; both are (cells, heads)."""
        heads = patterns.shape[1]
        classes, words = len(self.classes), len(self.pool.literals) + 1
        sums = Candidates(
            self,
            by_key=[
                _Sums.zeros(heads, len(names), classes) for names in (self.dense, self.pointing)
            ],
            by_query=[
                _Sums.zeros(heads, len(names), classes) for names in (self.dense, self.pointing)
            ],
            by_both=[
                _Sums.zeros(heads, len(core), classes, classes)
                for core in (self._core_dense, self._core_pointing)
            ],
            by_key_word=[
                _Sums.zeros(heads, len(names), words) for names in (self.dense, self.pointing)
            ],
            by_query_word=[
                _Sums.zeros(heads, len(names), words) for names in (self.dense, self.pointing)
            ],
        )
        gradient = score_gradient(self.rows, patterns, actual, surprise=SURPRISE)
        for text in self._texts:
            slope = (gradient[text.cells] * text.inside[..., None]).permute(2, 0, 1)
            weight = (patterns[text.cells] * text.inside[..., None]).permute(2, 0, 1)
            self._add_dense(sums, text, slope, weight)
            self._add_pointing(sums, text, slope, weight)
        return sums

    def _add_dense(self, sums: Candidates, text: _TextCells, slope: Tensor, weight: Tensor) -> None:
        """Relations with many keys a row: slope and weight are (heads, rows, n)."""
        keys, queries, half = text.key_classes, text.query_classes, text.half
        slopes = slope[:, None] * text.dense  # (heads, R, rows, n)
        weights = weight[:, None] * text.dense
        squares = weights * text.dense
        per_row = slopes @ keys  # (heads, R, rows, C)
        variance = squares @ keys.square() - (weights @ keys).square()
        sums.by_key[0].gradient[half] += per_row.sum(2)
        sums.by_key[0].variance += variance.sum(2)
        sums.by_query[0].gradient[half] += per_row[..., 0] @ queries
        sums.by_query[0].variance += variance[..., 0] @ queries.square()
        core = self._core_dense
        sums.by_both[0].gradient[half] += queries.T @ per_row[:, core]
        sums.by_both[0].variance += queries.T.square() @ variance[:, core]
        sums.by_key_word[0].gradient[half].index_add_(2, text.key_words, slopes.sum(2))
        sums.by_key_word[0].variance.index_add_(2, text.key_words, squares.sum(2))
        sums.by_query_word[0].gradient[half].index_add_(2, text.query_words, per_row[..., 0])
        sums.by_query_word[0].variance.index_add_(2, text.query_words, variance[..., 0])

    def _add_pointing(
        self, sums: Candidates, text: _TextCells, slope: Tensor, weight: Tensor
    ) -> None:
        """Relations with one key a row: all that is needed of a row is that key's cell."""
        keys, queries, half = text.key_classes, text.query_classes, text.half
        heads = slope.shape[0]
        index = text.pointers.T.expand(heads, -1, -1)  # (heads, rows, R)
        slopes = (slope.gather(2, index) * text.points.T).transpose(1, 2)  # (heads, R, rows)
        weights = (weight.gather(2, index) * text.points.T).transpose(1, 2)
        variance = weights - weights.square()
        at_key = slopes.new_zeros(2, heads, len(self.pointing), len(keys))
        where = text.pointers.expand(heads, -1, -1)
        at_key[0].scatter_add_(2, where, slopes)
        at_key[1].scatter_add_(2, where, variance)
        sums.by_key[1].gradient[half] += at_key[0] @ keys
        sums.by_key[1].variance += at_key[1] @ keys.square()
        sums.by_query[1].gradient[half] += slopes @ queries
        sums.by_query[1].variance += variance @ queries.square()
        sums.by_key_word[1].gradient[half].index_add_(2, text.key_words, at_key[0])
        sums.by_key_word[1].variance.index_add_(2, text.key_words, at_key[1])
        sums.by_query_word[1].gradient[half].index_add_(2, text.query_words, slopes)
        sums.by_query_word[1].variance.index_add_(2, text.query_words, variance)
        for place, relation in enumerate(self._core_pointing):
            pointed = keys[text.pointers[relation]]  # (rows, C)
            by_query = queries.T * slopes[:, relation, None, :]  # (heads, C, rows)
            sums.by_both[1].gradient[half, :, place] += by_query @ pointed
            by_query = queries.T.square() * variance[:, relation, None, :]
            sums.by_both[1].variance[:, place] += by_query @ pointed.square()


@dataclass
class Candidates:
    """Screened gains; each list holds the dense relations' sums and the pointing relations'."""

    screening: Screening
    by_key: list[_Sums]
    by_query: list[_Sums]
    by_both: list[_Sums]
    by_key_word: list[_Sums]
    by_query_word: list[_Sums]

    def best(self, head: int, number: int) -> list[Term]:
        """The `number` terms with the greatest gains for a head (its place in the layer)."""
        found: dict[Term, float] = {}
        screening = self.screening
        names: list[list[str | None]] = [screening.dense, list(screening.pointing)]
        cores = [
            [names[0][index] for index in screening._core_dense],
            [names[1][index] for index in screening._core_pointing],
        ]
        for kind in (0, 1):
            for gain, (relation, key) in _top(self.by_key[kind].gains(head), number):
                found[Term(None, names[kind][relation], screening.classes[key])] = gain
            for gain, (relation, query) in _top(self.by_query[kind].gains(head), number):
                found[Term(screening.classes[query], names[kind][relation], None)] = gain
            for gain, (relation, query, key) in _top(self.by_both[kind].gains(head), number):
                term = Term(screening.classes[query], cores[kind][relation], screening.classes[key])
                found[term] = gain
            for sums, of_key in ((self.by_key_word[kind], True), (self.by_query_word[kind], False)):
                for gain, relation, words in self._word_lists(sums, head, number // 4):
                    listed = f"text.one_of({', '.join(map(repr, words))})"
                    name = names[kind][relation]
                    found[Term(None, name, listed) if of_key else Term(listed, name, None)] = gain
        # The same for every key of a row: no effect on a softmax.
        useful = {term: gain for term, gain in found.items() if term.relation or term.key}
        return sorted(useful, key=lambda term: (-useful[term], str(term)))[:number]

    def _word_lists(
        self, sums: _Sums, head: int, number: int
    ) -> list[tuple[float, int, list[str]]]:
        """For each relation the words that gain most together; the lists that gain most."""
        literals = self.screening.pool.literals
        if not literals:
            return []
        gains = sums.gains(head)[:, :-1]  # (R, words); the last counts all others
        slope = sums.gradient[:, head, :, :-1]
        variance = sums.variance[head, :, :-1]
        lists = []
        for sign in (1, -1):
            agreeing = torch.where(slope.sum(0) * sign > 0, gains, 0)
            best, order = agreeing.sort(1, descending=True)
            best, order = best[:, :_MAX_WORDS], order[:, :_MAX_WORDS]
            first, second = (half.gather(1, order).cumsum(1) for half in slope)
            together = first * second / (variance.gather(1, order).cumsum(1) + _PRIOR_VARIANCE)
            gain, length = torch.where(best > 0, together, 0).max(1)
            lists += [
                (float(gain[r]), r, [literals[i] for i in order[r, : length[r] + 1].tolist()])
                for r in range(len(gain))
                if gain[r] > 0
            ]
        lists.sort(key=lambda found: (-found[0], found[1]))
        return lists[:number]


def _top(gains: Tensor, number: int) -> list[tuple[float, tuple[int, ...]]]:
    """The greatest positive gains with their places in the grid."""
    flat = gains.flatten()
    values, places = flat.topk(min(number, len(flat)))
    found = []
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        if value <= 0:
            break
        where = []
        for size in reversed(gains.shape):
            where.append(place % size)
            place //= size
        found.append((value, tuple(reversed(where))))
    return found
