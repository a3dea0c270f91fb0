"""Names for constants and locals, from what they stand for."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Container

from headscript.language.gate import literal_value
from headscript.language.vocabulary import VOCABULARY
from headscript.programs.explanation import ordinal
from headscript.programs.terms import Term, parse_expression

MAX_NAME = 40

_MARKS = {
    ",": "comma",
    ".": "period",
    "!": "exclamation",
    "?": "question",
    '"': "quote",
    "“": "quote",
    "”": "quote",
    "'": "apostrophe",
    "’": "apostrophe",
    ":": "colon",
    ";": "semicolon",
    "-": "hyphen",
    "–": "dash",
    "—": "dash",
    "(": "bracket",
    ")": "bracket",
    "\n": "newline",
}


def constant_name(term: Term, weight: float, taken: Container[str]) -> str:
    """A name for a term's weight, from its meaning: `first`, `to_commas`, `from_names_to_first`."""
    pieces = []
    if term.query is not None:
        pieces.append("from_" + expression_name(parse_expression(term.query).tree))
    if term.relation is not None:
        relation = _relation_name(parse_expression(term.relation).tree, weight)
        pieces.append("to_" + relation if pieces else relation)
    if term.key is not None:
        pieces.append("to_" + expression_name(parse_expression(term.key).tree))
    return free_name("_".join(pieces) or "bias", taken)


def _relation_name(node: ast.expr, weight: float) -> str:
    name = expression_name(node)
    if name == "log_distance":
        return "recency" if weight < 0 else "remoteness"
    return name


def free_name(wanted: str, taken: Container[str]) -> str:
    """A valid name close to the wanted one that is not taken and no longer than 40 characters."""
    if not wanted.isidentifier():
        wanted = f"the_{wanted}"  # begins with a digit, as 10th_comma does
    name = _shortened(wanted, MAX_NAME)
    number = 2
    while name in taken or _has_meaning(name):
        suffix = f"_{number}"
        name = _shortened(wanted, MAX_NAME - len(suffix)) + suffix
        number += 1
    return name


def _shortened(name: str, length: int) -> str:
    if len(name) <= length:
        return name
    cut = name[: length + 1].rpartition("_")[0] or name[:length]
    while cut.rpartition("_")[2] in ("to", "from", "and", "of"):
        cut = cut.rpartition("_")[0]
    return cut.rstrip("_") or name[:length]


def _has_meaning(name: str) -> bool:
    entry = VOCABULARY.get(name)
    return (
        keyword.iskeyword(name)
        or keyword.issoftkeyword(name)
        or hasattr(builtins, name)
        or name in ("text", "run", "attend")
        or (entry is not None and entry.kind == "function")
    )


def words_name(tokens: list[str]) -> str:
    """A name for a list of literal tokens: `the`, `a_upon_to`, `was_time_etc`."""
    words = []
    for token in tokens[:3]:
        bare = token.strip(" ").lower()
        word = re.sub(r"[^a-z0-9]+", "_", bare).strip("_")
        if not word:
            word = "_".join(_MARKS[mark] for mark in bare if mark in _MARKS) or "token"
        if word not in words:
            words.append(word)
    if len(tokens) > 3:
        words.append("etc")
    name = "_".join(words)
    if name[0].isdigit() or _has_meaning(name):
        name = "word_" + name
    return name


def expression_name(node: ast.expr) -> str:
    """A piece of a name: text.is_comma is `commas`, log(text.distance + 1) `log_distance`."""
    name = re.sub(r"[^a-z0-9]+", "_", _words(node).lower()).strip("_")
    return name or "value"


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return words_name([node.value]) if isinstance(node.value, str) else str(node.value)
    if isinstance(node, ast.Attribute):
        return _entry_words(node.attr)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return " ".join([node.func.id, *(_words(argument) for argument in node.args)])
        assert isinstance(node.func, ast.Attribute)
        strings = [
            argument.value
            for argument in node.args
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        if node.func.attr in ("one_of", "word_in"):
            return words_name(strings)
        if node.func.attr == "nth":
            return f"{ordinal(literal_value(node.args[1]))} {_words(node.args[0])}"
        return " ".join([_entry_words(node.func.attr), *(_words(a) for a in node.args)])
    if isinstance(node, ast.UnaryOp):
        return ("not " if isinstance(node.op, ast.Invert) else "minus ") + _words(node.operand)
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Add) and isinstance(node.right, ast.Constant):
            return _words(node.left)  # the + 1 that keeps a logarithm finite
        joint = {ast.BitAnd: " ", ast.BitOr: " or "}.get(type(node.op), " ")
        return _words(node.left) + joint + _words(node.right)
    if isinstance(node, ast.Compare):
        sign = {ast.Lt: "below", ast.LtE: "up to", ast.Gt: "over", ast.GtE: "from", ast.Eq: "is"}
        middle = sign.get(type(node.ops[0]), "is not")
        return f"{_words(node.left)} {middle} {_words(node.comparators[0])}"
    return ""


def _entry_words(name: str) -> str:
    """A token property by its phrase where that is short ("commas"), anything else by its name."""
    entry = VOCABULARY.require(name)
    if entry.kind == "token property" and not entry.parameters and 0 < len(entry.phrase) <= 22:
        return entry.phrase.removeprefix("tokens ")
    return name
