"""Takes the pictures of an atlas that the documentation shows.

    python docs/screenshots.py ATLAS.html [--head L05H03] [--out docs/images]

ATLAS.html is what `headscript report` wrote; Chromium and Playwright for Python must be installed.
Writes atlas-grid.png, atlas-head.png and atlas-costs.png, light and 1,280 wide; the last one needs
a run that has been through `headscript replace` and `headscript evaluate`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH = 1280
LARGE = 250_000  # bytes


def slim(file: Path) -> None:
    """Write a picture anew, with fewer colours where it would be large."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    picture.save(file, optimize=True)
    if file.stat().st_size > LARGE:
        few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(file, optimize=True)


def main() -> None:
    """Open the pages one after the other and take them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--head", default="L05H03")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pages = {
        "grid": ("#/", 1020, None),
        "head": (f"#/head/{options.head}", 1060, None),
        "costs": ("#/model", 890, "What the model loses"),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (place, height, heading) in pages.items():
            page = browser.new_page(
                viewport={"width": WIDTH, "height": height}, color_scheme="light"
            )
            page.goto(options.atlas.resolve().as_uri() + place)
            page.wait_for_selector("main h1")
            if heading is not None:
                page.get_by_role("heading", name=heading).evaluate("it => it.scrollIntoView()")
            page.wait_for_timeout(2_500)  # charts are drawn as they come into view
            file = options.out / f"atlas-{name}.png"
            page.screenshot(path=file)
            slim(file)
            print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
