"""The figures of a run: what their data say, how the files are made, and what is left out."""

import csv
import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra 'figures'")

import matplotlib as mpl
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from headscript.errors import HeadscriptError
from headscript.evaluation.accuracy import Answers, Kept
from headscript.evaluation.categories import CATEGORIES
from headscript.evaluation.correlation import spearman
from headscript.evaluation.replacing import replacement_curve
from headscript.heads import Head
from headscript.report.figures import cost, maps, perplexity, questions, scores, style, terms
from headscript.report.figures.drawing import FIGURES, Drawings, draw_figures
from headscript.report.figures.measured import Measured, NotMeasured
from headscript.report.replacement import write_replacement
from headscript.runs import Run

NAMES = ["scores", "map", "terms", "perplexity-test", "cost", "questions"]


def save_questions(folder: Path) -> Path:
    """Local files of two tasks, in the words of the small run's model."""
    draw = Random(0)

    def words() -> str:
        return " ".join(f"w{draw.randint(4, 63)}" for _ in range(draw.randint(1, 6)))

    folder.mkdir()
    piqa = [
        {"goal": words(), "sol1": words(), "sol2": words(), "label": draw.randrange(2)}
        for _ in range(7)
    ]
    sciq = [
        {name: words() for name in ("support", "question", "correct_answer")}
        | {f"distractor{number}": words() for number in (1, 2, 3)}
        for _ in range(5)
    ]
    for name, rows in (("piqa", piqa), ("sciq", sciq)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def measure(run: Run, model: Path, **options: Any) -> None:
    """Leave in a run what 'headscript replace' does, without its figures."""
    curve = replacement_curve(run, model=model, baseline_fractions=(0.25,), **options)
    write_replacement(run, curve, figures=False)


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the small run whose heads were replaced, and whose model was asked questions."""
    pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")
    from headscript.evaluation.questions import evaluate_run

    folder = tmp_path_factory.mktemp("figures")
    copy = shutil.copytree(small_run, folder / "run")
    model = small_run.parent / "model"
    with Run.open_for_writing(copy) as opened:
        measure(opened, model, fractions=(0, 0.1, 0.25, 0.4))
    data = save_questions(folder / "qa")
    evaluate_run(copy, ["piqa", "sciq"], [0, 0.25, 0.4], data=data, model=model)
    return Run.open(copy)


@pytest.fixture(scope="module")
def drawings(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    """All figures of the run, in all formats."""
    return draw_figures(run, tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def copied(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A copy of the small run in which nothing else was measured, open for writing."""
    with Run.open_for_writing(shutil.copytree(small_run, tmp_path / "run")) as opened:
        yield opened


def table(drawings: Drawings, name: str) -> list[dict[str, str]]:
    """The rows of a figure's CSV file."""
    text = (drawings.folder / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


# Files -------------------------------------------------------------------------------------------


def test_every_figure_has_a_file_of_each_format_and_its_data(drawings: Drawings) -> None:
    assert [figure.name for figure in drawings.drawn] == NAMES
    assert drawings.left_out == []
    assert drawings.version == "found"
    there = {file.name for file in drawings.folder.iterdir()}
    assert there == {f"{name}.{end}" for name in NAMES for end in ("png", "pdf", "svg", "csv")}
    for figure in drawings.drawn:
        assert [file.suffix for file in figure.files] == [".png", ".pdf", ".svg", ".csv"]


def test_figures_are_as_wide_as_one_or_two_columns_of_a_paper(drawings: Drawings) -> None:
    for name in NAMES:
        file = drawings.folder / name
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", file.with_suffix(".pdf").read_bytes())
        assert box is not None
        inches = float(box[1]) / 72
        assert inches == pytest.approx(3.3, abs=0.01) or inches == pytest.approx(6.8, abs=0.01)
        height, width, _ = imread(file.with_suffix(".png")).shape
        assert width == pytest.approx(300 * inches, abs=2)
        assert 300 < height < 1500


def test_fonts_are_embedded_as_truetype_and_nothing_tells_when_it_was_drawn(
    drawings: Drawings,
) -> None:
    for name in NAMES:
        pdf = (drawings.folder / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf
        assert b"CreationDate" not in pdf
        assert b"date" not in (drawings.folder / f"{name}.svg").read_bytes()


def test_the_same_run_gives_the_same_bytes_whatever_a_person_has_set(
    run: Run, drawings: Drawings, tmp_path: Path
) -> None:
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 9}):
        again = draw_figures(run, tmp_path, only=["terms", "cost", "perplexity"])
        assert mpl.rcParams["font.size"] == 20  # and it was left as it was
    for figure in again.drawn:
        for file in figure.files:
            assert file.read_bytes() == (drawings.folder / file.name).read_bytes()


def test_nothing_is_drawn_outside_the_paper(drawings: Drawings) -> None:
    for name in NAMES:
        image = imread(drawings.folder / f"{name}.png")[..., :3]
        edges = (image[0], image[-1], image[:, 0], image[:, -1])
        # The first and the last line of a figure end at its frame at most.
        inked = [int((edge.min(-1) < 0.5).sum()) for edge in edges]
        assert max(inked) < 20, (name, inked)


# Data --------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_results(run: Run, drawings: Drawings) -> None:
    rows = table(drawings, "scores")
    found = {(row["head"], row["what"]): float(row["iou"]) for row in rows}
    for head in run.results().heads:
        name = str(Head(head.layer, head.head))
        assert found.pop((name, "chosen")) == head.iou
        assert found.pop((name, "intended")) == head.intended_iou
        for baseline, iou in head.baselines.items():
            assert found.pop((name, baseline)) == iou
    assert not found
    assert {row["what"] for row in rows if row["program"] == "True"} == {"chosen", "intended"}
    axes = scores.draw(scores.tables(Measured(run))["scores"]).axes[0]
    names = {label.get_text() for label in axes.get_yticklabels()}
    assert {"best (chosen) program", "intended program"} <= names


def test_the_map_has_all_heads_of_the_model(run: Run, drawings: Drawings) -> None:
    rows = table(drawings, "map")
    assert [(int(row["layer"]), int(row["head"])) for row in rows] == run.model.heads
    known = {Head(row.layer, row.head): row for row in run.results().heads}
    for row in rows:
        result = known.get(Head(int(row["layer"]), int(row["head"])))
        assert row["iou"] == ("" if result is None else repr(result.iou))
        assert row["category"] == ("" if result is None else result.category)


def test_a_head_without_a_working_program_has_no_score(copied: Run) -> None:
    results = copied.read_json("results.json")
    results["heads"][1]["status"] = "division by zero"
    copied.write_json("results.json", results)
    places = maps.tables(Measured(copied))["map"]
    failed = Head(results["heads"][1]["layer"], results["heads"][1]["head"])
    (place,) = (place for place in places if place[:2] == failed)
    assert place.iou is None
    assert place.category is not None


def test_the_frontier_is_the_best_of_so_many_terms_over_heads(run: Run, drawings: Drawings) -> None:
    heads = run.results().heads
    rows = table(drawings, "terms")
    most = max(terms for head in heads for terms, _ in head.frontier)
    assert [int(row["terms"]) for row in rows] == list(range(int(rows[0]["terms"]), most + 1))
    for row in rows:
        size = int(row["terms"])
        best = [max(iou for terms, iou in head.frontier if terms <= size) for head in heads]
        assert float(row["median"]) == pytest.approx(float(np.median(best)))
        assert float(row["quartile"]) == pytest.approx(float(np.percentile(best, 25)))
        assert float(row["mean"]) == pytest.approx(float(np.mean(best)))
        assert int(row["chosen"]) == sum(head.terms == size for head in heads)
    medians = [float(row["median"]) for row in rows]
    assert medians == sorted(medians)


def test_losses_are_those_of_the_curve(run: Run, drawings: Drawings) -> None:
    curve = run.read_json("replacement/found/test.json")["curve"]
    rows = table(drawings, "perplexity-test")
    assert len(rows) == len(curve)
    for row, point in zip(rows, curve, strict=True):
        assert float(row["perplexity_increase"]) == point["perplexity_increase"]
        assert [float(row["low"]), float(row["high"])] == point["ci95"]
        assert float(row["replaced"]) == point["heads"] / 12
        assert row["baseline"] == str(point["programs"] != "found")


def test_costs_and_their_correlation_are_those_of_the_replacement(
    run: Run, drawings: Drawings
) -> None:
    found = run.read_json("replacement/found/test.json")
    rows = table(drawings, "cost")
    assert {
        str(Head(int(row["layer"]), int(row["head"]))): (float(row["iou"]), float(row["cost"]))
        for row in rows
    } == {row["head"]: (row["iou"], row["cost"]) for row in found["by_head"]}
    ious, costs = ([float(row[name]) for row in rows] for name in ("iou", "cost"))
    assert spearman(ious, costs) == pytest.approx(found["spearman"])


def test_accuracies_are_those_of_the_answers_with_intervals(run: Run, drawings: Drawings) -> None:
    rows = table(drawings, "questions")
    answers = run.read_json("qa/found.json")["answers"]
    by_task = {(row["task"], int(row["heads"])): row for row in rows}
    for answer in answers:
        row = by_task.pop((answer["task"], answer["heads"]))
        assert float(row["accuracy"]) == answer["right"].count("1") / answer["questions"]
        assert float(row["low"]) <= float(row["accuracy"]) <= float(row["high"])
        assert int(row["questions"]) == {"piqa": 7, "sciq": 5}[answer["task"]]
    assert {task for task, _ in by_task} == {"mean"}
    for (_, heads), row in by_task.items():
        own = [answer["accuracy"] for answer in answers if answer["heads"] == heads]
        assert float(row["accuracy"]) == pytest.approx(sum(own) / 2)


def test_wilsons_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I.
    assert questions.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert questions.wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert questions.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert questions.wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    for number in range(1, 60):
        for right in range(number + 1):
            low, high = questions.wilson(right / number, number)
            assert low <= right / number <= high


def some_answers(task: str, heads: int, right: str) -> Answers:
    return Answers(
        task=task,
        fraction=heads / 10,
        heads=heads,
        limit=None,
        questions=len(right),
        metric="acc",
        accuracy=right.count("1") / len(right),
        stderr=None if len(right) == 1 else 0.1,
        guess=None,
        right=right,
        cut=0,
        key=f"{task} {heads} {right}",
    )


def test_answers_of_two_orders_are_not_shown_together(copied: Run) -> None:
    kept = Kept(copied, "found")
    rows = [some_answers("a", heads, "101") for heads in (0, 5, 9)]
    for order in ("tuning", "cost"):
        for row in rows:
            kept.add(row.model_copy(update={"order": order}))
    kept.add(some_answers("a", 5, "000").model_copy(update={"order": "iou"}))
    kept.write()
    shown = questions.tables(Measured(copied))["questions"]
    assert [(row.heads, row.order) for row in shown] == [(0, "cost"), (5, "cost"), (9, "cost")]


def test_of_several_answers_those_to_most_questions_count_and_of_these_the_newest() -> None:
    rows = [
        some_answers("a", 5, "1010"),
        some_answers("a", 0, "10"),
        some_answers("a", 0, "1111"),
        some_answers("a", 0, "0111"),
        some_answers("b", 0, "1"),
    ]
    chosen = questions._asked_most(rows)
    assert {task: [row.right for row in own.values()] for task, own in chosen.items()} == {
        "a": ["0111", "1010"],
        "b": ["1"],
    }
    (mean,) = questions._means(chosen, 10)
    assert (mean.heads, mean.accuracy, mean.low) == (0, 0.875, None)


# What is left out -------------------------------------------------------------------------------


def test_what_was_not_measured_is_named_with_the_command_that_measures_it(
    copied: Run, tmp_path: Path
) -> None:
    found = draw_figures(copied, formats=["svg"])
    assert [figure.name for figure in found.drawn] == ["scores", "map", "terms"]
    assert found.folder == copied.directory / "figures"
    where = shlex.quote(str(copied.directory))
    assert {missing.name: missing.command for missing in found.left_out} == {
        "perplexity": f"headscript replace {where}",
        "cost": f"headscript replace {where} --orders cost",
        "questions": f"headscript evaluate {where}",
    }
    json.dumps(found.as_json())
    with pytest.raises(HeadscriptError, match=r"no data for cost and questions: .* first run"):
        draw_figures(copied, tmp_path / "none", only=["questions", "cost"])
    assert not (tmp_path / "none").exists()


def test_of_an_encoder_nothing_is_advised_that_it_cannot_do(copied: Run) -> None:
    record = copied.read_json("run.json")
    record["model"]["causal"] = False
    copied.write_json("run.json", record)
    found = draw_figures(Run.open(copied.directory), formats=["svg"])
    assert {missing.name for missing in found.left_out} == {"perplexity", "cost", "questions"}
    assert all(missing.command is None for missing in found.left_out)
    assert all("an encoder predicts no next token" in missing.why for missing in found.left_out)


def test_a_run_whose_heads_have_one_program_each_has_no_frontier(copied: Run) -> None:
    results = copied.read_json("results.json")
    for row in results["heads"]:
        row["frontier"] = []
    copied.write_json("results.json", results)
    with pytest.raises(NotMeasured, match="programs of several sizes"):
        terms.tables(Measured(copied))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"only": ["scores", "costs"]}, "no figure 'costs'; did you mean 'cost'?"),
        ({"only": [" "]}, "No figure is asked for"),
        ({"formats": ["bmp"]}, "no format 'bmp'; choose of png, pdf, svg"),
        ({"version": "tuned"}, "no programs 'tuned'; it has found"),
    ],
)
def test_what_there_is_not_is_refused_and_nothing_written(
    small_run: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(HeadscriptError, match=re.escape(words)):
        draw_figures(Run.open(small_run), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_damaged_data_are_told(copied: Run) -> None:
    copied.write_json("replacement/found/test.json", {"curve": 7})
    with pytest.raises(HeadscriptError, match=r"test\.json is damaged"):
        draw_figures(copied, only=["perplexity"])
    copied.write_json("costs/found.json", [1])
    with pytest.raises(HeadscriptError, match=r"found\.json is damaged"):
        draw_figures(copied, only=["cost"])


# Versions ---------------------------------------------------------------------------------------


def test_the_newest_version_that_was_measured_is_drawn(copied: Run, small_run: Path) -> None:
    folder = copied.directory / "versions" / "tuned"
    shutil.copytree(copied.directory / "programs", folder)
    copied.write_json("versions/tuned/version.json", {})
    assert Measured(copied).version == "found"
    unknown = Measured(copied, "tuned")
    with pytest.raises(NotMeasured, match="IoU of the programs 'tuned'") as missing:
        maps.tables(unknown)
    assert missing.value.command is not None
    assert missing.value.command.endswith(" --orders cost")
    assert {row.what for row in scores.tables(unknown)["scores"] if row.program} == {
        *("chosen", "intended")
    }

    measure(copied, small_run.parent / "model", fractions=(0.25,), orders=("cost",))
    measured = Measured(copied)
    assert measured.version == "tuned"
    assert {row.what for row in scores.tables(measured)["scores"] if row.program} == {
        *("chosen", "intended", "tuned")
    }
    # The programs are the same, and so are their scores.
    known = [place for place in maps.tables(measured)["map"] if place.iou is not None]
    found = {Head(row.layer, row.head): row.iou for row in measured.heads}
    assert {Head(*place[:2]): place.iou for place in known} == pytest.approx(found)
    file = "replacement/tuned/test.json"
    copied.write_json(file, copied.read_json(file) | {"iou_texts": None})  # as before it was kept
    with pytest.raises(NotMeasured, match="IoU of the programs 'tuned'"):
        _ = Measured(copied).ious
    with pytest.raises(NotMeasured) as missing:
        _ = Measured(copied, "found").curves
    assert missing.value.command is not None
    assert missing.value.command.endswith(" --programs found")


# Looks ------------------------------------------------------------------------------------------


def grey(colour: str) -> float:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_categories_can_be_told_apart_in_colour_and_in_grey() -> None:
    assert set(maps._CATEGORIES) == set(CATEGORIES)
    looks = [*maps._CATEGORIES.values(), maps._OTHER]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 8
    for colour, _ in looks:
        assert abs(grey(colour) - grey(maps._ink(colour))) > 0.35


def test_lines_can_be_told_apart_in_grey_by_their_markers() -> None:
    markers = [marker for _, marker, *_ in perplexity._ORDERS.values()]
    markers += [marker for _, marker in perplexity._BASELINES.values()]
    assert len(set(markers)) == len(markers)


@pytest.mark.parametrize(
    ("layers", "heads"), [(30, 9), (12, 12), (48, 25), (2, 1), (1, 40), (3, 64)]
)
def test_maps_of_any_shape_stay_within_the_paper(layers: int, heads: int) -> None:
    names = [*CATEGORIES, "a new one"]
    places = [
        maps.Place(layer, head, (layer + head) / (layers + heads), names[(layer + head) % 8])
        for layer in range(layers)
        for head in range(heads)
    ]
    figure = maps.draw(places)
    width, height = figure.get_size_inches()
    assert width in (3.3, 6.8)
    assert height < 9
    for axes in figure.axes:
        box = axes.get_position()
        assert box.x0 * width > 0.1
        assert box.y0 * height > 0.1
        assert (1 - box.x1) * width > 0.1
        assert (1 - box.y1) * height > 0.1
    cells = figure.axes[0].get_position()
    across, down = cells.width * width / layers, cells.height * height / heads
    assert across == pytest.approx(down)
    assert across > 0.04


@pytest.mark.parametrize("increases", [[0.0], [0, -0.9, 1e12], [1e300, 1e-9], [0, 0, 0]])
def test_axes_have_a_few_ticks_and_show_every_value(increases: list[float]) -> None:
    rows = [
        perplexity.Loss("cost", "found", False, 0.1 * i, i, 0.1 * i, increase, increase, increase)
        for i, increase in enumerate(increases)
    ]
    rows += [row._replace(programs="uniform", baseline=True) for row in rows]
    figure = perplexity.draw(rows)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert all(low <= 100 * increase <= high for increase in increases)
        assert 2 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= 9


def test_heads_that_cost_nothing_do_not_take_most_of_the_axis() -> None:
    rows = [cost.Cost(0, head, 0.5 + head / 1000, 1e-3 * (head + 1)) for head in range(150)]
    rows.append(cost.Cost(1, 0, 1.0, 2e-10))
    figure = cost.draw(rows, seed=0)
    low, high = figure.axes[0].get_ylim()
    assert high / low < 1e4
    drawn = np.concatenate([points.get_offsets() for points in figure.axes[0].collections])
    assert len(drawn) == 151
    assert ((low < drawn[:, 1]) & (drawn[:, 1] < high)).all()
    assert not np.isfinite(cost.draw(rows[:1], seed=0).axes[0].get_ylim()).sum() < 2


def test_names_that_hold_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    name = "a$^$--><script>&"
    rows = [questions.Accuracy(name, 0, 0.0, 5, 0.5, 0.4, 0.6, 0.25)]
    (image,) = style.rendered(lambda: questions.draw(rows), ["svg"]).values()
    assert b"<script" not in image
    ElementTree.fromstring(image)  # is well-formed
    figure = questions.draw(rows)
    assert figure.axes[0].get_title(loc="left") == f"{name} (5 questions)"


def test_figures_are_named_in_the_order_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+)(?:-TEXTS)?` \|", page, re.MULTILINE)
    assert tuple(rows) == FIGURES
