"""What larger models would take: arithmetic on what `growth.py` has measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

TEXTS = {"fit": 192, "select": 48, "test": 200}
TOKENS = 192
TOGETHER = 1_024
"""Programs that choosing compares before it reads the patterns of the heads anew."""
SELECT_CELLS = 100_000
"""Cells of select texts on which all programs meet all heads, as `explain` takes them."""


@dataclass(frozen=True)
class Network:
    """A model, by its published size."""

    name: str
    layers: int
    heads_per_layer: int
    parameters: float

    @property
    def heads(self) -> int:
        """Of all layers."""
        return self.layers * self.heads_per_layer


NETWORKS = (
    Network("Llama-3.2-3B", 28, 24, 3.2e9),
    Network("Llama-3.1-8B", 32, 32, 8.0e9),
    Network("Llama-3.1-70B", 80, 64, 70.6e9),
)


@dataclass(frozen=True)
class Machine:
    """All numbers are assumptions but those that are None, which are measured."""

    name: str
    cores: int
    """Each as fast as the core that was measured, with both its threads."""
    flops: float | None
    """FLOP a second that a forward pass gets; None is what was measured, times the cores."""
    memory: float
    """Bytes for the weights."""
    disk: float
    """Bytes written or read a second."""
    nodes: int = 1
    efficiency: float = 1.0
    """Of a node among several."""


MACHINES = (
    Machine("laptop, 8 cores, 32 GB", 8, None, 32e9, 1e9),
    Machine("one 80 GB GPU, 16 cores", 16, 0.4 * 400e12, 80e9, 1e9),
    Machine("Ray, 8 such nodes", 16, 0.4 * 400e12, 80e9, 1e9, nodes=8, efficiency=0.85),
)


def tables(found: dict[str, Any]) -> str:
    """The unit costs, the assumptions, and what each model takes on each machine, as Markdown."""
    units = Units(found)
    lines = [
        f"{sum(TEXTS.values())} texts of {TOKENS} tokens "
        f"({', '.join(f'{number} {split}' for split, number in TEXTS.items())}).",
        "",
        "| unit cost, measured | |",
        "|---|---|",
        f"| forward pass while recording | {units.flops / 1e9:.0f} GFLOP/s |",
        f"| a cell recorded, beyond the forward pass | {units.cell_seconds * 1e9:.1f} ns |",
        f"| a head searched on {units.search_base:,} cells | {units.search_seconds:.2f} s |",
        f"| the same on {found['search_cells']:,} cells, by an exponent of "
        f"{units.search_exponent:.2f} over texts and tokens | "
        f"{units.search(found['search_cells']):.1f} s |",
        f"| a program executed on a text of {TOKENS} tokens, by the exponent | "
        f"{units.execute(TOKENS) * 1e6:.0f} us |",
        f"| pairs of cells compared | {units.pairs / 1e9:.0f} G/s |",
        "",
        "| assumed | cores | forward pass | memory | disk | nodes |",
        "|---|---|---|---|---|---|",
    ]
    for machine in MACHINES:
        rate = units.flops * machine.cores if machine.flops is None else machine.flops
        kind = "measured x cores" if machine.flops is None else "assumed"
        lines.append(
            f"| {machine.name} | {machine.cores} | {rate / 1e12:.1f} TFLOP/s, {kind} | "
            f"{machine.memory / 1e9:.0f} GB | {machine.disk / 1e9:.0f} GB/s | {machine.nodes}"
            + (f", each {machine.efficiency:.0%} efficient |" if machine.nodes > 1 else " |")
        )
    lines += [
        "",
        "| model | machine | recording | searching | choosing | scoring | weights | disk |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        for machine in MACHINES:
            lines.append(_row(network, machine, units, found["search_cells"]))
    return "\n".join(lines)


class Units:
    """Unit costs on one core with both its threads, from the curves."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._curves = {(row["stage"], row["axis"]): row for row in found["curves"]}
        heads = self._curves["recording", "heads"]
        # Seconds = forward + cells * heads, by least squares; 16 texts of 128 tokens.
        slope, forward = _line(heads["sizes"], heads["seconds"])
        self.flops = 2 * found["parameters"] * 16 * 128 / forward
        self.cell_seconds = max(0.0, slope) / (16 * _cells(128))
        searching = self._curves["searching", "heads"]
        at = searching["sizes"].index(9)
        self.search_base = 24 * _cells(64)
        self.search_seconds = searching["seconds"][at] / 9
        texts, tokens = self._curves["searching", "texts"], self._curves["searching", "tokens"]
        cells = [n * _cells(64) for n in texts["sizes"]] + [24 * _cells(n) for n in tokens["sizes"]]
        logs = (
            [math.log(x) for x in values]
            for values in (cells, texts["seconds"] + tokens["seconds"])
        )
        self.search_exponent, _ = _line(*logs)
        executing = self._curves["executing", "programs"]
        self._execute = executing["seconds"][-1] / (10 * executing["sizes"][-1])
        comparing = self._curves["comparing", "programs"]
        self.pairs = comparing["sizes"][-1] * 270 * 8 * _cells(64) / comparing["seconds"][-1]

    def search(self, cells: float) -> float:
        """Seconds of a head on so many cells."""
        return self.search_seconds * (cells / self.search_base) ** self.search_exponent

    def execute(self, tokens: int) -> float:
        """Seconds of a program on a text."""
        return self._execute * (tokens / 64) ** self._curves["executing", "tokens"]["exponent"]


def _row(network: Network, machine: Machine, units: Units, search_cells: int) -> str:
    texts = sum(TEXTS.values())
    cells = texts * _cells(TOKENS) * network.heads
    weights, disk = 2 * network.parameters, 2 * cells
    share = machine.nodes * machine.efficiency
    rate = units.flops * machine.cores if machine.flops is None else machine.flops
    # A model that is too large for one GPU is shared by several.
    holders = -(-int(weights) // int(0.8 * machine.memory))
    if machine.flops is None and holders > 1:
        recording = "does not fit"
    elif holders > machine.nodes:
        recording = f"needs {holders} such GPUs"
    else:
        forward = 2 * network.parameters * texts * TOKENS / rate
        written = max(cells * units.cell_seconds / machine.cores, disk / machine.disk)
        # Of those that share a model one works at a time.
        recording = _time((forward * holders + written) / share)
    read = {split: disk * number / texts / machine.disk for split, number in TEXTS.items()}
    searched = min(search_cells, TEXTS["fit"] * _cells(TOKENS))
    # A worker takes a layer at a time, so that some wait where there are more than layers.
    turns = -(-network.layers // (machine.cores * machine.nodes))
    of_layer = network.heads_per_layer * units.search(searched)
    searching = turns * of_layer / machine.efficiency + read["fit"] / share
    chosen_texts = TEXTS["select"]
    choosing = (
        network.heads * chosen_texts * units.execute(TOKENS)
        + network.heads**2 * min(SELECT_CELLS, chosen_texts * _cells(TOKENS)) / units.pairs
    ) / machine.cores + read["select"] * -(-network.heads // TOGETHER)
    scoring = network.heads * TEXTS["test"] * units.execute(TOKENS) / machine.cores
    scoring = (scoring + read["test"]) / share
    return (
        f"| {network.name}, {network.heads:,} heads | {machine.name} | {recording} | "
        f"{_time(searching)} | {_time(choosing)} | {_time(scoring)} | {weights / 1e9:.0f} GB | "
        f"{disk / 1e9:.0f} GB, {disk / 2e9:.0f} GB in 8 bits |"
    )


def _line(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Slope and start of a straight line by least squares."""
    middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True))
    slope /= sum((x - middle) ** 2 for x in xs)
    return slope, level - slope * middle


def _cells(tokens: int) -> int:
    return tokens * (tokens + 1) // 2


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
