"""What a person reads: tables of results, scores, and the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from headscript.heads import Head
from headscript.report.representations.facts import (
    add_facts,
    baselines_facts,
    categories_facts,
    count,
    facts_table,
    listed,
    results_facts,
    results_scores,
    results_title,
    share,
    terms_said,
    with_interval,
)
from headscript.report.representations.grid import HeadGrid
from headscript.report.representations.terminal import titled
from headscript.wording import duration, short_name, too_good

if TYPE_CHECKING:
    from headscript.evaluation import Score
    from headscript.results import Results
    from headscript.runs import Run


def print_results(console: Console, run: Run, results: Results) -> None:
    """The end of `explain`: every head, all heads together, and where the run is."""
    from headscript.cli.proposers_table import add_proposers

    summary = results.summary
    scores = results_scores(results)
    grid = HeadGrid(scores, max(run.model.heads_per_layer))
    console.print()
    console.print(titled(results_title(run.model.name, results), grid))
    table = facts_table(results_facts(results))
    add_proposers(table, summary.proposers, run.directory)
    add_facts(table, categories_facts(summary.categories))
    if summary.seconds:
        stages = listed(f"{name} {duration(took)}" for name, took in summary.seconds.items())
        table.add_row("time", duration(sum(summary.seconds.values())))
        table.add_row("", Text(stages, "dim"))
    if summary.peak_memory_mb:
        table.add_row("peak memory", f"{summary.peak_memory_mb / 1000:.1f} GB")
    table.add_row("run", Text(str(run.directory), "bold"))
    console.print(table)
    print_seen(console, summary.seen, "the test texts", programs="The library's programs")
    uncovered = [row for row in results.heads if row.status != "ok"]
    if uncovered:
        console.print()
        print_uncovered(console, [(str(Head(r.layer, r.head)), r.status) for r in uncovered])
    if scores:
        best = max(scores, key=lambda head: scores[head])
        console.print()
        console.print(
            Text(
                f"Look at a head: headscript show {run.directory} L{best.layer}H{best.head}", "dim"
            ),
            soft_wrap=True,
        )


def print_score(console: Console, run: Run, source: str, score: Score) -> None:
    """The end of `score`."""
    console.print()
    scores = {Head.parse(row.head): row.iou for row in score.by_head}
    grid = HeadGrid(scores, max(run.model.heads_per_layer))
    what = f": {count(score.heads, 'head')}, IoU on {count(score.texts, 'text')} of {source}"
    console.print(titled((short_name(run.model.name), what), grid))
    table = facts_table()
    table.add_row("IoU, mean", with_interval(score.iou.mean, score.iou.ci95))
    table.add_row("IoU, median", f"{score.iou.median:.3f}")
    add_facts(table, baselines_facts(score.baselines))
    table.add_row("terms", terms_said(score.terms))
    table.add_row("tokens", f"{score.tokens:,}")
    table.add_row("coverage", share(score.coverage))
    table.add_row("prefix-consistent", share(score.prefix_consistent))
    console.print(table)
    print_seen(console, score.seen, "these texts")
    failed = [(row.head, row.status) for row in score.by_head if row.status != "ok"]
    if failed:
        console.print()
        print_uncovered(console, failed)


def print_diagnosis(console: Console, diagnosis: Mapping[str, Any]) -> None:
    """The end of `doctor`."""
    table = facts_table()
    versions = diagnosis["versions"]
    table.add_row(
        "headscript", Text(f"{versions['headscript']}, vocabulary {versions['vocabulary']}", "bold")
    )
    table.add_row("python", f"{versions['python']} on {diagnosis['system']}")
    rest = [n for n in versions if n not in ("headscript", "vocabulary", "python")]
    table.add_row("libraries", listed(f"{name} {versions[name] or 'missing'}" for name in rest))
    cpu, memory = diagnosis["cpu"], diagnosis["memory_gb"]
    table.add_row(
        "cpu", f"{count(cpu['cores'], 'core')}, torch uses {count(cpu['threads'], 'thread')}"
    )
    known = [f"{size:g} GB {name}" for name, size in memory.items() if size is not None]
    table.add_row("memory", ", ".join(known) or "not known")
    gpus = [f"{name}: {kind}" for name, kind in diagnosis["devices"].items() if name != "cpu"]
    table.add_row("accelerators", _mark(bool(gpus), listed(gpus) or "none; models run on the cpu"))
    cache = diagnosis["cache"]
    table.add_row(
        "cache",
        _mark(cache["writable"], cache["folder"] + ("" if cache["writable"] else ", not writable")),
    )
    for name, cached in cache["models"].items():
        table.add_row(
            f"  {name}",
            _mark(cached, "cached" if cached else "not cached, fetched when it is used"),
        )
    for extra, packages in diagnosis["extras"].items():
        missing = [name for name, found in packages.items() if found is None]
        here = listed(f"{name} {found}" for name, found in packages.items() if found)
        advice = f"missing {', '.join(missing)}: pip install 'headscript[{extra}]'"
        table.add_row(f"extra {extra}", _mark(not missing, advice if missing else here))
    pipeline = diagnosis["spacy_pipeline"]
    table.add_row("spaCy pipeline", _mark(pipeline is not None, pipeline or "none"))
    sandbox = diagnosis["sandbox"]
    layers = {
        "a process for each run": sandbox["fork"],
        "limits of memory and time": sandbox["rlimits"],
        f"Landlock {sandbox['landlock']}": sandbox["landlock"],
        "seccomp": sandbox["seccomp"],
    }
    active = f"{sandbox['level']}: {listed(name for name, on in layers.items() if on) or 'nothing'}"
    table.add_row("sandbox", _mark(sandbox["level"] == "full", active))
    if sandbox["note"]:
        table.add_row("", Text(sandbox["note"], "dim"))
    offline = diagnosis["hub_offline"]
    hub = "switched off (HF_HUB_OFFLINE)" if offline else "used where a hub id is named"
    table.add_row("model hub", hub)
    console.print()
    console.print(table)


def print_seen(console: Console, seen: int | None, texts: str, **said: str) -> None:
    """The warning where programs have seen some of these texts; nothing where they have not."""
    if seen:
        console.print(too_good(seen, texts, **said), style="yellow", soft_wrap=True)


def print_uncovered(console: Console, failed: Sequence[tuple[str, str]], most: int = 5) -> None:
    """The heads whose programs fail, and why."""
    console.print(f"{count(len(failed), 'head')} without a working program:", style="yellow")
    for head, reason in failed[:most]:
        console.print(f"  {head}  {reason}", markup=False)
    if len(failed) > most:
        console.print(f"  and {len(failed) - most} more")


def _mark(good: bool, value: str) -> Text:
    return Text.assemble(("✓ ", "green") if good else ("– ", "dim"), value)
