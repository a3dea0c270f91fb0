"""Objects of the Python API as a terminal and a notebook show them."""

import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import headscript
from headscript.evaluation import portrait
from headscript.evaluation.portraits import Sighting
from headscript.heads import Head
from headscript.language import Text
from headscript.library.matches import Match
from headscript.library.matching import match
from headscript.programs import Program
from headscript.report.representations.facts import frontier_points, listed, visible
from headscript.report.representations.grid import HeadGrid, _cell
from headscript.report.representations.patterns import SideBySide, blocks, readable
from headscript.results import HeadResult
from headscript.runs import Run

HOSTILE = '<script>alert("&amp;")</script>'
ATTRIBUTE = "\" onmouseover='alert(1)' x=\""
SURFACES = (HOSTILE, ATTRIBUTE, "\n", " the", "\x1b[31m", "\u202eevil", " שלום", "[bold]", "👩")


def said(shown: object, *, width: int = 100, colour: bool = False) -> str:
    """What rich prints of something."""
    console = Console(
        file=io.StringIO(),
        width=width,
        highlight=False,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
    )
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class Page(HTMLParser):
    """What a browser would make of HTML: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "wbr":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(shown: object) -> Page:
    """The HTML of something, all tags closed, with no script, no event and nothing fetched."""
    html = shown._repr_html_()  # type: ignore[attr-defined]
    assert isinstance(html, str)
    found = Page(html)
    assert not found.open
    for tag, attributes in found.tags:
        assert tag in {
            *("div", "p", "b", "table", "tr", "th", "td", "pre", "span", "bdi", "wbr"),
            *("svg", "g", "text", "path", "rect", "title"),
        }
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"href", "src"} & attributes.keys()
        assert "url" not in (attributes.get("style") or "")
    return found


def sighting(surfaces: tuple[str, ...] = SURFACES) -> Sighting:
    n = len(surfaces)
    real = np.eye(n, dtype=np.float32)
    return Sighting("t", 0.5, surfaces, real, np.tril(np.full((n, n), 1 / n, np.float32)))


@pytest.fixture(scope="module")
def matched(small_run: Path) -> Match:
    folder = small_run.parent
    texts, library = folder / "texts.txt", folder / "run"
    return match(folder / "model", texts, library=library, refit=False, heads="L0", max_texts=8)


# Runs and results --------------------------------------------------------------------------------


def test_a_run_is_its_grid_and_its_numbers(small_run: Path) -> None:
    run = Run.open(small_run)
    summary = run.results().summary
    terminal, notebook = said(run), page(run)
    for text in (terminal, notebook.text):
        assert "model: 5 heads, IoU on 2 test texts  in hundredths" in text
        assert f"{summary.iou.mean:.3f}  95 % interval" in text
        assert "mean by position" in text
        assert "found" in text
        assert str(small_run) in text.replace("\n", "")
    for row in run.results().heads:
        cell = str(round(100 * row.iou))
        assert re.search(rf"L{row.layer} .*\b{cell}\b", terminal)
        name = f"{Head(row.layer, row.head)}  {row.iou:.3f}"
        assert name in [attributes.get("title") for _, attributes in notebook.tags]
    assert repr(run) == f"Run({str(small_run)!r})"


def test_a_run_that_is_not_finished_says_so(small_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_run, tmp_path / "<b>run")
    run = Run.open(folder)
    (folder / "results.json").write_text("{}")
    assert "is damaged" in " ".join(said(run).split())
    (folder / "results.json").unlink()
    assert "not finished" in " ".join(said(run).split())
    assert "<b>run is not finished" in page(run).text


def test_a_run_without_any_working_program_has_no_grid(small_run: Path, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(small_run, tmp_path / "run"))
    results = run.results()
    for row in results.heads:
        object.__setattr__(row, "status", "broken [/bold] <b>")
    for text in (said(results), page(results).text):
        assert "L1" not in text
        assert "terms" not in text
        assert "coverage" in text
    for text in (said(results.heads[0]), page(results.heads[0]).text):
        assert "broken [/bold] <b>" in text


def test_a_row_of_results_is_a_table_with_its_frontier(small_run: Path) -> None:
    row = Run.open(small_run).results().heads[0]
    for text in (said(row), page(row).text):
        assert f"{row.iou:.3f}  95 % interval {row.ci95[0]:.3f}" in text
        for terms, iou in row.frontier:
            assert re.search(rf"(?<!\d){terms}:? +{iou:.3f}", text)


def test_a_match_shows_the_programs_in_use(matched: Match) -> None:
    for text in (said(matched), page(matched).text):
        assert "4 heads, programs as they are" in text
        assert f"{matched.as_is.iou.mean:.3f}  95 % interval" in text
        assert f"{matched.programs} programs" in text
    names = [attributes.get("title") for _, attributes in page(matched).tags]
    for row in matched.by_head:
        assert f"{row.head}  {row.as_is.iou:.3f}" in names


# Programs ----------------------------------------------------------------------------------------


def test_a_program_is_its_source_in_colours(small_run: Path) -> None:
    run = headscript.load_run(small_run)
    program = headscript.Program.load(run.program_file(Head(1, 0)))
    plain = said(program)
    assert plain.startswith(f"L01H00  {program.terms} term")
    lines = [line.rstrip() for line in plain.splitlines()]
    for line in program.source.strip().splitlines():
        assert line.rstrip() in lines
    assert re.search(r"\x1b\[[\d;]+mdef", said(program, colour=True))
    found = page(program)
    assert program.source.strip() in found.text
    assert any("color:" in (attributes.get("style") or "") for tag, attributes in found.tags[2:])


def test_a_source_cannot_write_markup_or_control_characters() -> None:
    source = (
        f"# {HOSTILE} {ATTRIBUTE} [red] \x1b]0;title\x07\x1b[2J \u202e ends\n"
        'def attend(text, a=1.0):\n    """Says [bold]this[/bold]."""\n'
        "    return softmax(a * text.first)\n"
    )
    program = Program.parse(re.sub("[\x1b\x07]", "", source), "[i]<i>")
    # The gate lets none of these through in an expression; a comment may hold anything.
    for hostile in (program, _with_source(program, source)):
        text = said(hostile)
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
        assert "[red]" in text
        assert "[bold]this[/bold]" in text
        assert text.startswith("[i]<i>  1 term")
        found = page(hostile)
        assert HOSTILE in found.text
        assert ATTRIBUTE in found.text
        assert "\u202e" not in found.text
        assert "\x1b" not in found.text


def _with_source(program: Program, source: str) -> Program:
    object.__setattr__(program, "source", source)
    return program


# Texts and patterns ------------------------------------------------------------------------------


def test_a_text_is_its_tokens_and_what_cannot_be_seen_is(small_run: Path) -> None:
    text = Text(SURFACES, range(9), 64)
    shown = said(text)
    assert shown.splitlines()[0] == "9 tokens"
    assert "\x1b" not in shown
    assert "\\n _the \\x1b[31m \\u202eevil _שלום [bold] 👩" in " ".join(shown.split())
    found = page(text)
    assert [attributes["title"] for tag, attributes in found.tags if tag == "bdi"] == [
        f"token {number}" for number in range(9)
    ]
    for part in (HOSTILE, ATTRIBUTE, "↵", "␣the", "\\u202eevil", "␣שלום", "[bold]"):
        assert part in found.text


def test_of_a_long_text_the_first_tokens_are_shown() -> None:
    text = Text(["w"] * 1_500, [5] * 1_500, 64)
    for shown in (said(text), page(text).text):
        assert "1,500 tokens" in shown
        assert "and 1,100 more" in shown


def test_a_sighting_draws_both_patterns_to_the_token() -> None:
    shown = sighting()
    assert "weight · 0.015" in said(shown)
    found = page(shown)
    (svg,) = (attributes for tag, attributes in found.tags if tag == "svg")
    assert svg["aria-label"] == "Attention patterns of the model and the program on 9 tokens"
    cells = [attributes for tag, attributes in found.tags if tag == "rect"]
    assert len(cells) == 9 + 9 * 10 // 2
    for number, cell in enumerate(cells[:9]):
        assert cell["x"] == cell["y"] == str(11 * number)
        assert cell["fill-opacity"] == "1.00"
    assert cells[9]["fill-opacity"] == f"{(1 / 9) ** 0.5:.2f}"
    assert "␣the → ␣the  1.00" in found.text


def test_a_notebook_draws_the_first_tokens_of_a_long_text() -> None:
    found = page(sighting(tuple(f" w{number}" for number in range(60))))
    assert "the first 36 of 60 tokens" in found.text
    assert len([tag for tag, _ in found.tags if tag == "rect"]) == 36 + 36 * 37 // 2


def test_a_portrait_is_all_of_these(small_run: Path) -> None:
    shown = portrait(Run.open(small_run), "L1H2")
    assert shown.best is not None
    for text in (said(shown), page(shown).text):
        assert text.startswith("Layer 1, head 2") or "Layer 1, head 2" in text
        assert "def attend(" in text
        assert "Best test text" in text
        assert "Worst test text" in text
        assert f"IoU {shown.best.iou:.3f}" in text
    assert len([tag for tag, _ in page(shown).tags if tag == "svg"]) == 2


def test_a_trial_is_its_scores_and_the_worst_text(small_run: Path) -> None:
    source = (
        "def attend(text, near=0.5):\n"
        f'    """{HOSTILE}"""\n'
        "    return softmax(0 - near * text.distance)\n"
    )
    shown = headscript.try_program(small_run, "L1H2", source, fit=True)
    assert shown.against is not None
    for text in (said(shown), page(shown).text):
        assert "Layer 1, head 2  'idea' on 2 select texts" in text
        assert HOSTILE in text
        assert f"{shown.against.difference.mean:+.3f}  95 % interval" in text
        assert "Worst select text" in text
        assert f"head {shown.misses[0].model:.2f}, idea" in text
        for name, baseline in shown.baselines.items():
            assert name in text
            assert f"{baseline.mean:.3f}  95 % interval {baseline.ci95[0]:.3f}" in text
    assert len([tag for tag, _ in page(shown).tags if tag == "svg"]) == 1


def test_weights_become_blocks() -> None:
    assert blocks([0.0, 0.02, 0.05, 0.2, 0.3, 1.0]) == " ·░▒▓█"


def test_patterns_stand_side_by_side_and_are_cut_to_the_width() -> None:
    n = 60
    eye = np.eye(n, dtype=np.float32)
    seen = Sighting("t", 1.0, tuple(f" w{i}" for i in range(n)), eye, np.roll(eye, -1, 1))
    lines = said(SideBySide(seen), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == "the first 32 of 60 tokens"
    assert re.fullmatch(r"\s+_w3 {4}█ {33}█\s*", lines[5])
    assert "the first 0 of 60 tokens" in " ".join(said(SideBySide(seen), width=9).split())


def test_labels_show_what_cannot_be_seen() -> None:
    assert readable(" the") == "_the"
    assert readable("  ") == "__"
    assert readable(" a b ") == "_a b_"
    assert readable("\n") == "\\n"
    assert readable("incomprehensible") == "incomprehen…"
    assert readable(" the", space="␣") == "␣the"
    assert visible("a\tb\n\x1b[0m\u2028") == "a\tb\n\\x1b[0m\\u2028"


# Grids and facts ---------------------------------------------------------------------------------


def test_heads_are_a_grid_where_it_fits_and_lines_where_not() -> None:
    scores = {Head(layer, head): 0.1 * layer for layer in (0, 3) for head in range(12)}
    scores[Head(3, 5)] = 1.0
    lines = said(HeadGrid(scores)).splitlines()
    assert lines[0].split()[:3] == ["H0", "H1", "H2"]
    assert lines[2].split() == ["L3", *["30"] * 5, "100", *["30"] * 6, "0.36"]
    narrow = said(HeadGrid(scores), width=60)
    assert "lowest" in narrow
    assert max(map(len, narrow.splitlines())) <= 60
    assert said(HeadGrid({})) == ""
    assert said(HeadGrid({Head(0, 1): 0.5}, 3)).splitlines()[0].split()[2] == "H2"


def test_the_digits_of_a_cell_can_be_read_on_its_colour() -> None:
    def light(name: str) -> float:
        red, green, blue = map(int, name.split(","))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    for percent in range(101):
        text, style = _cell(percent / 100, 3)
        assert int(text) == percent
        ink, ground = (light(rgb) for rgb in re.findall(r"rgb\(([\d,]+)\)", style))
        assert abs(ink - ground) > 85


def test_lists_break_between_items() -> None:
    assert listed(["one two", "three", "four five"], width=15) == "one two, three,\nfour five"


def test_of_a_long_frontier_a_few_points_are_shown_and_the_chosen_one() -> None:
    points = [(terms, terms / 50) for terms in range(41)]
    shown = [terms for terms, _ in frontier_points(points, chosen=7)]
    assert len(shown) <= 10
    assert {0, 7, 40} <= set(shown)
    assert frontier_points(points[:2], chosen=9) == points[:2]


def test_rows_of_another_version_are_still_shown() -> None:
    row = HeadResult(layer=0, head=1, iou=0.5, ci95=(0.4, 0.6))
    assert "0.500" in said(row)
    assert "0.500" in page(row).text
