"""Relations: one value a pair of query and key, of shape (query, key)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from headscript.language import vocabulary
from headscript.language.text import Text

relation = partial(vocabulary.relation, by_row=True)
of_key = partial(relation, of_key=True)
of_places = partial(relation, of_places=True)


def _query_index(text: Text) -> Tensor:
    return torch.arange(text.first_query, len(text))[:, None]


def _key_index(text: Text) -> Tensor:
    return torch.arange(len(text))[None, :]


def _along_queries(text: Text, key_flags: Tensor) -> Tensor:
    """(..., n) of keys as (..., query, key)."""
    rows = len(text) - text.first_query
    return key_flags[..., None, :].expand(*key_flags.shape[:-1], rows, len(text))


def _in_pairs(text: Text, values: Tensor) -> Tensor:
    """Whether a token property (n,) is the same for query and key, (query, key)."""
    return text.of_queries(values) == values[None, :]


def _token_before(text: Text) -> Tensor:
    """(n,) the id of the token before each; the first has none."""
    return torch.cat([torch.full_like(text.token_ids[:1], -1), text.token_ids[:-1]])


@relation(
    "The query may look at the key: in a decoder itself and those before it, in an encoder all.",
    group="position",
    phrase="all tokens in view",
    in_view=True,
)
def allowed(text: Text) -> Tensor:
    if text.causal:
        return _key_index(text) <= _query_index(text)
    return _along_queries(text, torch.ones(len(text), dtype=torch.bool))


# Position ----------------------------------------------------------------------------------------


@of_key(
    "The key is the text's first token.", group="position", phrase="the first token", in_view=True
)
def first(text: Text) -> Tensor:
    return _along_queries(text, torch.arange(len(text)) == 0)


@of_key(
    "The key is the text's last token (never so in a decoder but for the last query).",
    group="position",
    phrase="the last token",
    prefix_consistent=False,
)
def last(text: Text) -> Tensor:
    return _along_queries(text, torch.arange(len(text)) == len(text) - 1)


@of_key(
    "The key is the token at this place, counted from 0.",
    parameters=("place",),
    group="position",
    phrase="the token at place {place}",
)
def at(text: Text, place: int) -> Tensor:
    return _along_queries(text, torch.arange(len(text)) == place)


@of_places(
    "The key is the query itself.", group="position", phrase="the token itself", in_view=True
)
def itself(text: Text) -> Tensor:
    return _query_index(text) == _key_index(text)


@of_places(
    "How many tokens lie from key to query, as a positive number in either direction.",
    group="position",
    phrase="distance",
)
def distance(text: Text) -> Tensor:
    return (_query_index(text) - _key_index(text)).abs().float()


@of_places(
    "The key is k tokens before the query.",
    parameters=("k",),
    group="position",
    phrase="the token {k} before",
    in_view=True,
)
def previous(text: Text, k: int = 1) -> Tensor:
    return _query_index(text) - _key_index(text) == k


@of_places(
    "The key is k tokens after the query (encoders).",
    parameters=("k",),
    group="position",
    phrase="the token {k} after",
)
def following(text: Text, k: int = 1) -> Tensor:
    return _key_index(text) - _query_index(text) == k


@of_places(
    "Key and query are at most k tokens apart.",
    parameters=("k",),
    group="position",
    phrase="tokens at most {k} away",
)
def within(text: Text, k: int) -> Tensor:
    return text.distance <= k


@of_places(
    "The key comes before the query.", group="position", phrase="earlier tokens", in_view=True
)
def earlier(text: Text) -> Tensor:
    return _key_index(text) < _query_index(text)


# Sameness ----------------------------------------------------------------------------------------


@relation(
    "The key is another place of the query's very token.",
    group="sameness",
    phrase="the same token elsewhere",
)
def same_token(text: Text) -> Tensor:
    return _in_pairs(text, text.token_ids) & ~text.itself


@relation(
    "The key is another place of the query's word, whatever its case and leading space.",
    group="sameness",
    phrase="the same word elsewhere",
)
def same_word(text: Text) -> Tensor:
    numbers: dict[str, int] = {}
    words = [surface.strip().lower() for surface in text.surfaces]
    ids = torch.tensor([numbers.setdefault(word, len(numbers)) for word in words])
    return _in_pairs(text, ids) & ~text.itself


@relation(
    "The key follows an earlier place of the query's token (induction).",
    group="sameness",
    phrase="what followed the same token earlier",
    in_view=True,
)
def after_same(text: Text) -> Tensor:
    followed = torch.zeros_like(text.same_token)
    followed[:, 1:] = text.same_token[:, :-1]
    return followed & (_key_index(text) <= _query_index(text))


@relation(
    "The key follows an earlier place of the query's token and the token before it.",
    group="sameness",
    phrase="what followed the same two tokens earlier",
    in_view=True,
)
def after_same_pair(text: Text) -> Tensor:
    pair = torch.zeros_like(text.same_token)
    pair[:, 1:] = text.same_token[:, :-1] & text.same_before[:, :-1]
    return pair & (_key_index(text) <= _query_index(text))


@relation(
    "The key stands before an earlier place of the query's token.",
    group="sameness",
    phrase="what came before the same token earlier",
    in_view=True,
)
def before_same(text: Text) -> Tensor:
    preceding = torch.zeros_like(text.same_token)
    preceding[:, :-1] = text.same_token[:, 1:]
    return preceding & (_key_index(text) + 1 < _query_index(text))


@relation(
    "Key and query follow the same token.", group="sameness", phrase="tokens after the same token"
)
def same_before(text: Text) -> Tensor:
    before = _token_before(text)
    return _in_pairs(text, before) & ~text.itself & text.of_queries(before >= 0)


@relation(
    "Cosine of the input embeddings of query and key, -1 to 1.",
    group="sameness",
    phrase="likeness of the embeddings",
)
def similarity(text: Text) -> Tensor:
    if text.embeddings is None:
        return _along_queries(text, torch.zeros(len(text)))
    directions = torch.nn.functional.normalize(text.embeddings.float(), dim=-1)
    return directions[text.rows] @ directions.T


# Sentences ---------------------------------------------------------------------------------------


@relation(
    "Key and query are in one sentence.", group="sentences", phrase="tokens of the same sentence"
)
def same_sentence(text: Text) -> Tensor:
    return _in_pairs(text, text.sentence)


@relation(
    "How many sentences lie from key to query.", group="sentences", phrase="sentences between"
)
def sentence_distance(text: Text) -> Tensor:
    return (text.of_queries(text.sentence) - text.sentence[None, :]).abs()


@relation(
    "The key is the first token of the query's sentence.",
    group="sentences",
    phrase="the sentence's first token",
)
def sentence_start(text: Text) -> Tensor:
    return text.same_sentence & text.opens_sentence[None, :]


# Over a token property ---------------------------------------------------------------------------


@relation(
    "The key has the property and no token after it, up to the query, has.",
    parameters=("property",),
    group="latest and earliest",
    phrase="the latest of {property}",
    many=True,
    in_view=True,
)
def latest(text: Text, property: Tensor) -> Tensor:
    flags = property.bool()
    place = torch.where(flags, torch.arange(len(text)), torch.full((len(text),), -1))
    latest_place = text.of_queries(place.cummax(-1).values)
    return latest_place == torch.where(flags, place, torch.full_like(place, -2))[..., None, :]


@of_key(
    "The key is the text's k-th token with the property, counted from 1.",
    parameters=("property", "k"),
    group="latest and earliest",
    phrase="number {k} of {property}",
    many=True,
)
def nth(text: Text, property: Tensor, k: int) -> Tensor:
    flags = property.bool()
    return _along_queries(text, flags & (flags.long().cumsum(-1) == k))


@relation(
    "How many tokens with the property lie after the key, up to the query.",
    parameters=("property",),
    group="latest and earliest",
    phrase="count of {property} between",
    many=True,
)
def between(text: Text, property: Tensor) -> Tensor:
    count = property.float().cumsum(-1)
    return (text.of_queries(count) - count[..., None, :]).abs()


@relation(
    "The token after the key, if the query may see it, has the property.",
    parameters=("property",),
    group="latest and earliest",
    phrase="tokens before {property}",
    many=True,
    in_view=True,
)
def before(text: Text, property: Tensor) -> Tensor:
    flags = property.bool()
    ahead = torch.cat([flags[..., 1:], torch.zeros_like(flags[..., :1])], -1)
    if not text.causal:
        return _along_queries(text, ahead)
    return _along_queries(text, ahead) & (_key_index(text) < _query_index(text))
