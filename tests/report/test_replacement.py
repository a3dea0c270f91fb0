"""What replacing heads costs, as files."""

import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import polars
import pytest
import torch
from rich.console import Console
from tests.small_run import save_texts

from headscript.cli.replacement_table import print_curve
from headscript.errors import HeadscriptError
from headscript.evaluation.replacing import HeadCost, ReplacementCurve, replacement_curve
from headscript.evaluation.substitutes import BASELINES
from headscript.evaluation.sweep import Point
from headscript.report.atlas.evidence import replacements_of
from headscript.report.figures.measured import Measured
from headscript.report.replacement import draws_figures, texts_name, write_replacement
from headscript.runs import Run


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A copy that a test may change, open for writing."""
    with Run.open_for_writing(shutil.copytree(small_run, tmp_path / "run")) as opened:
        yield opened


def made_up_curve(increases: list[float], *, version: str = "found") -> ReplacementCurve:
    """A curve of all orders and baselines with these increases."""
    kinds = [("cost", version), ("greedy", version), ("iou", version)]
    kinds += [("cost", name) for name in BASELINES]
    points = [
        Point(
            fraction=number / (len(increases) - 1),
            heads=number,
            perplexity_increase=increase,
            ci95=(increase - 0.01, increase + 0.01),
            kl=max(increase, 0),
            kl_ci95=(0, 1),
            top1_agreement=0.5,
            top1_ci95=(0.4, 0.6),
            coverage=1,
            order=order,
            programs=programs,
        )
        for order, programs in kinds
        for number, increase in enumerate(increases)
    ]
    return ReplacementCurve(
        version=version,
        base_perplexity=10,
        base_ci95=(9, 11),
        curve=points,
        spearman=-0.5,
        spearman_ci95=(-0.6, -0.4),
        by_head=[
            HeadCost(head="L00H01", iou=0.5, cost=0.01),
            HeadCost(head="L07H00", iou=0.9, cost=0),
        ],
        texts=3,
        tokens=30,
        predicted=27,
        seen=0,
        prefix_consistent=True,
        failures={},
        left_out={},
    )


def test_the_files_hold_the_curve(run: Run, small_run: Path) -> None:
    curve = replacement_curve(
        run, model=small_run.parent / "model", fractions=(0, 0.25), baseline_fractions=(0.25,)
    )
    files = write_replacement(run, curve, figures=False)
    folder = run.directory / "replacement" / "found"
    assert sorted(files) == [folder / "test.json", folder / "test.parquet"]
    found = json.loads((folder / "test.json").read_text())
    assert found.pop("source") == "test"
    assert ReplacementCurve.model_validate(found) == curve
    table = polars.read_parquet(folder / "test.parquet")
    assert table.height == len(curve.curve)
    for row, point in zip(table.iter_rows(named=True), curve.curve, strict=True):
        assert (row["ci95_low"], row["ci95_high"]) == point.ci95
        assert (row["kl_ci95_low"], row["top1_ci95_high"]) == (point.kl_ci95[0], point.top1_ci95[1])
        for name in ("order", "programs", "fraction", "heads", "perplexity_increase", "coverage"):
            assert row[name] == getattr(point, name)


def tables_of(run: Run, increases: list[float], width: int) -> tuple[list[str], list[str]]:
    """The lines of the best order's table, and those of the others."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_curve(console, run, None, made_up_curve(increases), [Path("test.json")])
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    first = lines.index("least cost alone first, the best order")
    second = lines.index("perplexity increase, other orders and what else takes their place")
    end = next(number for number, line in enumerate(lines) if line.startswith("Rank"))
    return lines[first + 1 : second - 1], lines[second + 1 : end - 1]


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_of_the_tables_is_broken(run: Run, width: int) -> None:
    increases = [0, 0.0123, 0.4567, 1.5, 18.25, 647.5, 2353.75, 12345.5, 647594.25]
    _, table = tables_of(run, increases, width)
    others: dict[str, list[str]] = {}
    for line in filter(None, table):
        assert len(line) <= width
        name, *cells = re.split(r"\s{2,}", line)
        others.setdefault(name, []).extend(cells)
    said = ["+0.0 %", "+1.2 %", "+45.7 %", "+150 %", "+1,825 %", "+64,750 %", "+235,375 %"]
    said += ["+1,234,550 %", "+64,759,425 %"]
    assert others.pop("") == [f"{12.5 * number:.4g} %" for number in range(9)]
    assert others == dict.fromkeys(["programs, greedily", "programs, by IoU", *BASELINES], said)

    table, _ = tables_of(run, [0, 0.5, 18.25, 99.5], width)
    assert all(len(line) <= width for line in table)
    intervals = ["-1.0 % to +1.0 %", "+49.0 % to +51.0 %"]
    intervals += ["+1,824 % to +1,826 %", "+9,949 % to +9,951 %"]
    for interval, line in zip(intervals, table[-4:], strict=True):
        assert f" {interval} " in line


def test_texts_of_a_file_are_named_by_the_last_part_of_its_path(tmp_path: Path) -> None:
    assert texts_name(None) == "test"
    assert texts_name("tiny-codes") == "tiny-codes"
    folder = tmp_path / "letters.old"
    folder.mkdir()
    (folder / "stories.v2.jsonl").write_text("{}")
    assert texts_name(str(folder / "stories.v2.jsonl")) == "file-stories.v2-44136f"
    assert texts_name(str(folder)) == texts_name(f"{folder}/../letters.old/")
    assert texts_name(str(folder)).startswith("file-letters.old-")


# Figures -----------------------------------------------------------------------------------------


def pixels(image: bytes) -> torch.Tensor:
    """(height, width, 3), from 0 to 1."""
    from matplotlib.image import imread

    return torch.from_numpy(imread(io.BytesIO(image)).copy())[..., :3]


def has_colour(image: torch.Tensor, colour: str) -> bool:
    wanted = torch.tensor([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return bool(((image - wanted).abs().amax(-1) < 0.02).any())


@pytest.mark.parametrize(
    "increases", [[0, 0.004, 0.5, 60], [0, -0.002, 0.0, 0.001], [0, -0.3, 1e6, 1e9], [0.2, 0.3]]
)
def test_figures_show_every_line_and_every_head(run: Run, increases: list[float]) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
    from headscript.report.figures.perplexity import _BASELINES, _ORDERS

    write_replacement(run, made_up_curve(increases), "stories")
    folder = run.directory / "replacement" / "found"
    assert {file.name for file in folder.iterdir()} == {
        *("stories.json", "stories.parquet", "stories-perplexity.png", "stories-cost.png")
    }
    lines, heads = (
        pixels((folder / f"stories-{name}.png").read_bytes()) for name in ("perplexity", "cost")
    )
    for height, width, _ in (lines.shape, heads.shape):
        assert height > 700
        assert width > 900
    orders, baselines = _ORDERS.values(), _BASELINES.values()
    for colour in [colour for colour, *_ in orders] + [colour for colour, _ in baselines]:
        assert has_colour(lines, colour)
    # Layers 0 and 7 stand at the two ends of the colours.
    assert has_colour(heads, "#00224E")
    assert has_colour(heads, "#FEE838")


def test_without_costs_there_is_no_figure_of_them(run: Run) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
    curve = made_up_curve([0, 1]).model_copy(
        update={"by_head": [], "spearman": None, "spearman_ci95": None}
    )
    names = [file.name for file in write_replacement(run, curve, None)]
    assert names == ["test.json", "test.parquet", "test-perplexity.png"]


def test_without_matplotlib_figures_are_left_out_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert draws_figures(False) is False
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    assert draws_figures(None) is False
    assert draws_figures(False) is False
    with pytest.raises(HeadscriptError, match=r"pip install 'headscript\[figures\]'"):
        draws_figures(True)


def test_a_name_of_texts_does_not_lead_out_of_the_run(run: Run, tmp_path: Path) -> None:
    texts = save_texts(tmp_path / "outside.txt")
    files = write_replacement(run, made_up_curve([0, 1]), str(texts), figures=False)
    assert all(file.is_relative_to(run.directory / "replacement" / "found") for file in files)
    assert texts_name("..") not in ("..", ".")


def test_texts_of_a_file_have_a_name_of_their_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a/test", "b/test", "a/stories")):
        Path(name).parent.mkdir(exist_ok=True)
        save_texts(Path(f"{name}.txt"), seed=number)
        Path(name).mkdir()
        save_texts(Path(name) / "text.txt", seed=number)
    shutil.copy("a/test.txt", "a/again.txt")
    shutil.copytree("a/test", "test")  # a folder of the name of the run's own split
    sources = ["a/test.txt", "b/test.txt", "a/stories.txt", "a/again.txt", "a/test", "b/test"]
    names = [texts_name(source) for source in (None, "stories", *sources)]
    assert len(set(names)) == len(names)
    assert names[:2] == ["test", "stories"]
    assert all(re.fullmatch(r"file-[a-z]+-[0-9a-f]{6}", name) for name in names[2:]), names
    assert texts_name("test") == texts_name("a/test")
    assert texts_name("../" + tmp_path.name + "/a/test.txt") == names[2]
    with pytest.raises(HeadscriptError, match=r"c/test\.txt cannot be read"):
        texts_name("c/test.txt")

    own = made_up_curve([0, 1])
    write_replacement(run, own, figures=False)
    for number, source in enumerate(("test", "a/test.txt", "b/test.txt"), 2):
        write_replacement(run, made_up_curve([0, number]), source, figures=False)
    found = {curve["texts"]: curve["curve"][1] for curve in replacements_of(run)}
    assert {name: point["perplexity_increase"] for name, point in found.items()} == {
        **{"test": 1, texts_name("test"): 2, names[2]: 3, names[3]: 4}
    }
    measured = Measured(run).curves
    assert measured["test"] == own
    assert measured[names[3]].curve[1].perplexity_increase == 4


def test_a_curve_is_named_after_the_texts_that_were_measured(run: Run, tmp_path: Path) -> None:
    file = save_texts(tmp_path / "mine.txt")
    name = texts_name(str(file))
    file.unlink()  # while they were measured
    files = write_replacement(run, made_up_curve([0, 1]), str(file), name=name, figures=False)
    assert [file.stem for file in files] == [name, name]
