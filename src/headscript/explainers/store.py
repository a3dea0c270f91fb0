"""Every answer, kept under the hash of what was asked, and what each was paid: one SQLite file.

Several processes may use it at once. An answer and its payment are written in one transaction, on
disk before anyone reads the answer, so that a killed run has paid for nothing that is not there.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from headscript.errors import HeadscriptError
from headscript.explainers.budget import Amount
from headscript.explainers.claims import Claims
from headscript.explainers.requests import Answer, Failure, FailureKind, Outcome, Request, is_final

_FORMAT = 1
_PATIENCE = 60  # seconds for which a process waits for others
_SCHEMA = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY,         -- SHA-256 of model, parameters, messages and sample
    model TEXT NOT NULL,
    request TEXT NOT NULL,        -- as JSON
    kind TEXT NOT NULL,           -- "answer", or the kind of the failure
    text TEXT NOT NULL,           -- of the answer, or of the failure
    finish_reason TEXT NOT NULL,
    input_tokens INTEGER,         -- as the server counts them
    output_tokens INTEGER,
    cost REAL,                    -- dollars, where a price was given
    body TEXT NOT NULL,           -- the server's answer as it came, as JSON
    at REAL NOT NULL              -- seconds since 1970
);
CREATE TABLE spending (
    at REAL NOT NULL,
    run TEXT NOT NULL,            -- who pays
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    what TEXT NOT NULL,           -- "answer", a kind of failure, or "lost": a try without an answer
    input_tokens INTEGER,         -- as the server counts them
    output_tokens INTEGER,
    cost REAL,
    counted_tokens REAL NOT NULL, -- what a budget counts: the most possible where it is not known
    counted_cost REAL NOT NULL
);
CREATE INDEX spending_by_run ON spending (run);
CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Spent:
    """What a run has used up, in all its sessions."""

    calls: int = 0
    """Answers that were paid for."""
    lost: int = 0
    """Tries that ended without an answer and may be charged for all the same."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """Dollars, of the calls whose cost is known."""
    without_cost: int = 0
    """Calls whose cost is not known, for want of a price or of a count of tokens."""
    counted_tokens: float = 0.0
    """What a budget counts: where the use is not known, and for lost tries, the most possible."""
    counted_cost: float = 0.0

    def __str__(self) -> str:
        text = f"{self.calls} calls, {self.input_tokens:,} tokens in, {self.output_tokens:,} out"
        if self.without_cost < self.calls:
            text += f", ${self.cost:,.4f}"
        if self.without_cost:
            text += f", the cost of {self.without_cost} not known"
        if self.lost:
            text += f"; {self.lost} tries without an answer may be charged for as well"
        return text


class Store:
    """Answers and payments in the file `path`; `run` says on whose account it pays.

    Raises HeadscriptError, here and in every method, where the file is of another kind or version,
    or cannot be read or written.
    """

    def __init__(self, path: str | Path, *, run: str = "") -> None:
        self.path = Path(path)
        self.run = run
        with self._clear_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One thread at a time uses it, but that may be another one than this.
            self._database = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._clear_errors():
                self._prepare()
                self._claims = Claims(self.path, self._database)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is claimed and close the file."""
        with self._clear_errors():
            self._claims.close()
        self._database.close()

    def get(self, key: str) -> Outcome | None:
        """The outcome kept under a key, marked as cached; None where there is none."""
        with self._clear_errors():
            row = self._database.execute(
                "SELECT kind, text, finish_reason, input_tokens, output_tokens, cost "
                "FROM answers WHERE key = ?",
                (key,),
            ).fetchone()
        if row is None:
            return None
        kind, text, finish_reason, input_tokens, output_tokens, cost = row
        if kind == "answer":
            return Answer(text, input_tokens, output_tokens, finish_reason, cost, cached=True)
        return Failure(FailureKind(kind), text, input_tokens, output_tokens, cost, cached=True)

    def put(
        self, key: str, model: str, request: Request, outcome: Outcome, body: str, counted: Amount
    ) -> None:
        """Keep what a server answered and book it; `counted` is what a budget counts it for.

        An answer, also an empty one and a refusal, is kept for good, the first one where there are
        two; what is malformed is booked, but may be asked for again.
        """
        what = "answer" if isinstance(outcome, Answer) else str(outcome.kind)
        text = outcome.text if isinstance(outcome, Answer) else outcome.message
        end = outcome.finish_reason if isinstance(outcome, Answer) else ""
        used = (outcome.input_tokens, outcome.output_tokens, outcome.cost)
        now = time.time()
        with self._transaction():
            if is_final(outcome):
                self._database.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (key, model, json.dumps(asdict(request)), what, text, end, *used, body, now),
                )
            self._book(now, key, model, what, used, counted)

    def lose(self, key: str, model: str, counted: Amount) -> None:
        """Book a try that ended without an answer but may be charged for."""
        with self._transaction():
            self._book(time.time(), key, model, "lost", (None, None, None), counted)

    def spent(self) -> Spent:
        """What this store's run has used up so far, in this session and those before."""
        with self._clear_errors():
            row = self._database.execute(
                "SELECT count(*) FILTER (WHERE what != 'lost'), "
                "count(*) FILTER (WHERE what = 'lost'), coalesce(sum(input_tokens), 0), "
                "coalesce(sum(output_tokens), 0), coalesce(sum(cost), 0.0), "
                "count(*) FILTER (WHERE what != 'lost' AND cost IS NULL), "
                "coalesce(sum(counted_tokens), 0.0), coalesce(sum(counted_cost), 0.0) "
                "FROM spending WHERE run = ?",
                (self.run,),
            ).fetchone()
        return Spent(*row)

    def claim(self, key: str) -> bool:
        """Say that this process asks now; False where another one that still runs has said so."""
        with self._clear_errors():
            return self._claims.take(key)

    def give_up(self, key: str) -> None:
        """Take a claim back, whether there is an answer now or not."""
        with self._clear_errors():
            self._claims.give_up(key)

    def bodies(self, keys: Iterable[str]) -> Iterator[str]:
        """What the servers sent for these keys, as JSON; none for a key that is not there."""
        for key in keys:
            with self._clear_errors():
                row = self._database.execute(
                    "SELECT body FROM answers WHERE key = ?", (key,)
                ).fetchone()
            if row is not None:
                yield row[0]

    def _book(
        self,
        now: float,
        key: str,
        model: str,
        what: str,
        used: tuple[int | None, int | None, float | None],
        counted: Amount,
    ) -> None:
        self._database.execute(
            "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (now, self.run, key, model, what, *used, counted.of("tokens"), counted.of("usd")),
        )

    def _prepare(self) -> None:
        self._write_ahead()
        self._database.execute("PRAGMA synchronous = FULL")  # an answer is money: on disk at once
        with self._transaction():  # of two processes, one makes the tables
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and tables == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")
            elif version != _FORMAT:
                raise HeadscriptError(
                    f"{self.path} is not a store of answers that this version can read; "
                    "name another file."
                )

    def _write_ahead(self) -> None:
        """SQLite does not wait here for others that open a new file at the same time."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._clear_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HeadscriptError(
                f"The store of answers {self.path} cannot be used ({error}); what it holds is kept."
            ) from error
