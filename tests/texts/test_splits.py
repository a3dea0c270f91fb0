import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscript.errors import HeadscriptError
from headscript.texts import Document, Splits, load_texts, split_documents

WORDS = "cat dog sun moon tree lake bird fish hill road ship star wind rain snow leaf".split()


def texts(count: int, *, words: int = 60, seed: int = 0, part: str | None = None) -> list[Document]:
    """Texts of random words; two of them share hardly a run of five."""
    draw = random.Random(seed)
    return [
        Document(f"{part or 'text'}-{n}", " ".join(draw.choices(WORDS, k=words)), part)
        for n in range(count)
    ]


def complaint(documents: list[Document], select: float = 0.2, test: float = 0.2) -> str:
    with pytest.raises(HeadscriptError) as caught:
        split_documents(documents, seed=0, select=select, test=test)
    return str(caught.value)


def all_ids(splits: Splits) -> list[str]:
    return [d.id for d in [*splits.fit, *splits.select, *splits.test]]


@given(count=st.integers(3, 60), seed=st.integers(0, 9), share=st.floats(0.01, 0.49))
def test_every_text_is_in_one_split_and_none_is_empty(count: int, seed: int, share: float) -> None:
    documents = texts(count)
    splits = split_documents(documents, seed=seed, select=share, test=share)
    assert sorted(all_ids(splits)) == sorted(document.id for document in documents)
    assert splits.fit
    assert splits.select
    assert splits.test
    assert splits.dropped == []


def test_shares() -> None:
    splits = split_documents(texts(100), seed=0, select=0.1, test=0.3)
    assert (len(splits.fit), len(splits.select), len(splits.test)) == (60, 10, 30)


def test_the_seed_decides_and_the_order_of_the_file_does_not() -> None:
    documents = texts(40)
    first = split_documents(documents, seed=0)
    assert first == split_documents(documents, seed=0)
    assert set(first.test) != set(split_documents(documents, seed=1).test)
    turned = split_documents(documents[::-1], seed=0)
    assert turned.test == first.test[::-1]
    assert turned.fit == first.fit[::-1]


def test_splits_keep_the_order_of_the_documents() -> None:
    documents = texts(40)
    splits = split_documents(documents, seed=0)
    for split in (splits.fit, splits.select, splits.test):
        assert split == sorted(split, key=documents.index)


# Near-duplicates


def test_a_near_duplicate_is_set_aside_for_the_first_of_its_kind() -> None:
    documents = texts(10)
    words = documents[3].text.split()
    words[30] = "zebra"
    documents.append(Document("copy", " ".join(words).upper() + "!"))
    documents.append(Document("again", documents[3].text))
    splits = split_documents(documents, seed=0)
    assert [(d.id, d.kept_id) for d in splits.dropped] == [("copy", "text-3"), ("again", "text-3")]
    # Five of 56 runs of five words hold the changed one, in each of the two texts.
    assert splits.dropped[0].similarity == pytest.approx(51 / 61)
    assert splits.dropped[1].similarity == 1
    assert sorted(all_ids(splits)) == sorted(document.id for document in documents[:10])


def test_half_in_common_is_where_it_begins() -> None:
    # 20 words make 16 runs of five, numbered words make them distinct. A text that goes on
    # after the first 20 with 20 others has 36 runs, with 16 in common; half would be 18.
    short = " ".join(f"w{n}" for n in range(20))
    others = texts(3)
    more = " ".join(f"w{n}" for n in range(36))  # 32 runs
    splits = split_documents([Document("short", short), Document("double", more), *others], seed=0)
    assert [(d.id, d.similarity) for d in splits.dropped] == [("double", 0.5)]
    longer = Document("longer", f"{more} w36")
    assert split_documents([Document("short", short), longer, *others], seed=0).dropped == []


def test_the_quick_search_finds_what_comparing_all_pairs_finds() -> None:
    draw = random.Random(1)
    documents = texts(120, words=25)
    for n in range(60):
        words = draw.choice(documents).text.split()
        for _ in range(draw.randrange(1, 6)):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
        documents.append(Document(f"changed-{n}", " ".join(words)))

    def runs(document: Document) -> set[tuple[str, ...]]:
        words = document.text.split()
        return set(zip(*(words[start:] for start in range(5)), strict=False))

    kept: list[Document] = []
    dropped: dict[str, float] = {}
    for document in documents:
        own = runs(document)
        similarity = max(
            (len(own & runs(k)) / len(own | runs(k)) for k in kept),
            default=0.0,
        )
        if similarity >= 0.5:
            dropped[document.id] = similarity
        else:
            kept.append(document)
    splits = split_documents(documents, seed=0)
    assert dropped == {d.id: d.similarity for d in splits.dropped}
    assert 10 < len(dropped) < 60


def test_texts_that_begin_alike_are_one_where_no_more_is_read() -> None:
    licence = " ".join(f"licence{n}" for n in range(60))
    documents = [Document(d.id, f"{licence} {d.text}") for d in texts(10, words=400)]
    assert split_documents(documents, seed=0).dropped == []
    message = "All 10 texts are near-duplicates"
    with pytest.raises(HeadscriptError, match=message):
        split_documents(documents, seed=0, read=[licence] * 10)
    others = texts(5, seed=1)
    read = [*[licence] * 10, *(document.text for document in others)]
    splits = split_documents([*documents, *others], seed=0, read=read)
    assert {d.kept_id for d in splits.dropped} == {"text-0"}
    assert len(splits.dropped) == 9
    assert len(all_ids(splits)) == 6


def test_texts_that_end_alike_differ_where_the_end_is_not_read() -> None:
    end = " ".join(f"end{n}" for n in range(400))
    documents = [Document(d.id, f"{d.text} {end}") for d in texts(10)]
    assert "All 10 texts are near-duplicates" in complaint(documents)
    read = [document.text.removesuffix(end) for document in documents]
    whole = split_documents(documents, seed=0, read=read)
    assert whole.dropped == []
    assert len(all_ids(whole)) == 10


def test_short_texts_and_texts_without_words() -> None:
    documents = [
        Document(str(n), t) for n, t in enumerate(["Yes.", "yes!", "No.", "?!", "...", "?!"])
    ]
    splits = split_documents(documents, seed=0)
    assert [(d.id, d.kept_id) for d in splits.dropped] == [("1", "0"), ("5", "3")]


def test_two_thousand_texts_take_seconds() -> None:
    documents = texts(2000, words=200)
    start = time.process_time()
    split_documents(documents, seed=0)
    assert time.process_time() - start < 10


# Documents that say where they belong


def test_given_parts_are_honoured() -> None:
    documents = [*texts(5, seed=1, part="test"), *texts(9, seed=2, part="fit")]
    documents += texts(2, seed=3, part="select")
    splits = split_documents(documents, seed=0)
    assert (splits.test, splits.fit, splits.select) == (
        documents[:5],
        documents[5:14],
        documents[14:],
    )


def test_select_comes_from_fit_where_no_text_is_marked_for_it() -> None:
    documents = [*texts(20, seed=1, part="fit"), *texts(5, seed=2, part="test")]
    splits = split_documents(documents, seed=0)
    assert splits.test == documents[20:]
    assert len(splits.select) == 4
    assert sorted([*splits.fit, *splits.select], key=documents.index) == documents[:20]


def test_what_is_reported_on_is_kept_and_what_was_fitted_gives_way() -> None:
    documents = [*texts(4, seed=1, part="fit"), *texts(4, seed=2, part="test")]
    documents.append(Document("leak", documents[0].text, "test"))
    splits = split_documents(documents, seed=0)
    assert splits.test == documents[4:]
    assert [(d.id, d.kept_id) for d in splits.dropped] == [("fit-0", "leak")]


def test_real_excerpts(shared: Path) -> None:
    excerpts = load_texts(shared / "data" / "text" / "tinystories_excerpts.jsonl")
    splits = split_documents(excerpts, seed=0)
    assert len(splits.fit) + len(splits.select) >= 490
    assert len(splits.select) == 100
    assert {document.part for document in splits.select} == {"fit"}
    assert {document.part for document in splits.test} == {"test"}


def test_the_built_in_stories_are_all_different() -> None:
    stories = load_texts("stories")
    splits = split_documents(stories, seed=0)
    assert splits.dropped == []
    assert len(all_ids(splits)) == len(stories)


# What goes wrong


def test_one_text() -> None:
    assert complaint(texts(1)) == (
        "1 text is too few to split into fit, select and test; give at least 3 different ones."
    )
    assert complaint(texts(2)).startswith("2 texts are too few")


def test_texts_all_alike() -> None:
    assert complaint([Document(str(n), "The same story, again.") for n in range(7)]) == (
        "All 7 texts are near-duplicates of one another; give at least 3 different ones."
    )


def test_too_few_that_differ() -> None:
    documents = texts(2)
    documents += [Document(f"copy-{n}", documents[0].text) for n in range(5)]
    assert complaint(documents).startswith("2 texts are too few to split into fit, select and test")
    assert "without near-duplicates" in complaint(documents)


def test_a_part_without_a_text() -> None:
    assert complaint(texts(5, part="fit")) == (
        "No text is left for the test split: of the distinct texts 4 are for fit, 1 for select and "
        "0 for test; mark more texts, or remove the field 'part'."
    )
    pair = [*texts(1, seed=1, part="fit"), *texts(1, seed=2, part="test")]
    assert complaint(pair).startswith("No text is left for the select split")


def test_unknown_and_missing_parts() -> None:
    assert complaint([*texts(2), *texts(3, seed=1, part="test")]).startswith(
        "The field 'part' is given for 3 of 5 texts"
    )
    assert "The part of text 'train-0' is 'train'" in complaint(texts(4, part="train"))


@pytest.mark.parametrize(("select", "test"), [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.2)])
def test_shares_that_leave_nothing(select: float, test: float) -> None:
    assert "above 0 and together below 1" in complaint(texts(9), select=select, test=test)
