"""A note kept on a key-value cache, which follows when the cache's texts change their places.

Beam search reorders, repeats and leaves out the texts of a cache; what is known of their tokens has
to go along. A copy of the cache takes its note with it.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor

_NAME = "_headscript_note"
_following_kinds: dict[type, type] = {}


class Note(Protocol):
    """What can be noted: something of the texts of a batch."""

    def __len__(self) -> int:
        """How many texts."""

    def selected(self, rows: Tensor) -> Self:
        """The same of some of the texts, in the order of `rows`; never changes what is there."""


class _Held:
    """A note and whose it is."""

    def __init__(self, owner: object, note: Note) -> None:
        self.owner, self.note = owner, note

    def __deepcopy__(self, memo: dict[int, Any]) -> _Held:
        return self  # neither is ever changed


def put_note(cache: Any, owner: object, note: Note) -> None:
    """Keep a note on a cache, in place of one that was there."""
    if not hasattr(cache, _NAME):
        cache.__class__ = _following(type(cache))
    setattr(cache, _NAME, _Held(owner, note))


def note_of(cache: Any, owner: object) -> Any:
    """The note that `owner` put on a cache; None where there is none, or it is another's."""
    held = getattr(cache, _NAME, None)
    return held.note if held is not None and held.owner is owner else None


def _following(kind: type[Any]) -> type[Any]:
    """A kind of cache as it was, but that its note follows."""
    if kind in _following_kinds:
        return _following_kinds[kind]

    class Following(kind):  # type: ignore[misc]
        def reorder_cache(self, beam_idx: Tensor) -> None:
            super().reorder_cache(beam_idx)
            _follow(self, beam_idx)

        def batch_select_indices(self, indices: Tensor) -> None:
            super().batch_select_indices(indices)
            _follow(self, indices)

        def batch_repeat_interleave(self, repeats: int) -> None:
            super().batch_repeat_interleave(repeats)
            rows = torch.arange(len(getattr(self, _NAME).note))
            _follow(self, rows.repeat_interleave(repeats))

    Following.__name__, Following.__qualname__ = kind.__name__, kind.__qualname__
    _following_kinds[kind] = Following
    return Following


def _follow(cache: Any, rows: Tensor) -> None:
    held: _Held = getattr(cache, _NAME)
    setattr(cache, _NAME, _Held(held.owner, held.note.selected(rows.cpu())))
