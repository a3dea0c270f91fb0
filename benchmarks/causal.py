"""What replacing heads costs the model: the numbers of docs/benchmarks.md, "In the model's place".

    python benchmarks/causal.py --data FOLDER [--out FOLDER] [--steps N] [--qa] [--json]

FOLDER is that of benchmarks/explain.py; with text/math500.jsonl, text/mbpp.jsonl and
text/sentences.jsonl in it their first rows are among the texts that constants are tuned on. In
order: programs of up to 40 terms for full stories (`explain`), the cost of each head alone, the
causal fit on mixed text, which cuts them to 24 in the mean (`tune`), the cost of each tuned head,
and the curves on text that nothing was fitted to: test excerpts and the stories after the first
1,000. What is there in --out is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from statistics import fmean, median
from typing import Any

from explain import CASES, machine, show, write_texts

from headscript.evaluation.replacing import ReplacementCurve, replacement_curve
from headscript.explaining import explain
from headscript.runs import FOUND, Run
from headscript.texts import Document
from headscript.tuning.tune import tune
from headscript.tuning.versions import TuneSettings

FRACTIONS = (0.25, 0.5, 1.0)
FLOORS = {
    "excerpts": {0.25: 0.04, 0.5: 0.12, 1.0: 0.50},
    "stories": {0.25: 0.08, 0.5: 0.20, 1.0: 0.90},
}
TERMS = 24  # of the mean tuned program
MAX_TOKENS = 256


def rows_of(data: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file of the data folder; none where it is missing."""
    file = data / f"text/{name}.jsonl"
    return [json.loads(line) for line in file.open()] if file.exists() else []


def write_mixed(data: Path, file: Path) -> None:
    """Texts to tune on: stories 1 to 1,000, excerpts of them, some mathematics, code, sentences."""
    texts = [row["text"] for row in rows_of(data, "tinystories")[:1000]]
    texts += excerpts(texts)
    texts += [row["text"] for row in rows_of(data, "tinystories_excerpts") if row["part"] == "fit"]
    for name, fields in (
        ("math500", ("problem", "question", "solution")),
        ("mbpp", ("text", "prompt", "code")),
        ("sentences", ("text",)),
    ):
        for row in rows_of(data, name)[:120]:
            texts.append("\n".join(row[field] for field in fields if field in row)[:600])
    lines = (json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts))
    file.write_text("\n".join(lines) + "\n")


def excerpts(stories: list[str], each: int = 3) -> list[str]:
    """Two to four sentences in a row from somewhere in each story, `each` times."""
    draw = random.Random(0)
    found = []
    for story in stories:
        sentences = re.findall(r"[^.!?]+[.!?]+[\"”']*\s*", story)
        for _ in range(each):
            number = draw.randint(2, 4)
            first = draw.randrange(max(1, len(sentences) - number + 1))
            found.append("".join(sentences[first : first + number]).strip())
    return [text for text in found if len(text) > 40]


def held_out(data: Path) -> dict[str, list[Document]]:
    """Texts that neither programs nor constants were fitted on."""
    excerpts = [row for row in rows_of(data, "tinystories_excerpts") if row["part"] == "test"]
    stories = rows_of(data, "tinystories")[1000:1200]
    return {
        "excerpts": [Document(str(row["story"]), row["text"]) for row in excerpts],
        "stories": [Document(str(row["id"]), row["text"]) for row in stories],
    }


def make_run(data: Path, out: Path) -> Run:
    """The programs: searched on full stories, with every term that adds anything, up to 40."""
    file = out / "stories.jsonl"
    write_texts(CASES["stories"], data, file)
    return explain(
        "smollm2-135m",
        file,
        out / "run",
        max_tokens=MAX_TOKENS,
        max_terms=40,
        term_price=0.00001,
        fit_cells=160_000,
        on_event=show,
    )


def measured(run: Path, documents: dict[str, list[Document]], version: str) -> dict[str, Any]:
    """The curves of a version on the held-out texts."""
    with Run.open_for_writing(run) as opened:
        return {
            name: summary(
                replacement_curve(
                    opened,
                    texts,
                    fractions=FRACTIONS,
                    orders=("cost",),
                    baseline_fractions=(),
                    version=version,
                    max_tokens=MAX_TOKENS,
                    on_event=show,
                ),
                FLOORS[name],
            )
            for name, texts in documents.items()
        }


def summary(curve: ReplacementCurve, floors: dict[float, float]) -> dict[str, Any]:
    """What a reader compares."""
    return {
        "base_perplexity": round(curve.base_perplexity, 3),
        "texts": curve.texts,
        "tokens": curve.tokens,
        "spearman": curve.spearman,
        "prefix_consistent": curve.prefix_consistent,
        "curve": [
            {
                "fraction": point.fraction,
                "perplexity_increase": round(point.perplexity_increase, 4),
                "ci95": [round(end, 4) for end in point.ci95],
                "kl": round(point.kl, 4),
                "top1_agreement": round(point.top1_agreement, 4),
                "coverage": point.coverage,
                "at_most": floors.get(point.fraction),
            }
            for point in curve.curve
        ],
    }


def terms_of(run: Run, version: str) -> tuple[float, float]:
    """Mean and median number of terms of a version's programs."""
    terms = [program.terms for program in run.programs(version).values()]
    return round(fmean(terms), 1), median(terms)


def main() -> None:
    """Print the numbers as JSON, or as lines that a person reads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/causal"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    run = make_run(asked.data, asked.out)
    documents = held_out(asked.data)
    mixed = asked.out / "mixed.jsonl"
    write_mixed(asked.data, mixed)
    # What is searched costs much more, which a part of the stories shows as well.
    fewer = documents | {"stories": documents["stories"][::4]}
    found = {FOUND: measured(run.directory, fewer, FOUND)}
    record = tune(
        run.directory,
        settings=TuneSettings(
            texts=str(mixed), steps=asked.steps, max_tokens=MAX_TOKENS, terms=TERMS
        ),
        on_event=show,
    )
    found["tuned"] = measured(run.directory, documents, "tuned")
    result = {
        "machine": machine(),
        "terms": {version: terms_of(run, version) for version in (FOUND, "tuned")},
        "select": {"before": record.before.model_dump(), "after": record.after.model_dump()},
        "seconds_of_tuning": record.seconds,
        **found,
    }
    if asked.json:
        print(json.dumps(result))
        return
    print(f"{result['machine']}; terms (mean, median): {result['terms']}")
    for version in (FOUND, "tuned"):
        for name in documents:
            print(f"{version}, {name} (perplexity {result[version][name]['base_perplexity']}):")
            for point in result[version][name]["curve"]:
                low, high = point["ci95"]
                floor = point["at_most"]
                print(
                    f"  {point['fraction']:4.0%}  {point['perplexity_increase']:+8.1%}  "
                    f"({low:+.1%} to {high:+.1%})  KL {point['kl']:.4f}  "
                    f"same next token {point['top1_agreement']:.1%}"
                    + (f"  at most {floor:+.0%}" if floor is not None else "")
                )


if __name__ == "__main__":
    main()
