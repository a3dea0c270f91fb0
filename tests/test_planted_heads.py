"""The search finds what heads were built to do, and says it in the right words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tests.planted import (
    LENGTH,
    PRONOUNS,
    SPEECH,
    Planted,
    planted_bert,
    planted_gpt2,
    planted_llama,
    stories,
)

from headscript.explaining import explain
from headscript.heads import Head
from headscript.language import Text, read_text
from headscript.packing import unpack
from headscript.programs import Program
from headscript.programs.terms import Term, parse_expression
from headscript.propose.bench import search_file
from headscript.propose.frontier import Frontier
from headscript.propose.search import Step, choose_step
from headscript.recording import Recording
from headscript.results import HeadResult
from headscript.runs import Run

TEXTS = 40
BUILDERS = {"gpt2": planted_gpt2, "llama": planted_llama, "bert": planted_bert}
PLANTED = [
    ("gpt2", "previous"),
    ("gpt2", "first"),
    ("gpt2", "same"),
    ("gpt2", "comma"),
    ("gpt2", "uniform"),
    ("gpt2", "decay"),
    ("gpt2", "power"),
    ("gpt2", "speech"),
    ("gpt2", "induction"),
    ("llama", "previous"),
    ("llama", "same or itself"),
    ("llama", "first"),
    ("llama", "speech to all pronouns"),
    ("bert", "next"),
    ("bert", "previous"),
    ("bert", "[CLS]"),
    ("bert", "same"),
]


@dataclass(frozen=True)
class Found:
    """What a run says of a planted head."""

    run: Run
    head: Head
    row: HeadResult
    step: Step
    program: Program

    def strength(self, names: Callable[[Term, float], bool]) -> float:
        """The share of the terms with such a weight in all that the program does."""
        step = self.step
        return sum(
            strength
            for term, weight, strength in zip(step.terms, step.weights, step.strengths, strict=True)
            if names(term, weight)
        )

    def towards(self, relation: str) -> float:
        """The share of terms that look to a relation more, whoever the query is."""
        return self.strength(
            lambda term, weight: term.relation == relation and term.key is None and weight > 0
        )

    def weight(self, term: Term) -> float:
        return dict(zip(self.step.terms, self.step.weights, strict=True))[term]

    def texts(self) -> list[Text]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(self.run.tokenizer_folder))
        return [
            read_text(tokenizer, text.token_ids, causal=self.run.model.causal)
            for text in self.run.texts("test")
        ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Planted, Run]]:
    """A model's heads explained by the main job, at the first asking."""
    made: dict[str, tuple[Planted, Run]] = {}

    def of(name: str) -> tuple[Planted, Run]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            planted = BUILDERS[name]()
            model = planted.save(folder / "model")
            texts = folder / "texts.jsonl"
            texts.write_text("".join(json.dumps({"text": t}) + "\n" for t in stories(TEXTS)))
            heads = ",".join(map(str, planted.heads))
            made[name] = (
                planted,
                explain(
                    str(model),
                    texts,
                    folder / "run",
                    heads=heads,
                    max_tokens=LENGTH,
                    workers=1,
                ),
            )
        return made[name]

    return of


@pytest.fixture
def found(runs: Callable[[str], tuple[Planted, Run]]) -> Callable[[str, str], Found]:
    def of(model: str, name: str) -> Found:
        planted, run = runs(model)
        (head,) = (head for head, planned in planted.heads.items() if planned == name)
        (row,) = (row for row in run.results().heads if Head(row.layer, row.head) == head)
        frontiers = map(Frontier.from_json, run.read_json(search_file(head.layer)))
        (frontier,) = (frontier for frontier in frontiers if frontier.head == head)
        config = run.config
        best = choose_step(frontier.steps, frontier.held_out, config.term_price, config.max_terms)
        program = Program.load(run.program_file(head))
        return Found(run, head, row, frontier.steps[best], program)

    return of


def test_the_list_is_complete() -> None:
    heads = [(model, name) for model, build in BUILDERS.items() for name in build().heads.values()]
    assert sorted(heads) == sorted(PLANTED)


@pytest.mark.parametrize(("model", "name"), PLANTED)
def test_each_planted_head_is_found(found, model, name):
    what = found(model, name)
    assert what.row.iou >= 0.98
    assert what.row.intended_iou >= 0.98
    assert what.row.terms <= 8
    assert what.row.status == "ok"


@pytest.mark.parametrize(
    ("model", "name", "relation"),
    [
        ("gpt2", "previous", "text.previous(1)"),
        ("gpt2", "first", "text.first"),
        ("gpt2", "same", "text.same_token"),
        ("gpt2", "comma", "text.latest(text.is_comma)"),
        ("gpt2", "induction", "text.after_same"),
        ("llama", "previous", "text.previous(1)"),
        ("llama", "same or itself", "text.same_token"),
        ("llama", "same or itself", "text.itself"),
        ("llama", "first", "text.first"),
        ("bert", "next", "text.following(1)"),
        ("bert", "previous", "text.previous(1)"),
        ("bert", "[CLS]", "text.first"),
        ("bert", "same", "text.same_token|text.same_word"),  # one and the same in lower case
    ],
)
def test_the_right_relation_is_named_in_the_right_direction(found, model, name, relation):
    what = found(model, name)
    named = relation.split("|")
    assert sum(map(what.towards, named)) > 0.25
    assert any(name in what.program.source for name in named)


@pytest.mark.parametrize(
    ("name", "relation", "rate"),
    [("decay", "text.distance", 0.3), ("power", "log(text.distance + 1)", 1.5)],
)
def test_the_law_of_decay_has_its_rate(found, name, relation, rate):
    assert found("gpt2", name).weight(Term(relation=relation)) == pytest.approx(-rate, rel=0.02)


def test_an_even_head_gets_no_term(found):
    what = found("gpt2", "uniform")
    assert what.row.terms == 0
    assert what.program.explanation == "Looks at all tokens alike."
    assert what.row.category == "broad"


@pytest.mark.parametrize(
    ("model", "name"), [("gpt2", "speech"), ("llama", "speech to all pronouns")]
)
def test_a_pair_of_classes_is_named_on_the_right_sides(found, model, name):
    """What draws attention to pronouns asks for verbs of saying as the query, never the reverse."""
    what = found(model, name)
    texts = what.texts()

    def picks(expression: str | None, words: list[str], side: float = 0.9) -> bool:
        """Whether a class holds for these words and hardly any other."""
        if expression is None:
            return False
        flags = torch.cat([parse_expression(expression)(text).float() for text in texts])
        wanted = torch.tensor([s.strip().lower() in words for text in texts for s in text.surfaces])
        inside, outside = flags[wanted].mean(), flags[~wanted].mean()
        return bool(inside > side * flags.max() and outside < 0.05)

    right = what.strength(
        lambda term, weight: picks(term.query, SPEECH) and picks(term.key, PRONOUNS) and weight > 0
    )
    swapped = what.strength(
        lambda term, weight: picks(term.query, PRONOUNS) or picks(term.key, SPEECH)
    )
    assert right > 0.04
    assert swapped == 0


def test_the_program_looks_where_the_head_was_built_to_look(found):
    """The mass itself, without a look at terms: from verbs of saying to pronouns near them."""
    what = found("gpt2", "speech")
    recording = Recording.open(what.run.recording_folder("test"))
    place = recording.heads_of(what.head.layer).index(what.head)
    compared = 0
    for number, text in enumerate(what.texts()):
        words = [surface.strip().lower() for surface in text.surfaces]
        predicted = what.program(text)
        actual = unpack(recording.layer(what.head.layer, [number])[0], len(text), True)[place]
        for query, word in enumerate(words):
            pronouns = [key for key in range(max(0, query - 12), query) if words[key] in PRONOUNS]
            if word in SPEECH and pronouns:
                assert predicted[query, pronouns].sum() > 0.8
                assert actual[query, pronouns].sum() > 0.8
                compared += 1
            elif word not in SPEECH:
                assert predicted[query, 0] > 0.95
    assert compared > 10


@pytest.mark.parametrize(
    ("model", "name", "category"),
    [
        ("gpt2", "previous", "sequential"),
        ("gpt2", "first", "first token"),
        ("gpt2", "comma", "delimiter"),
        ("bert", "next", "sequential"),
        ("bert", "[CLS]", "first token"),
    ],
)
def test_the_category_is_what_the_head_does(found, model, name, category):
    assert found(model, name).row.category == category


def test_the_headline_names_what_the_head_was_built_for(found):
    named = {
        ("gpt2", "previous"): "before",
        ("gpt2", "first"): "first token",
        ("gpt2", "comma"): "comma",
        ("gpt2", "decay"): "nearer",
        ("gpt2", "induction"): "followed",
        ("bert", "next"): "after",
        ("bert", "[CLS]"): "first token",
    }
    for (model, name), words in named.items():
        headline = found(model, name).program.explanation.split("\n\n")[0]
        assert words in " ".join(headline.lower().split()), (model, name)


def test_texts_are_as_a_tokenizer_leaves_them() -> None:
    planted = planted_gpt2()
    ids = planted.tokenizer("Tom said to the cat, then she ran.")["input_ids"]
    assert list(read_text(planted.tokenizer, ids).surfaces) == [
        "Tom", " said", " to", " the", " cat", ",", " then", " she", "<unk>", ".",
    ]  # fmt: skip


def test_stories_are_the_same_every_time() -> None:
    assert stories(5) == stories(5)
    assert len(set(stories(TEXTS))) == TEXTS
