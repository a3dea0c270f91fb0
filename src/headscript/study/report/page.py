"""The report as one HTML page: made of its Markdown, with figures inside, for reading offline.

The page may do nothing but show itself: its content security policy admits its own style and images
that are in it, no script and no address.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

import headscript
from headscript.errors import HeadscriptError

if TYPE_CHECKING:
    from markdown_it.token import Token

_PARTS = Path(__file__).parent
_ALIGNED = {"text-align:right": "right", "text-align:left": "left"}


def require_markdown() -> None:
    """Raise HeadscriptError where markdown-it-py, of the extra `report`, is missing."""
    if find_spec("markdown_it") is None:
        raise HeadscriptError(
            "The page of a study is made by markdown-it-py, which is not here: "
            "pip install 'headscript[report]'."
        )


def page(markdown: str, images: Mapping[str, bytes], title: str) -> str:
    """The page of a report; `images` are its figures as SVG, by the path that the report names.

    Raises HeadscriptError where markdown-it-py is missing.
    """
    require_markdown()
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    headings = _with_places(tokens)
    _dress(tokens, images)
    body = reader.renderer.render(tokens, reader.options, {})
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
    style = (_PARTS / "page.css").read_text(encoding="utf-8")
    return _template().render(
        title=title,
        version=headscript.__version__,
        policy=_policy(style),
        style=Markup(style),
        headings=headings,
        body=Markup(body),
    )


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _with_places(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Give sections an id each, so that they can be linked; ids and headings of the main ones."""
    found = []
    taken: set[str] = set()
    for token, inside in pairwise(tokens):
        if token.type != "heading_open":
            continue
        words = "".join(part.content for part in inside.children or ())
        place = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "section"
        number = 1
        while (name := place if number == 1 else f"{place}-{number}") in taken:
            number += 1
        taken.add(name)
        token.attrSet("id", name)
        if token.tag == "h2":
            found.append((name, words))
    return found


def _dress(tokens: Sequence[Token], images: Mapping[str, bytes]) -> None:
    """Put images inside, and classes in the place of styles, which the policy does not admit."""
    for token in tokens:
        style: Any = token.attrs.pop("style", None)
        if style in _ALIGNED:
            token.attrSet("class", _ALIGNED[style])
        if token.type == "image":
            image = images.get(str(token.attrs["src"]))
            if image is not None:
                data = base64.b64encode(image).decode()
                token.attrSet("src", f"data:image/svg+xml;base64,{data}")
        _dress(token.children or (), images)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja")
