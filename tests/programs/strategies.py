"""Random texts, expressions, terms and programs of the language."""

from hypothesis import strategies as st

from headscript.language import VOCABULARY, Entry, Text
from headscript.language.shapes import expected_arguments
from headscript.programs import Term

SURFACES = [
    *"Once the cat , . ! ? ing n't Tom 12 a upon “ ” ' : — \n \n\n é ∞".split(" "),
    *(" the", " The", " Tom", " was", " said", ' "', '."', '"', " in", " she", " her", " not"),
    *(" quick", "ly", " because", "'s", " ", "", "<s>", " 7", " ran", ".\n", ',"'),
]


@st.composite
def texts(draw, min_size=1, max_size=14, causal=True):
    chosen = draw(st.lists(st.integers(0, len(SURFACES) - 1), min_size=min_size, max_size=max_size))
    surfaces = [SURFACES[number] for number in chosen]
    return Text(
        surfaces,
        chosen,
        len(SURFACES),
        causal=causal,
        special=[surface == "<s>" for surface in surfaces],
    )


def own_entries(kind: str) -> list[Entry]:
    """Entries that need nothing but headscript itself."""
    return [
        entry
        for entry in VOCABULARY
        if entry.kind == kind and not entry.group.startswith("linguistics")
    ]


PLAIN = st.sampled_from([e for e in own_entries("token property") if not e.parameters]).map(
    lambda entry: f"text.{entry.name}"
)


def _argument(kind: str):
    if kind == "property":
        return PLAIN
    if kind == "str":
        return st.sampled_from([" the", ",", "ing", "Tom", ' "', "\n", "\\"]).map(repr)
    return st.integers(0, 4).map(str)


@st.composite
def calls(draw, entry: Entry):
    """An entry as a program says it, with arguments."""
    if not entry.parameters:
        return f"text.{entry.name}"
    kinds, _, repeats = expected_arguments(entry)
    arguments = [draw(_argument(kind)) for kind in kinds]
    if repeats:
        arguments += draw(st.lists(_argument(kinds[-1]), max_size=5))
    return f"text.{entry.name}({', '.join(arguments)})"


def _expressions(kind: str):
    consistent = [entry for entry in own_entries(kind) if entry.prefix_consistent]
    plain = st.sampled_from(consistent).flatmap(calls)
    return st.one_of(
        plain,
        plain.map(lambda said: f"log({said} * 1.0 + 1.5)"),
        plain.map(lambda said: f"({said} > 2)"),
        st.tuples(plain, plain).map(lambda pair: f"({pair[0]} != 0) & ({pair[1]} != 0)"),
    )


properties = _expressions("token property")
relations = _expressions("relation")
terms = st.builds(
    Term,
    query=st.none() | properties,
    relation=st.none() | relations,
    key=st.none() | properties,
)
weights = st.floats(-6, 6).map(lambda weight: round(weight, 2))
weighted_terms = st.lists(st.tuples(terms, weights), max_size=8)
