import json
import re

import pytest
import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.language import Text
from headscript.packing import pack_rows
from headscript.propose.llm.contrasts import Contrasts
from headscript.propose.llm.drawing import Drawing
from headscript.propose.llm.facts import count_facts
from headscript.propose.llm.observed import Observed, observe
from headscript.propose.llm.pairs import TOP_SHARE
from headscript.propose.llm.showing import SHOWN_TOKENS, estimated_tokens
from headscript.propose.llm.summary import summarise

PAIR = re.compile(r'^(\d+) ".*" -> (\d+) ".*" (\d\.\d\d)$')


def case(causal: bool = True, seed: int = 0):
    texts = random_texts([40, 30, 50, 25, 35, 45, 20, 30], causal=causal, seed=seed)
    return texts, [packed[0] for packed in random_patterns(texts, 1, seed=seed)]


def pairs(summary: str) -> list[tuple[int, int, float]]:
    found = [PAIR.match(line) for line in summary.splitlines()]
    return [(int(m[1]), int(m[2]), float(m[3])) for m in found if m]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("budget", [150, 700, 4_000])
def test_it_keeps_to_its_budget(causal, budget):
    told = summarise(*case(causal), budget_tokens=budget)
    assert 0 < estimated_tokens(told) <= budget


def test_more_budget_shows_more_pairs_of_several_texts():
    little, much = (summarise(*case(), budget_tokens=budget) for budget in (700, 3_000))
    assert len(pairs(little)) < len(pairs(much))
    assert len(re.findall(r"^Text \d+:", much, re.MULTILINE)) >= 5


def test_the_same_input_gives_the_same_summary():
    assert summarise(*case()) == summarise(*case())


def test_pairs_are_of_the_strongest_and_never_of_a_decoders_first_row():
    texts, patterns = case()
    told = pairs(summarise(texts, patterns))
    assert told
    assert min(query for query, _, _ in told) >= 1
    below_first = torch.cat([packed[1:] for packed in patterns])
    bar = below_first.topk(round(TOP_SHARE * len(below_first))).values[-1]
    apart = [weight for query, key, weight in told if key not in (0, query)]
    # Those apart from first token and diagonal have a bar of their own, which is lower here.
    assert all(weight >= 0.5 * bar for weight in apart)


def test_strong_and_medium_weights_are_both_seen():
    text = random_texts([60])[0]
    pattern = torch.full((60, 60), 1e-4).tril()
    for query in range(6, 60):
        pattern[query, 3] = 0.9 if query % 2 else 0.15
    told = pairs(summarise([text], [pack_rows(pattern, True)], budget_tokens=600))
    strengths = {weight for _, key, weight in told if key == 3}
    assert {0.9, 0.15} <= strengths


def test_spaces_and_line_breaks_can_be_seen():
    words = ["Once", " upon", "\n", " a", '"', " time"]
    text = Text(words, range(6), 6)
    pattern = torch.zeros(6, 6)
    pattern[:, 0] = 0.2
    pattern[2:, 2] = 0.8
    told = summarise([text], [pack_rows(pattern, True)])
    assert '5 " time" -> 2 "\\n" 0.80' in told
    assert '"Once upon\\n a\\" time"' in told


def observed_head(texts: list[Text], weigh, causal: bool = True) -> list[Observed]:
    """A head whose rows are in proportion to weigh(text), (n, n)."""
    patterns = []
    for text in texts:
        pattern = weigh(text).float() * text.allowed
        patterns.append(pack_rows(pattern / pattern.sum(1, keepdim=True), causal))
    return observe(texts, patterns)


def spread_by_distance(text: Text) -> torch.Tensor:
    weights: torch.Tensor = 1 / (text.distance.float() + 1)
    return weights


def nothing_aside(observed: list[Observed]) -> list[torch.Tensor]:
    return [torch.zeros(len(seen.text), dtype=torch.bool) for seen in observed]


@pytest.mark.parametrize("causal", [True, False])
def test_facts_are_true_of_a_made_up_head(causal):
    texts = random_texts([20, 30], causal=causal)
    patterns = []
    for text in texts:
        n = len(text)
        pattern = torch.zeros(n, n)
        pattern[:, 0] += 0.5
        pattern += 0.25 * torch.eye(n)
        commas = text.is_comma.clone()
        commas[0] = False
        for query in range(n):
            allowed = commas & (torch.arange(n) != query)
            if causal:
                allowed &= torch.arange(n) < query
            if allowed.any():
                pattern[query] += 0.25 * allowed / allowed.sum()
            else:
                pattern[query, 0] += 0.25
        patterns.append(pack_rows(pattern, causal))
    observed = observe(texts, patterns)
    facts = count_facts(observed)
    begin = 1 if causal else 0
    assert facts.rows == sum(len(text) - begin for text in texts)
    told = summarise(texts, patterns)
    assert re.search(r'tokens that draw more: "," 1\.00', told)
    assert "text.is_comma 1.00" in told
    assert f"on the token itself {facts.itself / facts.rows:.2f}" in told


def test_expected_weights_keep_the_weight_of_each_row():
    for seen in observe(*case()):
        assert torch.allclose(seen.expected.sum(1), (seen.pattern * seen.apart).sum(1))
        assert not seen.expected[~seen.apart].any()


def test_what_is_near_does_not_stand_out_by_that_alone():
    observed = observed_head(random_texts([120] * 6), spread_by_distance)
    told = "\n".join(Contrasts(observed, nothing_aside(observed), "").lines())
    assert "relations that draw more: none" in told
    assert "classes of keys that draw more: none" in told
    assert "less" not in told

    def sentence(text):
        return spread_by_distance(text) * (1 + 4 * text.same_sentence)

    observed = observed_head(random_texts([120] * 6), sentence)
    told = "\n".join(Contrasts(observed, nothing_aside(observed), "").lines())
    assert re.search(r"relations that draw more: text\.same_sentence", told)


def test_what_draws_less_is_told():
    def shy(text):
        return spread_by_distance(text) * (1 - 0.9 * text.is_comma.float())

    observed = observed_head(random_texts([80] * 5), shy)
    drawing = Drawing(observed)
    assert drawing.tokens == []
    assert drawing.tokens_less == [","]
    told = "\n".join(Contrasts(observed, drawing.aside(), "").lines())
    assert re.search(r"classes of keys that draw less: text\.is_comma 0\.0\d \(0\.1 times\)", told)


def test_queries_that_differ_are_told_with_where_they_look():
    def linked(text):
        link = text.is_pronoun[:, None] & text.is_name[None, :]
        return spread_by_distance(text) * (1 + 9 * link)

    observed = observed_head(random_texts([80] * 6), linked)
    lines = list(Contrasts(observed, nothing_aside(observed), "").query_lines())
    assert re.match(r"  - text\.is_(subject_)?pronoun \(.*more on text\.is_name", lines[0])
    ((value, usual),) = re.findall(r"more on text\.is_name (\S+) \((\S+)\)", lines[0])
    assert float(value) > 2 * float(usual)


def test_queries_that_only_stand_early_do_not_differ():
    words = [" to", " the", " of", " and"] * 10 + [" red", " cat", " ran", " far"] * 10
    texts = [story([*words, *words]) for _ in range(4)]

    def fading(text):
        first = 400 * text.first / (text.position + 1)[:, None]
        return spread_by_distance(text) + first

    observed = observed_head(texts, fading)
    told = "\n".join(Contrasts(observed, nothing_aside(observed), "").query_lines())
    assert "the first token" not in told


@pytest.mark.parametrize("causal", [True, False])
def test_nothing_stands_out_in_a_random_head(causal):
    texts = random_texts([60] * 8, causal=causal)
    observed = observe(texts, [packed[0] for packed in random_patterns(texts, 1)])
    contrasts = Contrasts(observed, nothing_aside(observed), "")
    assert not list(contrasts.query_lines())
    assert Drawing(observed).tokens == []


def story(words: list[str]) -> Text:
    return Text(words, range(len(words)), len(words))


def test_a_word_of_one_story_is_no_drawing_token():
    texts = [
        story([" so", hero, " ran", " the", ",", " red"] * 8) for hero in (" Al", " Bo", " Cy")
    ]

    def heroic(text):
        names = torch.tensor([surface in (" Al", " Bo", " Cy") for surface in text.surfaces])
        return torch.ones(len(text), len(text)) + 5 * names + 5 * text.is_determiner

    drawing = Drawing(observed_head(texts, heroic))
    assert drawing.tokens == [" the"]


def test_what_stands_before_drawing_places_is_told():
    words = [" saw", " the", " cat", ",", " to", " the", " red", "."] * 6
    texts = [story(words) for _ in range(4)]

    def after_preposition(text):
        chosen = text.is_determiner & text.after(text.is_preposition)
        return torch.ones(len(text), len(text)) + 20 * chosen

    told = "\n".join(Drawing(observed_head(texts, after_preposition)).lines())
    assert re.search(r'which " the" draws: .*after (" to"|text\.is_preposition) (1\.[3-9]|2)', told)
    assert re.search(r'after (" saw"|text\.is_content_word) 0\.\d times', told)


def with_sinks() -> tuple[list[Text], list[torch.Tensor]]:
    """Most weight on the first token and on place 5; the rest on the three tokens before."""
    texts, patterns = random_texts([90, 200, 120, 100]), []
    for text in texts:
        pattern = torch.zeros(len(text), len(text))
        pattern[:, 0] += 0.3
        pattern[5:, 5] += 0.4
        for back, weight in ((1, 0.1), (2, 0.06), (3, 0.04)):
            pattern += weight * torch.diag(torch.ones(len(text) - back), -back)
        patterns.append(pack_rows(pattern / pattern.sum(1, keepdim=True), True))
    return texts, patterns


def test_at_least_half_of_the_pairs_are_apart_from_the_sinks():
    told = summarise(*with_sinks())
    assert "sinks, 4 places in 4 texts" in told
    apart: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    kept = other
    for line in told.splitlines():
        if line in ("Set apart:", "Any:"):
            kept = apart if line == "Set apart:" else other
        elif found := PAIR.match(line):
            kept.append((int(found[1]), int(found[2])))
    assert len(apart) >= len(other) > 0
    assert all(key not in (0, 5, query) for query, key in apart)
    assert any(key in (0, 5) for _, key in other)


def test_places_can_be_found_in_the_text_that_is_printed():
    texts, patterns = with_sinks()
    told = summarise(texts, patterns)
    assert max(query for query, _, _ in pairs(told)) < SHOWN_TOKENS < 200
    printed = re.findall(r"^Text \d+: (.*)$", told, re.MULTILINE)
    assert sum(line.endswith('" ...') for line in printed) == 1
    surfaces = [
        next(t.surfaces for t in texts if json.dumps("".join(t.surfaces[:20]))[1:-1] in line)
        for line in printed
    ]
    for line, tokens in zip(printed, surfaces, strict=True):
        before, after = line.split("[40]")
        assert after.startswith(json.dumps("".join(tokens[40:60]))[1:-1])
        assert before.endswith(json.dumps("".join(tokens[20:40]))[1:-1])


def test_whole_rows_are_shown():
    texts, patterns = with_sinks()
    rows = re.findall(
        r"^Whole row of (\d+) .*, keys from 0.02: (.*)$", summarise(texts, patterns), re.M
    )
    assert len(rows) == 2
    for _, keys in rows:
        weights = [float(weight) for weight in re.findall(r" (0\.\d\d)(?:,|$)", keys)]
        assert len(weights) == 5
        assert sum(weights) == pytest.approx(1, abs=0.05)


def test_pieces_of_words_are_told_where_words_are_split():
    texts = [story([" un", "der", "stand", " to", " wh", "ole"] * 6) for _ in range(2)]

    def opener(text):
        own = (text.between(text.starts_word) == 0) & text.starts_word[None, :]
        return 0.01 + own + text.itself

    told = "\n".join(count_facts(observed_head(texts, opener)).piece_lines())
    (share,) = re.findall(
        r"go on with a word put on the first piece of the query's own word (\S+)", told
    )
    assert 0.3 < float(share) < 0.55
    whole = observed_head(random_texts([40]), spread_by_distance)
    assert not list(count_facts(whole).piece_lines())


def test_texts_of_one_token_say_nothing_and_break_nothing():
    text = random_texts([1])[0]
    assert isinstance(summarise([text], [torch.ones(1)]), str)
