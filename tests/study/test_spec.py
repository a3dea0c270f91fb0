"""What a study file may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from headscript.errors import HeadscriptError
from headscript.study import SHIPPED, open_study
from headscript.study.planning import Speed, plan
from headscript.study.steps import steps_of

SPEED = Speed(1e11, 2)
FILE = """
title = "Two models"
sentences = ["One two three."]

[[models]]
name = "first"
source = "{model}"
parameters = 1e6
layers = 2
heads_per_layer = 4

[[models]]
name = "second"
source = "DATA/there"
causal = false
optional = true
parameters = 2e6
layers = 1
heads_per_layer = 2

[[texts]]
name = "tales"
source = "stories"
max_texts = 10
max_tokens = 20
mean_tokens = 20

[[texts]]
name = "sums"
source = "maths"
max_texts = 10
max_tokens = 20
mean_tokens = 20

[replace]
texts = ["tales"]

[tune]
texts = ["tales"]

[quick]
texts = [{ name = "tales", max_texts = 4 }]

[quick.tune]
texts = []
"""


def written(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    file = folder / "study.toml"
    content = FILE.replace("{model}", "smollm2-135m").replace("DATA", "{data}")
    assert change[0] in content
    file.write_text(content.replace(*change) if change[0] else content)
    return file


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("quick", [False, True])
def test_the_studies_that_come_with_headscript_can_be_planned(name: str, quick: bool) -> None:
    opened = open_study(name, quick=quick)
    steps = steps_of(opened.study)
    assert len({step.name for step in steps}) == len(steps)
    foreseen = plan(opened.study, steps, SPEED)
    assert all(step.seconds > 0 for step in foreseen.steps)
    assert foreseen.seconds > (60 if quick else 600)
    assert foreseen.memory > 1e9
    assert foreseen.dollars == 0


def test_a_quick_study_takes_less() -> None:
    for name in SHIPPED:
        whole, quick = (
            plan(study, steps_of(study), SPEED)
            for study in (open_study(name, quick=q).study for q in (False, True))
        )
        assert quick.seconds < whole.seconds / 5
        assert quick.disk < whole.disk / 5


def test_the_paper_study_has_its_models_texts_and_questions() -> None:
    study = open_study("paper").study
    assert [model.layers * model.heads_per_layer for model in study.models] == [144, 704, 672, 144]
    assert [texts.source for texts in study.texts] == ["tinystories", "tiny-codes", "math-500"]
    assert len(study.sentences) == 5
    assert study.ask.limit == 200
    assert len(study.ask.tasks) == 6
    assert {0.0, 0.25, 0.5, 1.0} <= set(study.replace.fractions) & set(study.ask.fractions)


def test_steps_come_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    study = open_study(written(tmp_path), data=tmp_path).study
    names = [step.name for step in steps_of(study)]
    assert len([name for name in names if name.startswith("explain")]) == 4
    assert len([name for name in names if name.startswith("domains")]) == 4
    assert len([name for name in names if name.startswith("transfer")]) == 4
    # An encoder predicts no next token.
    assert [name for name in names if name.startswith(("replace", "tune"))] == [
        "replace first tales found",
        "tune first tales",
        "replace first tales tuned",
    ]
    assert names.index("explain second sums") < names.index("transfer second sums first")
    assert names.index("replace first tales tuned") < names.index("atlas first tales")


def test_optional_parts_that_are_not_here_are_left_out(tmp_path: Path) -> None:
    opened = open_study(written(tmp_path), data=tmp_path)
    assert [model.name for model in opened.study.models] == ["first"]
    assert "there is no" in opened.left_out["second"]
    assert "--data" in open_study(written(tmp_path)).left_out["second"]


def test_a_path_beside_the_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "tales.txt").write_text("Once.\n\nTwice.")
    file = written(tmp_path, ('source = "stories"', 'source = "tales.txt"'))
    assert open_study(file).study.domain("tales").source == str(tmp_path / "tales.txt")


def test_quick_settings_change_what_they_name(tmp_path: Path) -> None:
    whole, quick = (open_study(written(tmp_path), quick=q).study for q in (False, True))
    assert [(t.name, t.max_texts) for t in quick.texts] == [("tales", 4)]
    assert quick.domain("tales").max_tokens == whole.domain("tales").max_tokens
    assert quick.tune.texts == ()
    assert quick.replace == whole.replace


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[replace]", "[replaced]"), "is not understood at replaced"),
        (('texts = ["tales"]', 'texts = ["tails"]'), "names texts 'tails' that it has not"),
        (('name = "second"', 'name = "first"'), "has two models named 'first'"),
        (("max_texts = 10", 'max_texts = "many"'), "is not understood at texts.0.max_texts"),
        (('name = "first"', 'name = "../first"'), "is not understood at models.0.name"),
        (("title =", "title"), "cannot be read"),
        (('"stories"', '"{data}/stories"'.replace("DATA", "data")), "name that folder with --data"),
        (('"smollm2-135m"', '"{data}/model"'), "name it with --data"),
    ],
)
def test_a_study_that_cannot_be_meant_is_one_sentence(
    tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    with pytest.raises(HeadscriptError, match=sentence):
        open_study(written(tmp_path, change))


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(HeadscriptError, match="did you mean 'small'"):
        open_study("smal")
    with pytest.raises(HeadscriptError, match="give small or paper, or a file"):
        open_study(tmp_path / "none.toml")
    with pytest.raises(HeadscriptError, match="no model 'gpt3'; it has gpt2"):
        open_study("paper", models=["gpt3"])
    bare = FILE[: FILE.index("[quick]")].replace("{model}", "x").replace("DATA", "{data}")
    (tmp_path / "bare.toml").write_text(bare)
    with pytest.raises(HeadscriptError, match=r"has no table \[quick\]"):
        open_study(tmp_path / "bare.toml", quick=True)


def test_models_can_be_chosen() -> None:
    study = open_study("paper", models=["gpt2", "bert-base"]).study
    assert [model.name for model in study.models] == ["gpt2", "bert-base"]


def test_a_plan_knows_what_an_explainer_may_cost(tmp_path: Path) -> None:
    asking = (
        '[explain]\nproposers = ["llm"]\nexplainer = "openai:some"\nbudget = "2.5"\n\n[replace]'
    )
    study = open_study(written(tmp_path, ("[replace]", asking))).study
    foreseen = plan(study, steps_of(study), SPEED)
    assert foreseen.requests == 8 * 2 * 2  # heads, texts, rounds
    assert foreseen.dollars is None or foreseen.dollars <= 2 * 2.5


@pytest.mark.parametrize(
    ("texts", "refused"), [(("b-c", "c"), True), (("b-c", "d"), False), (("c", "b"), False)]
)
def test_names_that_would_give_two_steps_one_file_are_refused(
    tmp_path: Path, texts: tuple[str, str], refused: bool
) -> None:
    file = written(tmp_path)
    content = file.read_text()
    for old, new in zip(("first", "second", "tales", "sums"), ("a", "a-b", *texts), strict=True):
        content = content.replace(f'"{old}"', f'"{new}"')
    file.write_text(content)
    if refused:
        with pytest.raises(
            HeadscriptError,
            match=r"two steps explain-a-b-c: explaining a(-b)? on .* a(-b)? on .*; give its models",
        ):
            open_study(file)
    else:
        assert open_study(file).study.texts[0].name == texts[0]
