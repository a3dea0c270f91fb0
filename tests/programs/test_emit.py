"""From terms to source: the same pattern, tidy layout, and words that are true to the terms."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import texts, weighted_terms
from tests.programs.test_program import as_python

from headscript.errors import HeadscriptError
from headscript.programs import Program, Term, emit, explain_terms
from headscript.programs.explanation import clause
from headscript.programs.naming import constant_name, free_name, words_name

FOUND = [
    (Term(relation="text.first"), 4.06),
    (Term(relation="log(text.distance+1)"), -0.44),
    (Term("log(text.position+1)", "text.nth(text.one_of(' the'), 1)"), 0.64),
    (Term(None, "text.same_sentence", "text.one_of(' a', ' upon', ' to', ' and', '.\"')"), 0.57),
    (Term("text.one_of(' was', ' time')", "text.sentence_start"), -0.52),
    (Term(None, "log(text.distance+1)", "text.after(text.is_preposition)"), 0.19),
    (Term(None, "text.nth(text.one_of(' the'), 2)", "text.after(text.is_preposition)"), 1.55),
    (Term("text.in_quote", "text.first"), 0.48),
    (Term(None, "log(text.between(text.is_content_word)+1)", "text.is_name"), 0.3),
]
TERMS, WEIGHTS = [term for term, _ in FOUND], [weight for _, weight in FOUND]

SMALL = '''"""Head L05H03 of m, as headscript found it."""

from headscript.language import key, log, run, softmax


def attend(text, first=4.06, recency=0.44, to_commas=1.0):
    """Says so."""
    return softmax(
        first * text.first - recency * log(text.distance + 1) + to_commas * key(text.is_comma)
    )


if __name__ == "__main__":
    run(attend)
'''


def direct(terms, weights, text):
    """The softmax of the sum of terms, as plainly as it can be said."""
    n = len(text)
    total = torch.zeros(n, n)
    for term, weight in zip(terms, weights, strict=True):
        total = total + weight * term.feature(text)
    return total.masked_fill(~text.allowed, -torch.inf).softmax(-1)


@settings(max_examples=150, deadline=None)
@given(st.booleans().flatmap(lambda causal: texts(causal=causal)), weighted_terms)
def test_the_program_computes_the_terms(text, chosen):
    terms, weights = [term for term, _ in chosen], [weight for _, weight in chosen]
    program = emit("L00H01", "m", terms, weights, causal=text.causal)
    assert len(program) == len(terms)
    assert [abs(w) for w in weights] == pytest.approx(list(program.constants.values()))
    pattern = program(text)
    torch.testing.assert_close(pattern, direct(terms, weights, text), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(pattern, as_python(program.source, text), rtol=1e-3, atol=1e-5)
    assert Program.parse(program.source, "L00H01") == program


def test_a_small_program_reads_like_this():
    terms = [*TERMS[:2], Term(key="text.is_comma")]
    program = emit("L05H03", "m", terms, [4.06, -0.44, 1], causal=True, explanation="Says so.")
    assert program.source == SMALL


def test_what_the_search_finds_is_laid_out_as_by_a_formatter():
    program = emit("L05H03", "smollm2-135m", TERMS, WEIGHTS, causal=True)
    assert 'a_upon_to_etc = text.one_of(" a", " upon", " to", " and", \'."\')' in program.source
    assert "after_prepositions = text.after(text.is_preposition)" in program.source
    assert "- recency * log(text.distance + 1)\n" in program.source
    assert "+ from_in_quotes_to_first * (query(text.in_quote) & text.first)\n" in program.source
    assert max(map(len, program.source.splitlines())) <= 100
    if find_spec("ruff") is None:
        pytest.skip("needs ruff, which the extra dev installs")
    for causal in (True, False):
        source = emit("L05H03", "m", TERMS, WEIGHTS, causal=causal).source
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "100", "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == source


def test_names_are_valid_and_unique():
    taken: set[str] = set()
    for term in [*TERMS, *TERMS]:
        name = constant_name(term, 1.0, taken)
        assert name.isidentifier()
        assert len(name) <= 40
        assert name not in taken
        taken.add(name)
    assert {"first", "remoteness", "from_in_quotes_to_first"} <= taken
    assert constant_name(Term(key="text.is_comma"), 1, ()) == "to_commas"
    assert constant_name(Term(relation="text.previous(2)"), 1, ()) == "previous_2"
    assert constant_name(Term(), 1, ()) == "bias"
    assert constant_name(Term("text.is_name", "text.first"), 1, ()) == "from_names_to_first"
    assert free_name("log", ()) == "log_2"
    assert words_name([" and"]) == "word_and"
    assert words_name([","]) == "comma"
    assert words_name([" a", " A", "the", " b"]) == "a_the_etc"
    assert words_name(["∞"]) == "token"
    assert words_name([" 7"]) == "word_7"


@pytest.mark.parametrize(
    ("term", "weight", "said"),
    [
        (Term(relation="text.first"), 4, "rests on the first token"),
        (Term(relation="text.first"), -4, "rests less on the first token"),
        (Term(relation="text.itself"), 1, "stays on the token itself"),
        (Term(relation="text.previous(1)"), 1, "looks back to the token just before"),
        (Term(relation="text.previous(3)"), 1, "looks back to the third token before"),
        (Term(relation="text.within(5)"), 1, "looks back to tokens at most 5 away"),
        (Term(key="text.is_comma"), -1, "looks back less to commas"),
        (Term("text.is_name", None, "text.is_comma"), 1, "from names, looks back to commas"),
        (Term(relation="log(text.distance + 1)"), -1, "prefers nearer tokens"),
        (Term(relation="text.distance"), 1, "prefers farther tokens"),
        (
            Term("text.is_name", "log(text.distance + 1)"),
            -1,
            "from names, prefers nearer tokens",
        ),
        (
            Term(None, "log(text.distance + 1)", "text.is_comma"),
            -1,
            "looks back less to commas, more so the farther away it is",
        ),
        (Term(key="text.rarity"), 1, "looks back more to a token the rarer it is"),
        (
            Term("text.rarity", "text.first"),
            1,
            "rests on the first token, more so the rarer the query is",
        ),
        (
            Term(relation="text.latest(text.is_comma)"),
            1,
            "looks back to the latest of the commas",
        ),
        (Term(relation="text.latest(text.one_of(' the'))"), 1, "looks back to the latest 'the'"),
        (
            Term(relation="text.nth(text.one_of(' a', ' b', ' c'), 2)"),
            1,
            "looks back to the second of 'a', 'b' or 'c'",
        ),
        (Term(key="text.one_of('\\n')"), 1, "looks back to line break"),
        (Term(key="text.ends_with('ing')"), 1, "looks back to words in -ing"),
        (Term(key="~text.is_comma"), 1, "looks back to what is not among commas"),
        (
            Term(None, "text.same_sentence", "text.is_name | text.is_new"),
            1,
            "looks back to tokens of the same sentence, when among names or tokens seen for the "
            "first time",
        ),
        (Term(key="text.rarity > 0.5"), 1, "looks back to `text.rarity > 0.5`"),
        (Term("text.is_name"), 1, "from names, looks back to all tokens"),
    ],
)
def test_terms_in_words(term, weight, said):
    assert clause(term, weight) == said


def test_explanations_follow_the_strengths():
    shares = [0.55, 0.02, 0.02, 0.15, 0.05, 0.05, 0.1, 0.05, 0.009]
    said = explain_terms(TERMS, WEIGHTS, shares)
    assert said.startswith("Mostly rests on the first token; looks back to tokens of the same")
    assert "(+4.06, 55 %)" in said
    assert "(+0.3, < 1 %)" in said
    assert (
        said.index("rests on the first token (") < said.index("second 'the'") < said.index("names")
    )
    assert all(len(line) <= 92 for line in said.splitlines())
    assert explain_terms([], []) == "Looks at all tokens alike."
    assert explain_terms(TERMS[:1], [1.0]) == "Rests on the first token."
    assert explain_terms(TERMS[3:4], [1.0], causal=False).startswith("Looks to tokens")


def test_awkward_explanations_stay_docstrings(tmp_path):
    for explanation in (
        'Ends with a quote"',
        'has """ inside',
        "back\\slash \\n",
        "two\n\nparts",
        "",
    ):
        program = emit("L0H0", "m", TERMS[:1], [1.0], causal=True, explanation=explanation)
        assert program.explanation == explanation


def test_terms_must_fit():
    with pytest.raises(HeadscriptError, match="9 != 1"):
        emit("L0H0", "m", TERMS, [1.0], causal=True)
    with pytest.raises(HeadscriptError, match="key of a term must be a token property"):
        emit("L0H0", "m", [Term(key="text.first")], [1.0], causal=True)
    with pytest.raises(HeadscriptError, match=r"did you mean text\.is_comma"):
        emit("L0H0", "m", [Term(key="text.is_coma")], [1.0], causal=True)


def test_long_lists_of_tokens_wrap():
    tokens = ", ".join(repr(f" token{number}") for number in range(60))
    program = emit("L0H0", "m", [Term(key=f"text.one_of({tokens})")], [1.0], causal=True)
    assert max(map(len, program.source.splitlines())) <= 100
    assert "and 55 other tokens" in program.source


def test_emitted_files_run(tmp_path):
    path = tmp_path / "L05H03.py"
    emit("L05H03", "m", TERMS, WEIGHTS, causal=True).save(path)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rests on the first token" in done.stdout
