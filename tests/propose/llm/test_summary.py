import re

import pytest
import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.language import Text
from headscript.packing import pack_rows
from headscript.propose.llm.facts import count_facts
from headscript.propose.llm.showing import estimated_tokens
from headscript.propose.llm.summary import TOP_SHARE, summarise

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
    facts = count_facts(texts, patterns)
    begin = 1 if causal else 0
    assert facts.rows == sum(len(text) - begin for text in texts)
    assert facts.classes["text.is_comma"].found == pytest.approx(facts.rest, rel=1e-4)
    assert facts.classes["text.is_comma"].even < 0.6 * facts.rest
    told = "\n".join(facts.lines())
    assert re.search(r'tokens that draw more: "," 1\.00', told)
    assert "text.is_comma 1.00" in told
    assert f"on the token itself {facts.itself / facts.rows:.2f}" in told


def test_texts_of_one_token_say_nothing_and_break_nothing():
    text = random_texts([1])[0]
    assert isinstance(summarise([text], [torch.ones(1)]), str)
