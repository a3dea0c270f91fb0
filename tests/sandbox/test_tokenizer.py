"""The sandbox's tokenizer says what the real one says."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.sandbox.tokenizers import KINDS, SENTENCES

from headscript.errors import HeadscriptError
from headscript.language.text import TextReader
from headscript.programs.sentences import answers_of, sentence_of
from headscript.sandbox.sentence import Sentence
from headscript.sandbox.tokenizer import Tokenizer


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def real(kind: str) -> Any:
    return KINDS[kind]()


def sentence(real: Any, text: str = SENTENCES[0]) -> Sentence:
    return sentence_of(TextReader(real)(real(text)["input_ids"]))


@pytest.fixture
def stand_in(real: Any) -> tuple[Tokenizer, str]:
    """A tokenizer for a sentence, and the sentence as programs get it."""
    found = Sentence.decode(sentence(real).encode())
    return Tokenizer(found, answers_of(real)), found.text


def test_a_sentence_comes_back_from_its_tokens(real: Any, kind: str) -> None:
    found = sentence(real)
    lower = kind == "word piece"
    written = SENTENCES[0].lower().replace(",", " ,").replace(".", " .") if lower else SENTENCES[0]
    # What a word piece leaves of spaces around punctuation is not known; its tokens are the same.
    assert found.text.replace(" ", "") == written.replace(" ", "")
    assert list(found.token_ids) == real(found.text)["input_ids"]
    assert Sentence.decode(found.encode()) == found


def test_the_tokens_of_the_sentence(stand_in: tuple[Tokenizer, str], real: Any) -> None:
    own, text = stand_in
    expected = real([text], return_tensors="pt", return_offsets_mapping=True)
    found = own([text], return_tensors="pt", return_offsets_mapping=True)
    assert found.input_ids.tolist() == expected["input_ids"].tolist()
    assert found["attention_mask"].tolist() == expected["attention_mask"].tolist()
    assert found["offset_mapping"].tolist() == expected["offset_mapping"].tolist()
    assert found.word_ids() == expected.word_ids()
    assert found.word_ids(batch_index=0) == expected.word_ids(batch_index=0)
    assert found.tokens() == expected.tokens()
    assert len(found.input_ids[0]) == found.input_ids.shape[1] == found.input_ids.size(1)
    assert found.input_ids[0][1].item() == expected["input_ids"][0][1].item()
    assert found.char_to_token(3) == expected.char_to_token(3)
    assert list(found.word_to_tokens(2)) == list(expected.word_to_tokens(2))
    assert found.to("cpu") is found


@pytest.mark.parametrize(
    "use",
    [
        lambda t, s: t(s)["input_ids"],
        lambda t, s: t([s, s]).input_ids,
        lambda t, s: t(s, add_special_tokens=False)["input_ids"],
        lambda t, s: t(s, truncation=True, max_length=5)["attention_mask"],
        lambda t, s: t.encode(s),
        lambda t, s: t.encode(s, add_special_tokens=False),
        lambda t, s: t.tokenize(s),
        lambda t, s: t.tokenize("she smiled"),
        lambda t, s: t("Another text, not the sentence.")["input_ids"],
        lambda t, s: t(s.split(), is_split_into_words=True).word_ids(),
        lambda t, s: t([s, "short"], padding=True).input_ids if t.pad_token else None,
        lambda t, s: t.convert_ids_to_tokens(t(s)["input_ids"]),
        lambda t, s: t.convert_ids_to_tokens(t(s)["input_ids"], skip_special_tokens=True),
        lambda t, s: t.convert_ids_to_tokens(7),
        lambda t, s: t.convert_tokens_to_ids(t.tokenize(s)),
        lambda t, s: t.convert_tokens_to_ids("no-such-token"),
        lambda t, s: [t.decode([number]) for number in t(s)["input_ids"]],
        lambda t, s: t.decode(t(s)["input_ids"], clean_up_tokenization_spaces=False),
        lambda t, s: t.get_vocab().get(t.tokenize(s)[0]),
        lambda t, s: "no-such-token" in t.get_vocab(),
        lambda t, s: (t.vocab_size, len(t), t.all_special_ids, t.all_special_tokens),
        lambda t, s: (t.cls_token, t.sep_token_id, t.bos_token, t.eos_token_id, t.pad_token_id),
    ],
)
def test_it_answers_like_the_real_one(
    use: Callable[[Any, str], Any], stand_in: tuple[Tokenizer, str], real: Any
) -> None:
    own, text = stand_in
    assert use(own, text) == use(real, text)


def test_only_what_it_does_not_know_is_asked(real: Any) -> None:
    asked: list[dict[str, Any]] = []

    def ask(question: dict[str, Any]) -> Any:
        asked.append(question)
        return answers_of(real)(question)

    found = sentence(real)
    own = Tokenizer(found, ask)
    ids = own([found.text], return_tensors="pt").input_ids[0]
    own.convert_ids_to_tokens(ids)
    own.tokenize(found.text)
    [own.decode(number) for number in ids]
    assert asked == []
    own.encode("zebra")
    assert [question["ask"] for question in asked] == ["tokenize"]


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"ask": "run", "text": "x"},
        {"ask": "tokenize", "text": 5, "special": True},
        {"ask": "tokenize", "text": "x" * 200_000, "special": True},
        {"ask": "tokenize", "text": [["x"]], "special": True},
        {"ask": "tokens", "ids": [10**9]},
        {"ask": "tokens", "ids": [-1]},
        {"ask": "tokens", "ids": ["0"]},
        {"ask": "decode", "ids": [True]},
        {"ask": "ids", "tokens": [{}]},
        {"ask": "parse", "text": None},
    ],
)
def test_a_strange_question_is_refused(question: dict[str, Any]) -> None:
    with pytest.raises(HeadscriptError):
        answers_of(KINDS["byte level"]())(question)


def test_ids_that_no_text_gives_are_laid_out_by_their_surfaces() -> None:
    real = KINDS["byte level"]()
    vocabulary = real.get_vocab()
    letters = [vocabulary[letter] for letter in ("o", "n", "e", "Ġ", "a", ",")]
    found = sentence_of(TextReader(real)(letters))
    assert real("one a,")["input_ids"] != letters
    assert found.text == "one a,"
    assert found.offsets == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6))
    assert found.words == (0, 0, 0, 1, 1, 2)
