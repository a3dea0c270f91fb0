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
    """What screening needs of one text for relations with many keys a row; R of them, C classes."""

    half: int
    cells: Tensor  # (rows, n) indices on the flat axis
    inside: Tensor  # (rows, n) 1 where the query may look
    dense: Tensor  # (R, rows, n) values of the relations
    query_classes: Tensor  # (rows, C)
    key_classes: Tensor  # (n, C)
    query_words: Tensor  # (rows,) number of the query's literal
    key_words: Tensor  # (n,)


@dataclass
class _Pointers:
    """What it needs of half the texts for relations with one key a row; R of them, C classes."""

    cells: Tensor  # (R, rows) the one cell of each row, on the flat axis
    there: Tensor  # (R, rows) 1 where there is one
    keys: Tensor  # (R, rows) the token it is of
    query_classes: Tensor  # (rows, C)
    query_words: Tensor  # (rows,) number of the query's literal
    half: int


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
        chosen = [
            index for index in order[:max_texts].tolist() if bool((rows.row_text == index).any())
        ]
        self._classes = torch.stack(
            [torch.ones(int(rows.token_offsets[-1]))]
            + [rows.tokens(name) for name in pool.classes],
            1,
        )  # (tokens, C)
        number = {surface: index for index, surface in enumerate(pool.literals)}
        self._words = torch.tensor(
            [number.get(s, len(number)) for text in rows.texts for s in text.surfaces]
        )
        self._texts = self._prepare(chosen)
        self._pointers = [self._prepare_pointers(chosen[half::2], half) for half in (0, 1)]

    def _points(self, relation: str) -> bool:
        """Whether the relation holds for at most one key of a row."""
        values = self.rows.relation(relation)
        if not bool(((values == 0) | (values == 1)).all()):
            return False
        return bool(self.rows.row_sums(values).max() <= 1)

    def _prepare(self, chosen: list[int]) -> list[_TextCells]:
        rows = self.rows
        dense = [rows.relation(name) for name in self.dense if name is not None]
        prepared = []
        for number, index in enumerate(chosen):
            of_text = (rows.row_text == index).nonzero().squeeze(1)
            query, length = rows.row_query[of_text], len(rows.texts[index])
            keys = torch.arange(length).expand(len(query), length)
            inside = (
                keys <= query[:, None] if rows.causal else torch.ones_like(keys, dtype=torch.bool)
            )
            # Cells past the row's end are read from its start, and masked.
            cells = rows.first_cell_of_row[of_text][:, None] + torch.where(inside, keys, 0)
            tokens = slice(int(rows.token_offsets[index]), int(rows.token_offsets[index]) + length)
            prepared.append(
                _TextCells(
                    half=number % 2,
                    cells=cells,
                    inside=inside.float(),
                    dense=torch.stack(
                        [inside.float()] + [column[cells] * inside for column in dense]
                    ),
                    query_classes=self._classes[tokens][query],
                    key_classes=self._classes[tokens],
                    query_words=self._words[tokens][query],
                    key_words=self._words[tokens],
                )
            )
        return prepared

    def _prepare_pointers(self, chosen: list[int], half: int) -> _Pointers:
        rows = self.rows
        mine = torch.isin(rows.row_text, torch.tensor(chosen, dtype=torch.long)).nonzero().flatten()
        tokens = rows.token_offsets[rows.row_text[mine]] + rows.row_query[mine]
        cells = rows.first_cell_of_row[mine].repeat(len(self.pointing), 1)
        there = torch.zeros(len(self.pointing), len(mine))
        place = torch.full((rows.num_rows,), -1).index_copy_(0, mine, torch.arange(len(mine)))
        for number, name in enumerate(self.pointing):
            found = rows.kept_relation(name).nonzero().flatten()
            row = place[rows.cell_row[found]]
            found, row = found[row >= 0], row[row >= 0]
            cells[number, row], there[number, row] = found, 1.0
        return _Pointers(
            cells, there, rows.key_token[cells], self._classes[tokens], self._words[tokens], half
        )

    def __call__(self, patterns: Tensor, actual: Tensor) -> Candidates:
        """Screen all terms given the heads' current patterns; both are (cells, heads)."""
        heads = patterns.shape[1]
        classes, words = len(self.classes), len(self.pool.literals) + 1
        both = (self.dense, self.pointing)
        sums = Candidates(
            self,
            by_key=[_Sums.zeros(heads, len(names), classes) for names in both],
            by_query=[_Sums.zeros(heads, len(names), classes) for names in both],
            by_both=[
                _Sums.zeros(heads, len(core), classes, classes)
                for core in (self._core_dense, self._core_pointing)
            ],
            by_key_word=[_Sums.zeros(heads, len(names), words) for names in both],
            by_query_word=[_Sums.zeros(heads, len(names), words) for names in both],
        )
        gradient = score_gradient(self.rows, patterns, actual, surprise=SURPRISE).T.contiguous()
        weights = patterns.T.contiguous()
        for text in self._texts:
            self._add_slopes(sums, text, gradient[:, text.cells] * text.inside)
            self._add_variances(sums, text, weights[:, text.cells] * text.inside)
        for pointers in self._pointers:
            self._add_pointing(sums, pointers, gradient, weights)
        return sums

    def _add_slopes(self, sums: Candidates, text: _TextCells, slope: Tensor) -> None:
        """Gradients for relations with many keys a row; slope is (heads, rows, n)."""
        keys, queries, half = text.key_classes, text.query_classes, text.half
        at_key, at_query = _marginals(slope, text.dense)
        sums.by_key[0].gradient[half] += at_key @ keys
        sums.by_query[0].gradient[half] += at_query @ queries
        sums.by_key_word[0].gradient[half].index_add_(2, text.key_words, at_key)
        sums.by_query_word[0].gradient[half].index_add_(2, text.query_words, at_query)
        per_row = (slope[:, None] * text.dense[self._core_dense]) @ keys  # (heads, R, rows, C)
        sums.by_both[0].gradient[half] += queries.T @ per_row

    def _add_variances(self, sums: Candidates, text: _TextCells, weight: Tensor) -> None:
        """Variances for relations with many keys a row; weight is (heads, rows, n)."""
        keys, queries, core = text.key_classes, text.query_classes, self._core_dense
        square, of_keys, of_queries = text.dense.square(), keys.square(), queries.square()
        at_key, at_query = _marginals(weight, square)
        means = ((weight[:, None] * text.dense) @ keys).square_()  # (heads, R, rows, C)
        sums.by_key[0].variance += at_key @ of_keys - means.sum(2)
        at_query = at_query - means[..., 0]
        sums.by_query[0].variance += at_query @ of_queries
        # Squares alone for keys: never less than the variance, so no gain is made too much of.
        sums.by_key_word[0].variance.index_add_(2, text.key_words, at_key)
        sums.by_query_word[0].variance.index_add_(2, text.query_words, at_query)
        per_row = (weight[:, None] * square[core]) @ of_keys - means[:, core]
        sums.by_both[0].variance += of_queries.T @ per_row

    def _add_pointing(
        self, sums: Candidates, pointers: _Pointers, gradient: Tensor, weights: Tensor
    ) -> None:
        """Relations with one key a row: all that is needed of a row is that key's cell."""
        half, heads, tokens = pointers.half, len(gradient), len(self._classes)
        slopes = gradient[:, pointers.cells] * pointers.there  # (heads, R, rows)
        weight = weights[:, pointers.cells] * pointers.there
        variance = weight - weight.square()
        where = pointers.keys.expand(heads, -1, -1)
        for kind, values in ((0, slopes), (1, variance)):
            keys, queries = self._classes, pointers.query_classes
            if kind:
                keys, queries = keys.square(), queries.square()
            at_key = values.new_zeros(heads, len(self.pointing), tokens)
            at_key.scatter_add_(2, where, values)
            for found, added in (
                (sums.by_key, at_key @ keys),
                (sums.by_query, values @ queries),
            ):
                (found[1].variance if kind else found[1].gradient[half]).add_(added)
            for found, words, added in (
                (sums.by_key_word, self._words, at_key),
                (sums.by_query_word, pointers.query_words, values),
            ):
                total = found[1].variance if kind else found[1].gradient[half]
                total.index_add_(2, words, added)
            for place, relation in enumerate(self._core_pointing):
                pointed = keys[pointers.keys[relation]]  # (rows, C)
                by_query = queries.T * values[:, relation, None, :]  # (heads, C, rows)
                total = sums.by_both[1].variance if kind else sums.by_both[1].gradient[half]
                total[:, place] += by_query @ pointed


def _marginals(values: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """values (heads, rows, n) times dense (R, rows, n), summed over rows and over keys.

    (heads, R, n) and (heads, R, rows).
    """
    at_key = values.permute(2, 0, 1) @ dense.permute(2, 1, 0)  # (n, heads, R)
    at_query = values.transpose(0, 1) @ dense.permute(1, 2, 0)  # (rows, heads, R)
    return at_key.permute(1, 2, 0), at_query.permute(1, 2, 0)


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
            best, order = agreeing.topk(min(_MAX_WORDS, agreeing.shape[1]), dim=1)
            first, second = (half.gather(1, order).cumsum(1) for half in slope)
            together = first * second / (variance.gather(1, order).cumsum(1) + _PRIOR_VARIANCE)
            gain, length = torch.where(best > 0, together, 0).max(1)
            lists += [
                (value, relation, order[relation, : length[relation] + 1])
                for value, (relation,) in _top(gain, number)
            ]
        lists.sort(key=lambda found: (-found[0], found[1]))
        return [
            (gain, relation, [literals[word] for word in words.tolist()])
            for gain, relation, words in lists[:number]
        ]


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
