"""What replacing each head of a run alone costs, as 'headscript replace' keeps it.

RUN/costs/VERSION.json            {head: KL in nats a token}, once every head is measured
RUN/costs/VERSION.measured.json   what was measured so far, and of which programs
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.programs.program import Program
from headscript.records import damaged
from headscript.runs import Run


def costs_file(version: str) -> str:
    """Where a run keeps what replacing each head alone costs: {head: KL in nats a token}."""
    return f"costs/{version}.json"


def measured_file(version: str) -> str:
    """Where a run keeps what was measured of which program, and on how many tokens."""
    return f"costs/{version}.measured.json"


def known_costs(
    run: Run, version: str, programs: Mapping[Head, Program] | None = None
) -> dict[Head, float]:
    """What replacing each head alone by its program costs, in nats a token; sorted by head.

    Heads are left out whose cost is not known: that of another program than `programs` (None: as
    they are in the run now) is none of theirs. Nothing where not all heads were measured.

    Raises HeadscriptError where a file is damaged.
    """
    if not run.has(costs_file(version)):
        return {}
    programs = run.programs(version) if programs is None else programs
    file = costs_file(version)
    try:
        if run.has(measured_file(version)):
            file = measured_file(version)
            keys = {str(head): program.key for head, program in programs.items()}
            alone = run.read_json(file)["alone"].items()
            found = {name: row["kl"] for name, row in alone if row["program"] == keys.get(name)}
        else:  # which tells no programs
            found = run.read_json(file)
        known = {head: found.get(str(head)) for head in sorted(programs)}
        costs = {head: float(cost) for head, cost in known.items() if cost is not None}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HeadscriptError(damaged(run.directory / file)) from error
    return {head: cost for head, cost in costs.items() if math.isfinite(cost)}
