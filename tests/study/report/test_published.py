"""The paper's figures are known for the models of its study."""

from __future__ import annotations

from headscript.study import open_study
from headscript.study.report import published


def test_the_papers_models_are_known_by_name_and_by_number_of_heads() -> None:
    for source, heads, name in (
        ("openai-community/gpt2", 144, "GPT-2 small"),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 704, "TinyLlama-1.1B"),
        ("meta-llama/Llama-3.2-3B", 672, "Llama-3.2-3B"),
        ("models/bert-base-uncased/", 144, "BERT-base"),
    ):
        found = published.published_of(source, heads)
        assert found is not None
        assert found.name == name
        assert published.published_of(source, heads - 1) is None
    assert published.published_of("smollm2-135m", 144) is None


def test_the_papers_study_has_figures_for_each_of_its_models() -> None:
    for model in open_study("paper").study.models:
        found = published.published_of(model.source, model.layers * model.heads_per_layer)
        assert found is not None
