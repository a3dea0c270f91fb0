"""Random programs of any form, most of which give no pattern: what is said of them must hold."""

from hypothesis import strategies as st

from headscript.programs import Program

_FLAGS = st.sampled_from(["text.is_comma", "text.is_new", "text.is_name", "text.one_of(' the')"])
_PLACES = st.sampled_from(["previous", "following", "within", "at"])
_RELATIONS = (
    "first itself allowed earlier last same_token same_word same_sentence same_before after_same "
    "after_same_pair before_same sentence_start"
).split()


def _joined(form: str, *parts):
    return st.builds(form.format, *parts)


def _is_no_power(written: str) -> bool:
    return not written.endswith(("** 2)", "** w)"))


def conditions(*names: str):
    """True or false for each pair; `names` are of such."""
    plain = st.one_of(
        _joined("text.{}", st.sampled_from(_RELATIONS)),
        _joined("text.{}({})", _PLACES, st.integers(-2, 4)),
        _joined("text.{}({})", st.sampled_from(["latest", "before"]), _FLAGS),
        _joined("text.nth({}, 2)", _FLAGS),
        _joined("{}({})", st.sampled_from(["query", "key"]), _FLAGS),
        st.sampled_from(["(text.distance < 3)", *names]),
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            _joined("({} {} {})", inner, st.sampled_from("&|"), inner), _joined("~{}", inner)
        ),
        max_leaves=3,
    )


def values(relation: str = "text.itself", score: str = "text.distance"):
    """Numbers for each pair, patterns among them; the arguments are names, or what to say there."""
    true_or_false = conditions(relation)
    plain = st.one_of(
        _joined("({} * 1.0)", true_or_false),
        _joined("softmax({} * w)", true_or_false),
        _joined("text.between({})", _FLAGS),
        st.sampled_from(["text.distance", "key(text.rarity)", "query(text.position)", score]),
    )
    unary = ["sqrt({})", "log({})", "(-{})", "(w * {})", "softmax({})"]
    powers = ["({} ** 2)", "({} ** w)"]  # of which the gate takes no power
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.sampled_from(unary).flatmap(lambda form: _joined(form, inner)),
            st.sampled_from(powers).flatmap(lambda form: _joined(form, inner.filter(_is_no_power))),
            _joined("({} {} {})", inner, st.sampled_from("+-*/"), inner),
            _joined("where({}, {}, {})", true_or_false, inner, inner | st.just("0")),
            _joined("{}({}, {})", st.sampled_from(["minimum", "maximum"]), inner, inner),
            _joined("softmax({}, {})", inner, true_or_false),
            _joined("(w * softmax({}) + (1 - w) * {})", inner, inner),
        ),
        max_leaves=5,
    )


@st.composite
def programs(draw):
    """Programs with names for a condition and for numbers."""
    return Program.parse(
        "def attend(text, w=0.5):\n"
        f"    seen = {draw(conditions())}\n"
        f"    base = {draw(values('seen'))}\n"
        f"    return {draw(values('seen', 'base'))}\n"
    )
