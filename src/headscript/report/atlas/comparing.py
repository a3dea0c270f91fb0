"""Two runs side by side, or two versions of one: what may be compared, and what changed."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from headscript.errors import HeadscriptError
from headscript.report.atlas.account import Account
from headscript.runs import Run


def check_comparison(first: tuple[Run, str | None], second: tuple[Run, str | None]) -> None:
    """Refuse to compare a version of a run's programs with itself; None is the newest."""
    (run, version), (other, other_version) = first, second
    if run.directory.resolve() != other.directory.resolve():
        return
    newest = run.versions()[-1]
    if (version or newest) == (other_version or newest):
        raise HeadscriptError(
            f"The programs {version or newest!r} of {run.directory} would be compared with "
            "themselves; name another run, or another of its versions in --compare-programs."
        )


def same_texts(first: Run, second: Run) -> bool:
    """Whether two runs were tested on the same texts, cut into the same tokens."""
    facts = [(run.record.texts or {}).get("test") for run in (first, second)]
    return facts[0] is not None and facts[0] == facts[1]


def change(first: Account, second: Account) -> dict[str, Any] | None:
    """How IoU differs from the first to the second on the same sample, with paired intervals.

    None for two models, for other texts, and where one has no patterns.
    """
    if first.run.model.weights_hash != second.run.model.weights_hash:
        return None
    samples = [first.seen.sample, second.seen.sample]
    if samples[0] is None or samples[1] is None or samples[0].ids != samples[1].ids:
        return None
    if not same_texts(first.run, second.run):
        return None
    differences = {
        head: [
            after - before
            for before, after in zip(seen.ious, second.seen.by_head[head].ious, strict=True)
        ]
        for head, seen in first.seen.by_head.items()
        if seen.ious and head in second.seen.by_head and second.seen.by_head[head].ious
    }
    if not differences:
        return None
    by_text = [fmean(values) for values in zip(*differences.values(), strict=True)]
    return {
        "mean": fmean(by_text),
        "ci95": first.interval(by_text),
        "heads": {
            str(head): [fmean(values), *(first.interval(values) or (None, None))]
            for head, values in differences.items()
        },
    }
