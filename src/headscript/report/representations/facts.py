"""Facts in words: the rows of names and values that a terminal and a notebook both show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from headscript.heads import Head
from headscript.wording import short_name

if TYPE_CHECKING:
    from headscript.evaluation.trials import Against, Trial
    from headscript.library.matches import LeftOut, Match, Totals
    from headscript.programs.program import Program
    from headscript.results import HeadResult, Results, TermsSummary

Fact = tuple[str, str | Text]
"""A name, and what there is to say."""

_LINE = 76
"""Characters of a list in a line: with the names on its left it fits into 100 columns."""


def results_facts(results: Results) -> list[Fact]:
    """All heads of a run together."""
    summary = results.summary
    facts: list[Fact] = [
        ("IoU, mean", with_interval(summary.iou.mean, summary.iou.ci95)),
        ("IoU, median", f"{summary.iou.median:.3f}"),
        *baselines_facts(summary.baselines),
    ]
    covered = any(row.status == "ok" for row in results.heads)
    if covered and summary.terms is not None:
        facts.append(("terms", terms_said(summary.terms)))
    facts.append(("coverage", share(summary.coverage)))
    if covered and summary.prefix_consistent is not None:
        facts.append(("prefix-consistent", share(summary.prefix_consistent)))
    return facts


def categories_facts(categories: Mapping[str, int]) -> list[Fact]:
    """What heads do, the most frequent first; nothing where it is not known."""
    by_number = sorted(categories.items(), key=lambda item: -item[1])
    said = listed(f"{name} {number}" for name, number in by_number)
    return [("what heads do", said)] if said else []


def head_facts(row: HeadResult) -> list[Fact]:
    """The scores of one head, but for its frontier."""
    facts: list[Fact] = [("IoU, test", with_interval(row.iou, row.ci95))]
    others = {"select": row.select_iou, "fit": row.fit_iou}
    known = [f"{name} {iou:.3f}" for name, iou in others.items() if iou is not None]
    if known:
        facts.append(("", listed(known)))
    if row.intended_iou is not None:
        facts.append(("its own program", f"{row.intended_iou:.3f}"))
    facts += baselines_facts(row.baselines)
    if row.terms is not None:
        facts.append(("terms", str(row.terms)))
        facts.append(("prefix-consistent", "yes" if row.prefix_consistent else "no"))
    return facts


def program_facts(program: Program) -> str:
    """What is known of a program, in a line."""
    sure = "prefix-consistent" if program.prefix_consistent else "not prefix-consistent"
    return f"{count(program.terms, 'term')}, {sure}"


def match_facts(found: Match) -> list[Fact]:
    """What matching a library with a model's heads gave."""
    facts: list[Fact] = []
    for name, totals in (("as they are", found.as_is), ("refitted", found.refitted)):
        if totals is not None:
            iou = with_interval(totals.iou.mean, totals.iou.ci95)
            facts.append((f"IoU, {name}", iou.append(f", median {totals.iou.median:.3f}")))
            facts.append(("", Text(_in_use(totals), "dim")))
    if found.left_out is not None:
        facts += _left_out_facts(found.left_out)
    usable = found.programs - sum(found.unusable.values())
    library = f"{found.library}, {usable} of {count(found.programs, 'program')}"
    facts += [
        *baselines_facts(found.baselines),
        ("coverage", share(found.coverage)),
        ("library", library),
    ]
    if found.unusable:
        reasons = listed(f"{number} {why}" for why, number in found.unusable.items())
        facts.append(("", Text(reasons, "dim")))
    return facts


def _left_out_facts(found: LeftOut) -> list[Fact]:
    """What programs chosen on all texts but one do on that one."""
    facts: list[Fact] = []
    for name, summary in (("as they are", found.as_is), ("refitted", found.refitted)):
        if summary is not None:
            iou = with_interval(summary.mean, summary.ci95)
            facts.append((f"one text left out, {name}", iou))
    said = f"each of {count(found.texts, 'text')} with programs chosen on the others"
    best = max(found.baselines.items(), key=lambda item: item[1])
    return [*facts, ("", Text(f"{said}; best baseline {best[0]} {best[1]:.2f}", "dim"))]


def trial_title(found: Trial) -> tuple[str, str]:
    """The head, and what was tried on it."""
    texts = f"{count(len(found.text_ids), f'{found.on} text')}, {found.tokens:,} tokens"
    return f"Layer {found.head.layer}, head {found.head.head}", f"  '{found.idea.name}' on {texts}"


def trial_facts(found: Trial) -> list[Fact]:
    """An idea beside the run's program and the baselines: IoU, each with its interval."""
    facts: list[Fact] = [("idea", with_interval(found.iou.mean, found.iou.ci95))]
    if found.fitted is not None:
        before, after = found.fitted.proposed_iou, found.fitted.iou
        facts.append(("", Text(f"on fit texts {before:.3f}, fitted {after:.3f}", "dim")))
        if found.turned:
            said = f"the fit turned the sign of {', '.join(found.turned)}: read its words again"
            facts.append(("", Text(said, "yellow")))
    facts += [("the run's program", "none")] if found.against is None else _against(found.against)
    by_iou = sorted(found.baselines.items(), key=lambda item: -item[1].mean)
    facts += [(name, with_interval(each.mean, each.ci95)) for name, each in by_iou]
    facts.append(("terms", str(found.idea.terms)))
    facts.append(("prefix-consistent", "yes" if found.idea.prefix_consistent else "no"))
    if found.status != "ok":
        facts.append(("the idea fails", Text(visible(found.status), "yellow")))
    return facts


def _against(its: Against) -> list[Fact]:
    """The run's own program, and the idea's IoU less that."""
    gained, texts = its.difference, count(len(its.iou.by_text), "text")
    low, high = gained.ci95
    interval = f"  95 % interval {low:+.3f} to {high:+.3f}, paired by text"
    facts: list[Fact] = [
        ("the run's program", with_interval(its.iou.mean, its.iou.ci95)),
        ("", Text(f"{its.version}, {count(its.program.terms, 'term')}", "dim")),
        ("difference", Text.assemble((f"{gained.mean:+.3f}", "bold"), interval)),
        ("", Text(f"the idea is nearer on {its.texts_ahead} of {texts}", "dim")),
    ]
    if its.status != "ok":
        facts.insert(2, ("", Text(visible(its.status), "yellow")))
    return facts


def misses_facts(found: Trial, label: Callable[[str], str]) -> list[Fact]:
    """Where the idea loses most on its worst text, by query and key."""
    return [
        (
            f"{label(miss.query_token)} ({miss.query}) to {label(miss.key_token)} ({miss.key})",
            f"head {miss.model:.2f}, idea {miss.idea:.2f}",
        )
        for miss in found.misses
    ]


def results_scores(results: Results) -> dict[Head, float]:
    """The test IoU of the heads that have a working program."""
    return {Head(row.layer, row.head): row.iou for row in results.heads if row.status == "ok"}


def match_scores(found: Match) -> dict[Head, float]:
    """The test IoU of each head's program in use."""
    return {Head.parse(row.head): (row.refitted or row.as_is).iou for row in found.by_head}


def results_title(model: str, results: Results) -> tuple[str, str]:
    """The model, and what a grid of its scores shows."""
    summary = results.summary
    tested = count(summary.texts["test"], "test text")
    return short_name(model), f": {count(summary.heads, 'head')}, IoU on {tested}"


def match_title(found: Match) -> tuple[str, str]:
    """The same of a match."""
    how = "refitted" if found.refitted is not None else "as they are"
    tested = count(found.texts["test"], "test text")
    heads = count(found.heads, "head")
    return short_name(found.model), f": {heads}, programs {how}, IoU on {tested}"


def baselines_facts(baselines: Mapping[str, float]) -> list[Fact]:
    """Patterns that need no program, best first; nothing where there are none."""
    ordered = sorted(baselines.items(), key=lambda item: -item[1])
    said = listed(f"{name} {iou:.2f}" for name, iou in ordered)
    return [("baselines", said)] if said else []


def frontier_points(
    points: Sequence[tuple[int, float]], chosen: int | None, most: int = 9
) -> list[tuple[int, float]]:
    """At most `most` points of a frontier, evenly taken, and that with `chosen` terms."""
    step = max(1.0, (len(points) - 1) / (most - 1))
    wanted = {round(number * step) for number in range(min(most, len(points)))}
    return [point for number, point in enumerate(points) if number in wanted or point[0] == chosen]


def facts_table(facts: Iterable[Fact] = ()) -> Table:
    """Names on the left, values on the right."""
    table = Table.grid(padding=(0, 2), pad_edge=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    add_facts(table, facts)
    return table


def add_facts(table: Table, facts: Iterable[Fact]) -> None:
    """Further rows of a table of facts."""
    for name, value in facts:
        table.add_row(Text(name), Text(visible(value)) if isinstance(value, str) else value)


def with_interval(mean: float, interval: tuple[float, float]) -> Text:
    """A number with its 95 % interval."""
    low, high = interval
    return Text.assemble((f"{mean:.3f}", "bold"), f"  95 % interval {low:.3f} to {high:.3f}")


def terms_said(terms: TermsSummary) -> str:
    """Numbers of constants."""
    return f"median {terms.median:g}, mean {terms.mean:.1f}, at most {terms.max}"


def share(part: float) -> str:
    """A part of a whole, in per cent."""
    return f"{100 * part:.4g} %"


def listed(items: Iterable[str], width: int = _LINE) -> str:
    """Items in lines of at most `width`, broken between items only."""
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) + 2 > width:
            lines[-1] += ","
            lines.append("")
        lines[-1] += f", {item}" if lines[-1] else item
    return "\n".join(lines)


def count(number: int, noun: str) -> str:
    """So many of something, in the singular or the plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """A text whose control characters are escapes, so that none reaches a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _in_use(totals: Totals) -> str:
    terms = totals.terms
    return (
        f"{count(totals.programs, 'program')} in use, terms: median {terms.median:g}, "
        f"at most {terms.max}"
    )
