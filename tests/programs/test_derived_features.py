"""Features by compiled code are those of the bank."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import SURFACES, own_entries, texts
from tests.programs.test_bank import programs

from headscript.kernels import available
from headscript.language import Text
from headscript.programs import Program
from headscript.programs.bank import Bank

if available("numba") is not None:
    pytest.skip(f"numba: {available('numba')}", allow_module_level=True)

from headscript.programs.derived_entries import ENTRIES
from headscript.programs.derived_features import DerivedFeatures

SAID = """
text.starts_word | text.continues_word
-text.position / (text.sentence_position + 1)
2 - text.sentence * 3 - text.occurrence
~text.after(text.is_name) & (1 > text.rarity)
text.in_quote * text.rarity * text.after(text.after(text.rarity))
where(text.is_new, text.position, 0.5)
text.position ** 2
minimum(text.sentence_position, 3) + text.opens_sentence
"""
RELATED = """
text.previous(2) | text.itself
(key(text.is_new) | query(text.in_quote)) & ~text.same_token
key(text.rarity) - query(text.rarity) > 0.1
exp(-text.distance / 3) * sqrt(query(text.position))
log(text.between(text.starts_word) + 1) * text.within(4) * text.latest(text.is_name)
maximum(text.sentence_distance, text.between(text.rarity))
text.after_same_pair | text.before_same | text.same_before & text.earlier
text.similarity * text.following(1) * 2.5
text.first | text.last | text.at(2) | text.nth(text.is_comma | text.is_new, 2)
text.latest(text.position > 2) & (text.sentence_distance <= 1)
text.nth(text.rarity, 1) * text.before(text.after(text.is_comma)) * text.sentence_start
text.same_word * text.same_sentence * text.after_same
query(text.rarity) * 3 * text.allowed
"""


def program(feature: str, causal: bool = True) -> Program:
    rest = "" if causal else ", text.allowed"
    return Program.parse(
        f"def attend(text, c=0.5):\n    named = {feature}\n"
        f"    return softmax(c * named + c * text.first * 2{rest})\n"
    )


def every_entry() -> list[str]:
    """Each entry of the language, with arguments where it takes some."""
    found = []
    for entry in own_entries("token property") + own_entries("relation"):
        given = {"property": "text.is_comma", "k": "2", "place": "1", "ending": "'s'"}
        arguments = [given.get(name, '" the"') for name in entry.parameters]
        said = f"text.{entry.name}" + (f"({', '.join(arguments)})" if arguments else "")
        found.append(said if entry.kind == "relation" else f"query({said}) * key({said})")
    return found


def lifted(said: str) -> str:
    return f"query({said}) * key({said})"


def every_program(causal: bool) -> list[Program]:
    features = [*map(lifted, SAID.strip().splitlines()), *RELATED.strip().splitlines()]
    return [program(feature, causal) for feature in [*features, *every_entry()]]


def derived_of(bank: Bank) -> tuple[DerivedFeatures, torch.Tensor]:
    """All features of a bank, and for each its relation or -1, its query and its key."""
    group = bank.group(range(len(bank.programs)))
    features = [
        (relation, query, key)
        for relation, sums in group.sums.items()
        for addends in sums.values()
        for query, key, _, _ in addends
    ]
    return DerivedFeatures(bank, features), torch.tensor(features, dtype=torch.long).reshape(
        -1, 3
    ).T


def product(query: torch.Tensor, relation: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """(features, queries, keys)."""
    return query[:, :, None] * relation * key[:, None, :]


def assert_as_the_bank(bank: Bank, derived: DerivedFeatures, asked, text: Text) -> None:
    n = len(text)
    space = derived.of(text)
    assert space.rows.shape[1] % 16 == space.squares.shape[1] % 16 == 0
    assert not space.rows[:, n:].any()
    assert derived.relation.max(initial=-1) < derived.relations
    features = bank.features([text])
    ones = torch.ones(1, n, n)
    expected = product(
        features.query[0][asked[1]],
        torch.cat([features.relation[0], ones])[asked[0]],
        features.key[0][asked[2]],
    )
    found = product(
        space.rows[derived.query, :n],
        torch.cat([space.squares[:, :n, :n], ones])[derived.relation],
        space.rows[derived.key, :n],
    )
    if text.causal:
        found, expected = found.tril(), expected.tril()
    torch.testing.assert_close(found, expected, equal_nan=True)
    derived.release([space])


@settings(max_examples=40, deadline=None)
@given(programs(), st.lists(texts(), min_size=1, max_size=4))
def test_of_random_programs(found, batch):
    bank = Bank(found)
    derived, asked = derived_of(bank)
    for text in batch:
        assert_as_the_bank(bank, derived, asked, text)


@pytest.mark.parametrize("causal", [True, False])
def test_of_each_entry_and_operation_on_texts_of_many_lengths(causal):
    bank = Bank(every_program(causal), causal=causal)
    derived, asked = derived_of(bank)
    assert all(addends is not None for addends in bank._addends)
    draw = torch.Generator().manual_seed(0)
    for length in [1, 2, 15, 16, 17, 40, 33, 33, 48, 3]:
        for most in (4, len(SURFACES)):  # few different tokens, and many
            chosen = torch.randint(most, (length,), generator=draw).tolist()
            surfaces = [SURFACES[number] for number in chosen]
            special = [surface == "<s>" for surface in surfaces]
            embeddings = torch.randn(length, 5, generator=draw)
            text = Text(surfaces, chosen, 60, causal=causal, special=special, embeddings=embeddings)
            assert_as_the_bank(bank, derived, asked, text)


def test_nearly_all_entries_have_steps():
    """What torch computes is slower by far."""
    without = {
        entry.name
        for kind in ("token property", "relation")
        for entry in own_entries(kind)
        if entry.reach != 0 and entry.name not in ENTRIES
    }
    assert without == {"similarity"}


def test_tokens_are_forgotten_when_too_many_were_seen(monkeypatch):
    from headscript.programs import derived_features

    monkeypatch.setattr(derived_features, "_MOST_VALUES", 40)
    bank = Bank(every_program(True)[:6])
    derived, asked = derived_of(bank)
    sizes = []
    for begin in range(0, len(SURFACES) - 3, 3):
        chosen = list(range(begin, begin + 3))
        text = Text([SURFACES[number] for number in chosen], chosen, 60)
        assert_as_the_bank(bank, derived, asked, text)
        sizes.append(len(derived._tokens._number_of))
    assert sorted(sizes) != sizes


def test_names_within_names():
    for first in ("text.is_comma | text.is_new", "text.after(text.is_comma)", "text.itself"):
        names = [f"    x{n + 1} = x{n} & x{n}\n" for n in range(10)]
        source = f"def attend(text, c=1.0):\n    x0 = {first}\n{''.join(names)}"
        value = "x10" if first == "text.itself" else "query(x10)"
        bank = Bank([Program.parse(f"{source}    return softmax(c * {value})\n")])
        assert_as_the_bank(bank, *derived_of(bank), Text(["a", ",", "b"], [0, 1, 2], 3))


def test_what_a_program_would_refuse_is_refused():
    bank = Bank([program("text.same_word - text.same_token")])
    text = Text(["a", " b"], [0, 1], 2)
    for features in (lambda: bank.features([text]), lambda: derived_of(bank)[0].of(text)):
        with pytest.raises(RuntimeError, match="bool"):
            features()
