"""Times and names as a person would say them."""

import pytest

from headscript.wording import duration, short_name


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.24, "0.2 s"),
        (0.97, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (128, "2 min 08 s"),
        (3_700, "1 h 01 min"),
        (None, ""),
        (float("inf"), ""),
    ],
)
def test_times_are_said_as_a_person_would(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("stories", "stories"),
        ("owner/model", "owner/model"),
        ("models/deep/gpt2/", "gpt2"),
        ("/home/me/texts.jsonl", "texts.jsonl"),
        ("../texts", "texts"),
        ("~/texts.txt", "texts.txt"),
        ("..", ".."),
        ("C:\\me\\texts.txt", "texts.txt"),
    ],
)
def test_of_a_path_the_last_part_is_said(name: str, short: str) -> None:
    assert short_name(name) == short
