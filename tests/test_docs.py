"""The pages made from the code are current, and what they show is true."""

import re
import subprocess
import sys
from pathlib import Path

from headscript.language import VOCABULARY
from headscript.programs import Program

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_of_the_language_is_current():
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_language_shows_a_program_that_passes_and_every_entry():
    page = (DOCS / "language.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert Program.parse(examples[0]).terms == 3
    for example in examples[1:]:
        compile(example, "example.py", "exec")
    for entry in VOCABULARY:
        if entry.compute.__module__.startswith("headscript."):
            assert f"`text.{entry.name}" in page or f"`{entry.name}(" in page
