"""Giving items to workers that may die: what processes and Ray actors have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from headscript.engines.worker import READY, Answer, Post
from headscript.errors import HeadscriptError

_TRIES = 3  # workers that an item may kill, or that may fail to start one after another


@dataclass(frozen=True)
class Died:
    """A worker that will answer no more."""

    reason: str


class Team(ABC):
    """Workers by number. Each answers READY first, and then every item that it is given."""

    def __init__(self) -> None:
        self.peak_bytes = 0

    def work(self, post: Post, items: Sequence[str], weights: int = 0) -> Generator[str]:
        """Do the items, by workers told `post`; yields each once it is done.

        `weights` is how many bytes of weights each worker loads. Raises HeadscriptError and gives
        up what is in hand as `Engine.run` says, and RuntimeError for a mistake of the program.
        """
        waiting = deque(items)
        most = min(len(items), self.room(weights))
        in_hand: dict[int, str] = {}
        idle: list[int] = []
        peaks: dict[int, int] = {}
        deaths: Counter[str] = Counter()
        try:
            while True:
                while waiting and idle:
                    worker = idle.pop()
                    in_hand[worker] = waiting.popleft()
                    self.give(worker, in_hand[worker])
                undone = len(waiting) + sum(item != READY for item in in_hand.values())
                if not undone:
                    return
                while len(in_hand) + len(idle) < min(most, undone):
                    in_hand[self.start(post, weights)] = READY
                for worker, answer in self.wait(list(in_hand)):
                    item = in_hand.pop(worker)
                    if isinstance(answer, Died):
                        self.end(worker)
                        deaths[item] += 1
                        if deaths[item] == _TRIES:
                            raise HeadscriptError(_given_up(item, answer.reason))
                        if item != READY:
                            waiting.appendleft(item)
                        continue
                    idle.append(worker)
                    peaks[worker] = answer.peak
                    if answer.error:
                        raise HeadscriptError(answer.error)
                    if answer.broke:
                        raise RuntimeError(f"{item or 'a worker'} broke:\n{answer.broke}")
                    if item == READY:
                        deaths[READY] = 0
                    else:
                        yield item
        finally:
            for worker in (*idle, *in_hand):
                self.end(worker)
            together = sum(sorted(peaks.values())[-most:]) if most else 0
            self.peak_bytes = max(self.peak_bytes, together)

    @abstractmethod
    def room(self, weights: int) -> int:
        """How many workers there is room for, each with so many bytes of weights; one at least.

        Raises HeadscriptError where there is none.
        """

    @abstractmethod
    def start(self, post: Post, weights: int) -> int:
        """Start a worker; gives its number."""

    @abstractmethod
    def give(self, worker: int, item: str) -> None:
        """Give an item to a worker that has none."""

    @abstractmethod
    def wait(self, workers: Sequence[int]) -> list[tuple[int, Answer | Died]]:
        """Wait until one of the workers has answered or died; all that have by then."""

    @abstractmethod
    def end(self, worker: int) -> None:
        """End a worker, whatever it is doing; also one that has died."""


def _given_up(item: str, reason: str) -> str:
    if item == READY:
        return f"Workers end before they can begin ({reason})."
    return (
        f"{_TRIES} processes that worked on {item!r} ended before their time ({reason}), perhaps "
        "for want of memory; start again, finished work is kept (fewer --workers take less memory)."
    )
