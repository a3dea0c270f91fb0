"""What a person reads: tables of results, scores, one head, and the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from headscript.cli.terminal import duration
from headscript.heads import Head

if TYPE_CHECKING:
    from headscript.evaluation import Portrait, Score, Sighting
    from headscript.results import HeadResult, ProposerSummary, Results
    from headscript.runs import Run

# Dark to light, so that the digits stay readable on each, and the order survives in grey.
_RAMP = ((0.2, (38, 42, 54)), (0.5, (33, 92, 110)), (0.75, (72, 160, 139)), (1.0, (214, 232, 170)))
_MARGIN = 2
_LINE = 76
"""Characters of a list in a line: with the names on its left it fits into 100 columns."""


def print_results(console: Console, run: Run, results: Results) -> None:
    """The end of `explain`: every head, all heads together, and where the run is."""
    summary = results.summary
    tested = count(summary.texts["test"], "test text")
    console.print()
    console.print(
        Text.assemble(
            (short(run.model.name), "bold"),
            f": {count(summary.heads, 'head')}, IoU on {tested}",
            ("  in hundredths, by layer and head", "dim"),
        )
    )
    console.print()
    scores = {Head(row.layer, row.head): row.iou for row in results.heads if row.status == "ok"}
    print_heads(console, scores, max(run.model.heads_per_layer))
    console.print()
    table = facts()
    table.add_row("IoU, mean", with_interval(summary.iou.mean, summary.iou.ci95))
    table.add_row("IoU, median", f"{summary.iou.median:.3f}")
    add_baselines(table, summary.baselines)
    terms = summary.terms
    table.add_row("terms", f"median {terms.median:g}, mean {terms.mean:.1f}, at most {terms.max}")
    table.add_row("coverage", share(summary.coverage))
    table.add_row("prefix-consistent", share(summary.prefix_consistent))
    for name, contribution in summary.proposers.items():
        table.add_row(name, contributed(contribution))
    if summary.categories:
        by_number = sorted(summary.categories.items(), key=lambda item: -item[1])
        table.add_row("what heads do", listed(f"{name} {number}" for name, number in by_number))
    if summary.seconds:
        stages = listed(f"{name} {duration(took)}" for name, took in summary.seconds.items())
        table.add_row("time", duration(sum(summary.seconds.values())))
        table.add_row("", Text(stages, "dim"))
    if summary.peak_memory_mb:
        table.add_row("peak memory", f"{summary.peak_memory_mb / 1000:.1f} GB")
    table.add_row("run", Text(str(run.directory), "bold"))
    console.print(table)
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
    console.print(
        Text.assemble(
            (short(run.model.name), "bold"),
            f": {count(score.heads, 'head')}, IoU on {count(score.texts, 'text')} of {source}",
            ("  in hundredths, by layer and head", "dim"),
        )
    )
    console.print()
    scores = {Head.parse(row.head): row.iou for row in score.by_head}
    print_heads(console, scores, max(run.model.heads_per_layer))
    console.print()
    table = facts()
    table.add_row("IoU, mean", with_interval(score.iou.mean, score.iou.ci95))
    table.add_row("IoU, median", f"{score.iou.median:.3f}")
    add_baselines(table, score.baselines)
    terms = score.terms
    table.add_row("terms", f"median {terms.median:g}, mean {terms.mean:.1f}, at most {terms.max}")
    table.add_row("tokens", f"{score.tokens:,}")
    table.add_row("coverage", share(score.coverage))
    table.add_row("prefix-consistent", share(score.prefix_consistent))
    console.print(table)
    failed = [(row.head, row.status) for row in score.by_head if row.status != "ok"]
    if failed:
        console.print()
        print_uncovered(console, failed)


def print_head(console: Console, shown: Portrait) -> None:
    """The end of `show`."""
    row = shown.scores
    console.print()
    title = Text(f"Layer {row.layer}, head {row.head}", "bold")
    if row.category:
        title.append(f"  {row.category}", "cyan")
    if row.chosen_from and row.chosen_from != str(shown.head):
        title.append(f"  its program was written for {row.chosen_from}", "dim")
    console.print(title)
    console.print()
    if shown.program is not None:
        source = shown.program.source.strip()
        console.print(
            Syntax(source, "python", theme="ansi_dark", background_color="default", word_wrap=True)
        )
        console.print()
    if shown.edited:
        console.print("The program was edited; the scores are of what it was.", style="yellow")
        console.print()
    console.print(_head_facts(row))
    for name, sighting in (("Best", shown.best), ("Worst", shown.worst)):
        if sighting is not None:
            _print_sighting(console, name, sighting)
    if shown.note:
        console.print()
        console.print(shown.note, style="yellow", markup=False)


def print_diagnosis(console: Console, diagnosis: Mapping[str, Any]) -> None:
    """The end of `doctor`."""
    table = facts()
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
    table.add_row("model hub", "switched off (HF_HUB_OFFLINE)" if offline else "asked for hub ids")
    console.print()
    console.print(table)


def contributed(part: ProposerSummary) -> str:
    """What a proposer contributed, and what it took."""
    gained = part.iou_gained
    said = [f"in the programs of {share(part.heads)} of heads"]
    if gained is not None:
        said.append(f"IoU {gained:+.4f} over the search alone")
    if part.iou_gained_per_dollar is not None:
        said.append(f"{part.iou_gained_per_dollar:+.4f} a dollar")
    if part.requests is not None:
        said.append(f"{part.answers} of {count(part.requests, 'request')} answered")
        said.append(f"{part.input_tokens:,} tokens in, {part.output_tokens:,} out")
        said.append("cost not known" if part.cost is None else f"${part.cost:,.2f}")
    said += [f"{name} {number}" for name, number in part.outcomes.items()]
    return listed(said)


def print_heads(console: Console, scores: Mapping[Head, float], most: int) -> None:
    """A grid of layers and heads in hundredths, or a line a layer where that is too wide."""
    layers = sorted({head.layer for head in scores})
    if not layers:
        return
    cell = 4 if most <= 16 else 3
    if _MARGIN + 4 + cell * most + 8 > console.width:
        _print_layers(console, scores)
        return
    header = Text(" " * (_MARGIN + 4))
    header.append("".join(f"{f'H{head}':>{cell}}" for head in range(most)), "dim")
    header.append(f"{'mean':>8}", "dim")
    console.print(header)
    for layer in layers:
        line = Text(" " * _MARGIN)
        line.append(f"{f'L{layer}':<4}", "dim")
        found = [scores.get(Head(layer, head)) for head in range(most)]
        for iou in found:
            line.append(*_cell(iou, cell))
        line.append(f"{fmean(iou for iou in found if iou is not None):8.2f}")
        console.print(line)


def _print_layers(console: Console, scores: Mapping[Head, float]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(" " * _MARGIN + "layer", style="dim")
    for name in ("heads", "mean", "lowest", "highest"):
        table.add_column(name, justify="right")
    table.add_column("")
    for layer in sorted({head.layer for head in scores}):
        found = [iou for head, iou in scores.items() if head.layer == layer]
        mean = fmean(found)
        bar = Text("━" * round(24 * mean), "cyan")
        numbers = [f"{value:.2f}" for value in (mean, min(found), max(found))]
        table.add_row(f"{' ' * _MARGIN}L{layer}", str(len(found)), *numbers, bar)
    console.print(table)


def _cell(iou: float | None, width: int) -> tuple[str, str]:
    """The characters for a head, and their style."""
    if iou is None:
        return " " * width, ""
    low = next((number for number in range(len(_RAMP) - 1, 0, -1) if iou >= _RAMP[number][0]), 0)
    if low == len(_RAMP) - 1:
        red, green, blue = _RAMP[-1][1]
    else:
        (start, first), (end, second) = _RAMP[low], _RAMP[low + 1]
        part = min(max((iou - start) / (end - start), 0.0), 1.0)
        red, green, blue = (round(a + part * (b - a)) for a, b in zip(first, second, strict=True))
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 110
    ink = "rgb(20,24,30)" if bright else "rgb(225,230,235)"
    return f"{min(round(100 * iou), 100):{width}d}", f"{ink} on rgb({red},{green},{blue})"


def _head_facts(row: HeadResult) -> Table:
    table = facts()
    table.add_row("IoU, test", with_interval(row.iou, row.ci95))
    others = {"select": row.select_iou, "fit": row.fit_iou}
    known = [f"{name} {iou:.3f}" for name, iou in others.items() if iou is not None]
    if known:
        table.add_row("", listed(known))
    if row.intended_iou is not None:
        table.add_row("its own program", f"{row.intended_iou:.3f}")
    if row.best_iou is not None:
        table.add_row("best of all, by test", f"{row.best_iou:.3f}")
    add_baselines(table, row.baselines)
    table.add_row("terms", str(row.terms))
    table.add_row("prefix-consistent", "yes" if row.prefix_consistent else "no")
    if row.frontier:
        table.add_row("terms to IoU", _frontier(row.frontier, row.terms))
    if row.status != "ok":
        table.add_row("status", Text(row.status, "yellow"))
    return table


def _frontier(points: Sequence[tuple[int, float]], chosen: int, most: int = 9) -> Table:
    """IoU on the select texts against terms: at most `most` points, the chosen one in bold."""
    step = max(1.0, (len(points) - 1) / (most - 1))
    wanted = {round(number * step) for number in range(min(most, len(points)))}
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    for number, (terms, iou) in enumerate(points):
        if number in wanted or terms == chosen:
            style = "bold" if terms == chosen else ""
            bar = Text("━" * round(40 * iou), "cyan")
            table.add_row(str(terms), f"{iou:.3f}", bar, style=style)
    return table


def _print_sighting(console: Console, name: str, sighting: Sighting) -> None:
    from headscript.cli.patterns import LEGEND, side_by_side

    console.print()
    console.print(
        Text.assemble(
            (f"{name} test text", "bold"), f"  {sighting.text_id}  IoU {sighting.iou:.3f}"
        )
    )
    console.print(side_by_side(sighting, console.width))
    if name == "Worst":
        console.print(Text(f"  weight {LEGEND}", "dim"))


def print_uncovered(console: Console, failed: Sequence[tuple[str, str]], most: int = 5) -> None:
    """The heads whose programs fail, and why."""
    console.print(f"{count(len(failed), 'head')} without a working program:", style="yellow")
    for head, reason in failed[:most]:
        console.print(f"  {head}  {reason}", markup=False)
    if len(failed) > most:
        console.print(f"  and {len(failed) - most} more")


def add_baselines(table: Table, baselines: Mapping[str, float]) -> None:
    """A row of baselines, best first."""
    if baselines:
        ordered = sorted(baselines.items(), key=lambda item: -item[1])
        table.add_row("baselines", listed(f"{name} {iou:.2f}" for name, iou in ordered))


def facts() -> Table:
    """Names on the left, values on the right."""
    table = Table.grid(padding=(0, 2), pad_edge=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def with_interval(mean: float, interval: tuple[float, float]) -> Text:
    """A number with its 95 % interval."""
    low, high = interval
    return Text.assemble((f"{mean:.3f}", "bold"), f"  95 % interval {low:.3f} to {high:.3f}")


def _mark(good: bool, value: str) -> Text:
    return Text.assemble(("✓ ", "green") if good else ("– ", "dim"), value)


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


def short(model: str) -> str:
    """The last part of a path; a hub id as it is."""
    is_path = model.count("/") > 1 or model.startswith((".", "/", "~"))
    return model.rstrip("/").split("/")[-1] if is_path else model


def count(number: int, noun: str) -> str:
    """So many of something, in the singular or the plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
