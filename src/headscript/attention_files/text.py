"""One text of a file of attention, whatever the form of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from headscript.errors import HeadscriptError

MAX_TOKENS = 65_536
MAX_HEADS = 65_536
"""Of all layers together."""
MAX_LAYER_BYTES = 8 << 30
"""Of one layer's patterns on one text, as float32: so much is held in memory."""

FIELDS = ("tokens", "token_ids", "text", "part", "model", "id")
"""What a file may say of a text beside its attention."""


@dataclass(frozen=True)
class AttentionText:
    """The attention of all heads of a model on one text, read when it is asked for."""

    place: str
    """The file, and the text in it where there are several, as a sentence names it."""
    id: str
    num_layers: int
    num_heads: int
    """Heads of each layer."""
    num_tokens: int
    tokens: tuple[str, ...] | None
    """As the file spells them: as they read, or as pieces of a vocabulary."""
    token_ids: tuple[int, ...] | None
    text: str | None
    part: str | None
    """The split it belongs to, where the file says so."""
    model: str | None
    layers: Callable[[], Iterator[Tensor]]
    """Gives each layer's patterns, (heads, n, n) float32, rows are queries; nothing is checked."""

    @classmethod
    def of(
        cls,
        place: str,
        name: str,
        shape: Sequence[int],
        said: Mapping[str, Any],
        layers: Callable[[], Iterator[Tensor]],
    ) -> AttentionText:
        """Check what a file says of a text against the shape of its attention.

        `name` is the text's id where `said`, with the keys `FIELDS`, gives none. Raises
        HeadscriptError where a value is of the wrong kind or number.
        """
        num_layers, num_heads, num_tokens = _checked_shape(place, shape)
        tokens = _listed(place, "tokens", said.get("tokens"), str)
        ids = _listed(place, "token_ids", said.get("token_ids"), int)
        if tokens is None and ids is None:
            raise HeadscriptError(
                f"{place} says of no token what it is; add 'token_ids', or 'tokens' with their "
                "strings."
            )
        for what, values in (("tokens", tokens), ("token_ids", ids)):
            if values is not None and len(values) != num_tokens:
                raise HeadscriptError(
                    f"{place} has {len(values)} {what}, but its attention is over {num_tokens}."
                )
        return cls(
            place=place,
            id=_string(place, "id", said.get("id")) or name,
            num_layers=num_layers,
            num_heads=num_heads,
            num_tokens=num_tokens,
            tokens=tokens,
            token_ids=ids,
            text=_string(place, "text", said.get("text")),
            part=_string(place, "part", said.get("part")),
            model=_string(place, "model", said.get("model")),
            layers=layers,
        )


def _checked_shape(place: str, shape: Sequence[int]) -> tuple[int, int, int]:
    said = "x".join(map(str, shape)) or "a single number"
    if len(shape) != 4 or shape[2] != shape[3]:
        batch = "; take one text out of the batch" if len(shape) == 5 else ""
        raise HeadscriptError(
            f"The attention in {place} has the shape {said}, and must have layers x heads x n x n"
            f"{batch}."
        )
    num_layers, num_heads, num_tokens, _ = shape
    if not num_layers or not num_heads or num_tokens < 2:
        raise HeadscriptError(
            f"The attention in {place} has the shape {said}: there is no head in it that could "
            "choose between two tokens."
        )
    if num_layers * num_heads > MAX_HEADS or num_tokens > MAX_TOKENS:
        raise HeadscriptError(
            f"The attention in {place} has the shape {said}; at most {MAX_HEADS:,} heads and "
            f"{MAX_TOKENS:,} tokens are read."
        )
    if num_heads * num_tokens**2 * 4 > MAX_LAYER_BYTES:
        raise HeadscriptError(
            f"The attention in {place} has the shape {said}, {MAX_LAYER_BYTES >> 30} GB a layer or "
            "more; save the first tokens of the text alone."
        )
    return num_layers, num_heads, num_tokens


def _listed(place: str, name: str, found: Any, kind: type) -> tuple[Any, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list | tuple) or not all(type(value) is kind for value in found):
        what = "strings" if kind is str else "whole numbers"
        raise HeadscriptError(f"The {name!r} in {place} must be a list of {what}.")
    return tuple(found)


def _string(place: str, name: str, found: Any) -> str | None:
    if found is not None and not isinstance(found, str):
        raise HeadscriptError(f"The {name!r} in {place} must be a string.")
    if found:
        try:
            found.encode()
        except UnicodeEncodeError:
            raise HeadscriptError(
                f"The {name!r} in {place} has half of a surrogate pair."
            ) from None
    return found or None
