"""Words and code read in the page as they are, whatever signs they hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
pytest.importorskip("markdown_it", reason="needs the extra 'report'")

from markdown_it import MarkdownIt
from tests.study.report.reading import Seen

from headscript.study.report.markdown import Table, code, escaped, table


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20))
def test_words_read_as_they_are(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    for markdown, tag in (
        (table(Table(("what", "is"), [("x", text)], names=2)), "td"),
        (f"- {escaped(text)}", "li"),
    ):
        parser = Seen()
        parser.feed(reader.render(markdown).replace("li>", "td>"))
        assert parser.cells[-1].strip() == text, tag


@settings(deadline=None)
@given(st.text(alphabet="ab`|\\ -", min_size=1, max_size=12))
def test_code_in_a_table_reads_as_it_is(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    line = " ".join(text.split())
    if not line:
        return
    parser = Seen()
    parser.feed(reader.render(table(Table(("what", "is"), [("x", code(line))], names=2))))
    assert parser.cells[-1] == line
