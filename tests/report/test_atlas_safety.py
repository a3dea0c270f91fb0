"""Text that means harm shows as text; the page can neither run strings nor reach the network."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.report.browsing import visit
from tests.report.payloads import HOSTILE, SCRIPT, atlas_payload

from headscript.errors import HeadscriptError
from headscript.report.atlas.page import page as page_module
from headscript.report.atlas.page.page import render

Open = Callable[..., Any]
PLACES = ("#/", "#/head/L00H00", "#/head/L01H01", "#/model", "#/compare/L00H02")
LISTEN = """
window.harm = [];
window.harmed = (which) => window.harm.push(which);
document.addEventListener("securitypolicyviolation", (event) =>
  window.harm.push(event.violatedDirective));
window.made = (tag, properties) => Object.assign(document.createElement(tag), properties);
"""


class Server:
    """A server of this machine that notes what it is asked for."""

    def __init__(self) -> None:
        asked: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.asked = asked
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.place = f"127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server()
    thread = Thread(target=serving.http.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.http.shutdown()
    serving.http.server_close()
    thread.join()


@pytest.mark.parametrize("place", PLACES)
def test_hostile_text_runs_nowhere(open_atlas: Open, place: str) -> None:
    page = open_atlas(place, before=LISTEN, hostile=True, compare="same", tokens=30).page
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        expect(plot).not_to_have_attribute("aria-busy", "true")
    for summary in page.locator("details.data summary").all():
        summary.click()
    for dot in page.locator(".plot.picks path[aria-roledescription='circle']").all()[:3]:
        dot.hover()
    page.wait_for_timeout(100)
    assert page.evaluate("harm") == []
    # The page's own three, and the library of charts where one was drawn.
    run = page.locator("script:not([type])").count()
    assert run == 2 + (page.locator(".plot").count() > 0)
    assert page.locator("img, iframe, object, embed, base, [onerror], [onmouseover]").count() == 0
    assert not [
        address
        for address in page.locator("a").evaluate_all("links => links.map(link => link.href)")
        if "#/" not in address
    ]


def test_every_token_shows_as_a_person_reads_it(open_atlas: Open) -> None:
    page = open_atlas("#/head/L00H00", hostile=True, tokens=len(HOSTILE)).page
    shown = page.locator(".words").first.locator(".token").all_inner_texts()
    expected = {
        " שלום": "·שלום",
        " مرحبا": "·مرحبا",
        "<img src=x onerror=harmed(3)>": "<img·src=x·onerror=harmed(3)>",
        "</script><img src=x onerror=harmed(2)>": "</script><img·src=x·onerror=harmed(2)>",
        '" onmouseover="harmed(4)': '"·onmouseover="harmed(4)',
        "\u202egnp.exe": "‹U+202E›gnp.exe",
        "\n": "↵",
        "\n\n": "↵↵",
        "\t": "⇥",
        "\u2028": "‹U+2028›",
        "\u200b": "‹U+200B›",
        "\x00": "␀",
        "\ud83d": "‹U+D83D›",
        "": "‹empty›",
    }
    assert shown == [expected.get(token, token) for token in HOSTILE]
    directions = (
        page.locator(".words")
        .first.locator(".token")
        .evaluate_all("tokens => tokens.map(token => getComputedStyle(token).unicodeBidi)")
    )
    assert set(directions) == {"isolate"}
    # A line break breaks the line.
    tops = (
        page.locator(".words")
        .first.locator(".token")
        .evaluate_all("tokens => tokens.map(token => token.getBoundingClientRect().top)")
    )
    after = HOSTILE.index("\n\n")
    assert tops[after] > tops[after - 1]


def test_names_and_programs_show_as_they_are(open_atlas: Open) -> None:
    opened = open_atlas("#/head/L00H00", hostile=True)
    page = opened.page
    expect(page.locator("#name")).to_contain_text(SCRIPT)
    expect(page.locator("pre.source")).to_contain_text(f"# {SCRIPT}")
    expect(page.locator(".terms td.term").first).to_contain_text(f"looks back to {SCRIPT}")
    opened.goto(f"#/head/{SCRIPT}")
    expect(page.locator("main")).to_contain_text("There is no such page")
    opened.goto("#/?find=__proto__")
    expect(page.locator(".found-title")).to_have_text(re.compile("^1 of 12 heads"))
    opened.goto("#/?find=constructor&category=toString&colour=__proto__&iou=9-2")
    expect(page.locator(".found-title")).to_have_text("None of 12 heads")


@pytest.mark.parametrize(
    ("attempt", "refused"),
    [
        ("fetch('http://{place}/x')", "connect-src"),
        ("new WebSocket('ws://{place}/x')", "connect-src"),
        ("new Image().src = 'http://{place}/x.png'", "img-src"),
        ("document.body.append(made('iframe', {{src: 'http://{place}/'}}))", "frame-src"),
        ("made('a').setAttribute('onclick', 'harmed(1)')", "script"),
        ("document.body.innerHTML = '<b>text</b>'", "makes no HTML"),
        ("document.body.append(made('script', {{textContent: 'harmed(2)'}}))", "makes no scripts"),
        ("document.head.append(made('style', {{textContent: 'p {{ margin: 0 }}'}}))", "style-src"),
    ],
    ids=["fetch", "socket", "image", "frame", "handler", "html", "script", "style"],
)  # fmt: skip
def test_the_policy_refuses_what_a_script_might_try(
    browser: Browser, atlas_file: Callable[..., Path], server: Server, attempt: str, refused: str
) -> None:
    page = browser.new_page()
    page.add_init_script(LISTEN)
    opened = visit(page, atlas_file())
    attempt = attempt.format(place=server.place)
    page.evaluate(
        f"async () => {{ try {{ await ({attempt}) }} catch (e) {{ harm.push(`${{e}}`) }} }}"
    )
    for _ in range(100):  # at least once: what got through would be asked for meanwhile
        page.wait_for_timeout(150)
        said = " ".join([*map(str, page.evaluate("harm")), *opened.complaints])
        if refused in said:
            break
    page.context.close()
    assert refused in said
    assert server.asked == []


def test_only_whole_numbers_and_base64_get_into_the_page() -> None:
    payload, patterns = atlas_payload(1, 1)
    with pytest.raises(ValueError, match="Out of range float"):
        render(payload | {"summary": {"mean": float("nan")}}, patterns)
    with pytest.raises(ValueError, match="not base64"):
        render(payload, ["</script>"])


def test_the_payload_is_in_the_page_unharmed() -> None:
    payload, patterns = atlas_payload(2, 2, hostile=True)
    text = render(payload, patterns)
    inside = re.findall(r'<script type="application/json" id="payload">(.*?)</script>', text, re.S)
    assert len(inside) == 1
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", inside[0])
    assert json.loads(inside[0]) == payload
    chunks = re.findall(r'id="patterns-\d+">(.*?)</script>', text)
    assert [base64.b64decode(chunk) for chunk in chunks] == list(map(base64.b64decode, patterns))
    assert "<title>&lt;script&gt;harmed(9)" in text


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    page_module._chart_library.cache_clear()
    with pytest.raises(HeadscriptError, match=r"pip install 'headscript\[report\]'"):
        render(*atlas_payload(1, 1))
