"""The rows of a study as files: STUDY/results/NAME.csv and NAME.parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from headscript.study.folder import StudyFolder
from headscript.study.report.causal_rows import (
    correlation_rows,
    question_rows,
    replacement_rows,
    tuning_rows,
)
from headscript.study.report.gathering import Gathered
from headscript.study.report.rows import (
    Row,
    category_rows,
    domain_rows,
    head_rows,
    protocol_rows,
    step_rows,
    summary_rows,
    transfer_rows,
    unexplained_rows,
)
from headscript.study.report.vocabulary import vocabulary_rows

TABLES: dict[str, Callable[[Gathered], list[Row]]] = {
    "heads": head_rows,
    "summary": summary_rows,
    "protocol": protocol_rows,
    "domains": domain_rows,
    "categories": category_rows,
    "vocabulary": vocabulary_rows,
    "transfer": transfer_rows,
    "replacement": replacement_rows,
    "correlation": correlation_rows,
    "tuning": tuning_rows,
    "questions": question_rows,
    "unexplained": unexplained_rows,
    "steps": step_rows,
}
"""What makes the rows of each table."""

Tables = Mapping[str, Sequence[Row]]


def tables_of(found: Gathered) -> dict[str, list[Row]]:
    """All tables by name; one that nothing is known of has no rows."""
    return {name: make(found) for name, make in TABLES.items()}


def write_tables(folder: StudyFolder, tables: Tables) -> None:
    """Write each table that has rows, numbers in full; what is not known is empty."""
    for name, rows in tables.items():
        if rows:
            for ending, content in _files(rows).items():
                folder.write(f"results/{name}.{ending}", content)


def _files(rows: Sequence[Row]) -> dict[str, bytes]:
    import polars  # a tenth of a second that other commands need not pay

    columns = dict.fromkeys(column for row in rows for column in row)
    frame = polars.DataFrame(
        {column: [row.get(column) for row in rows] for column in columns}, strict=False
    )
    parquet, csv = io.BytesIO(), io.BytesIO()
    frame.write_parquet(parquet)
    frame.write_csv(csv)
    return {"parquet": parquet.getvalue(), "csv": csv.getvalue()}
