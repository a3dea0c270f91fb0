"""Questions of local files are asked as lm-evaluation-harness asks its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headscript.evaluation.tasks.loading import TASKS, load_tasks

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from tests.evaluation.questions.asking import instances, lines_of

HARNESS_FILES = {
    "hellaswag": "hellaswag/hellaswag.yaml",
    "piqa": "piqa/piqa.yaml",
    "sciq": "sciq/sciq.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "social_iqa": "siqa/siqa.yaml",
    "copa": "super_glue/copa/default.yaml",
}


@pytest.mark.parametrize("name", TASKS)
def test_local_questions_are_asked_as_the_harness_asks_its_own(name: str, data: Path) -> None:
    import lm_eval.tasks

    ours = load_tasks([name], data=data)[name]
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / HARNESS_FILES[name])
    config.pop("process_docs", None)  # HellaSwag's files hold what this makes of the hub's
    config |= {"custom_dataset": lambda **_: {"validation": ours.dataset["questions"]}}
    config |= {"training_split": None, "test_split": None}
    theirs = ConfigurableTask(config={k: v for k, v in config.items() if k != "tag"})
    for own, other in zip(instances(ours), instances(theirs), strict=True):
        assert own.args == other.args
        assert choice(ours, own.doc) == choice(theirs, other.doc)
    assert set(ours.aggregation()) == set(theirs.aggregation())


def choice(task: Any, doc: Any) -> int:
    """Which answer a task says is right; the harness's COPA gives the answer itself."""
    right = task.doc_to_target(doc)
    return int(task.doc_to_choice(doc).index(right) if isinstance(right, str) else right)


@pytest.mark.parametrize("name", TASKS)
def test_the_local_files_can_be_asked_as_a_whole(name: str, shared: Path) -> None:
    folder = shared / "data" / "qa"
    task = load_tasks([name], data=folder)[name]
    numbers = {instance.doc_id for instance in instances(task)}
    assert len(numbers) == len(lines_of(folder / f"{name}.jsonl"))
    for doc in task.eval_docs:
        assert 0 <= choice(task, doc) < len(task.doc_to_choice(doc))


def test_a_group_of_tasks_gives_each(data: Path, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("group: both\ntask: [local_piqa, local_copa]\n")
    assert list(load_tasks(["both"], data=data, tasks_folder=tmp_path)) == ["piqa", "copa"]
