"""What the project says about itself agrees with itself."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
EXTRAS = {extra for extra in PROJECT["optional-dependencies"] if extra != "all"}
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
    if not line.startswith("headscript")
]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_pinned_version_is_one_the_project_allows(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_pins_are_plain_versions_each_once() -> None:
    names = re.findall(r"^([^#\s]\S*)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", pin) for pin in PINS.values())


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert version("headscript") == PROJECT["version"]
    assert f"\n## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_all_takes_every_extra_a_user_may_want() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(everything).extras == EXTRAS - {"dev"}


def test_no_file_of_the_package_prints_or_unpickles_past_the_linter() -> None:
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    assert not any(re.search(r"noqa: (T20|S301|S403|TID251)", source) for source in sources)
