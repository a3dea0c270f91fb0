"""Questions answered rightly against the share of heads replaced, a panel a task: figure 6."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, sqrt
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headscript.evaluation.accuracy import Answers, mean_over_tasks
from headscript.report.figures import style
from headscript.report.figures.measured import Measured

_MEAN = "mean"
_Z = 1.959964  # standard errors from the middle of a 95 % interval to its ends
_ACROSS = 4


class Accuracy(NamedTuple):
    """One task, or the mean over all, with some of the model's heads replaced."""

    task: str
    heads: int
    replaced: float
    """Share of the model's heads that was replaced."""
    questions: int
    accuracy: float
    low: float | None
    """Lower end of the 95 % interval over questions: Wilson's; that of the mean from its standard
    error; none where that is not known."""
    high: float | None
    guess: float | None
    """Accuracy expected of choosing at random."""
    order: str | None = None
    """Which heads were replaced first."""


def tables(measured: Measured) -> dict[str, list[Accuracy]]:
    """The accuracies by task, and their mean where several tasks were asked alike."""
    heads = len(measured.run.model.heads)
    chosen = _asked_most(measured.answers)
    rows = [_row(answers, heads) for of_task in chosen.values() for answers in of_task.values()]
    rows += _means(chosen, heads)
    return {"questions": rows}


def _asked_most(answers: Sequence[Answers]) -> dict[str, dict[int, Answers]]:
    """By task and number of heads the answers to most questions; of several the newest."""
    most = {
        task: max(row.questions for row in answers if row.task == task)
        for task in dict.fromkeys(row.task for row in answers)
    }
    chosen: dict[str, dict[int, Answers]] = {task: {} for task in most}
    for row in sorted(answers, key=lambda row: row.heads):
        if row.questions == most[row.task]:
            chosen[row.task][row.heads] = row
    return chosen


def _row(answers: Answers, heads: int) -> Accuracy:
    low, high = wilson(answers.accuracy, answers.questions)
    return Accuracy(
        task=answers.task,
        heads=answers.heads,
        replaced=answers.heads / heads,
        questions=answers.questions,
        accuracy=answers.accuracy,
        low=low,
        high=high,
        guess=answers.guess,
        order=answers.order,
    )


def _means(chosen: dict[str, dict[int, Answers]], heads: int) -> list[Accuracy]:
    """Over the tasks, for every number of heads at which all were asked."""
    if len(chosen) < 2:
        return []
    means = []
    for number in sorted(set.intersection(*(set(of_task) for of_task in chosen.values()))):
        rows = [of_task[number] for of_task in chosen.values()]
        share = number / heads
        mean = mean_over_tasks(share, [row.model_copy(update={"fraction": share}) for row in rows])
        error = None if mean.stderr is None else _Z * mean.stderr
        means.append(
            Accuracy(
                task=_MEAN,
                heads=number,
                replaced=share,
                questions=sum(row.questions for row in rows),
                accuracy=mean.accuracy,
                low=None if error is None else mean.accuracy - error,
                high=None if error is None else mean.accuracy + error,
                guess=mean.guess,
                order=rows[0].order,
            )
        )
    return means


def wilson(share: float, number: int) -> tuple[float, float]:
    """The 95 % interval of Wilson for a share of so many questions."""
    spread = _Z**2 / number
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(share * (1 - share) / number + spread / (4 * number))
    # Of 0 and 1 rounding may leave an end on the wrong side of the share itself.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def draw(rows: list[Accuracy]) -> Figure:
    """A panel for each task: accuracy with its interval, that of the model as it is, and chance."""
    tasks: dict[str, list[Accuracy]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    across = min(_ACROSS, len(tasks))
    down = ceil(len(tasks) / across)
    width = style.DOUBLE if across > 1 else style.SINGLE
    figure = style.blank(width, (1.5 if across > 1 else 2.2) * down + 0.3)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    ends = [value for row in rows for value in (row.low, row.high, row.guess) if value is not None]
    ends += [row.accuracy for row in rows]
    low, high = floor(10 * min(ends)) * 10, ceil(10 * max(ends)) * 10
    for axes, (task, points) in zip(panels, tasks.items(), strict=False):
        _panel(axes, task, points)
        axes.set_ylim(low, high)
    style.share_axis(panels[0])
    for axes in panels[len(tasks) - across : len(tasks)]:
        axes.tick_params(labelbottom=True)
    for axes in panels[len(tasks) :]:
        axes.set_axis_off()
    figure.supylabel("right answers (%)", fontsize="medium")
    figure.supxlabel("heads replaced (%)", fontsize="medium")
    legend = panels[0].get_legend_handles_labels()
    if len(panels) > len(tasks):
        panels[-1].legend(*legend, loc="center", handlelength=1.8)
    else:
        figure.legend(*legend, loc="outside upper center", ncols=3)
    return figure


def _panel(axes: Axes, task: str, points: list[Accuracy]) -> None:
    colour = style.VERMILLION if task == _MEAN else style.BLUE
    shares = [100 * point.replaced for point in points]
    accuracies = [100 * point.accuracy for point in points]
    untouched = next((point for point in points if point.heads == 0), None)
    if untouched is not None:
        axes.axhline(
            100 * untouched.accuracy, color=style.GREY, linewidth=0.7, label="model as it is"
        )
    guesses = [point.guess for point in points if point.guess is not None]
    if guesses:
        axes.axhline(
            100 * guesses[0],
            color=style.GREY,
            linewidth=0.8,
            linestyle=(0, (1, 1.5)),
            label="guessing",
        )
    known = [point for point in points if point.low is not None and point.high is not None]
    axes.errorbar(
        [100 * point.replaced for point in known],
        [100 * point.accuracy for point in known],
        yerr=[
            [100 * (point.accuracy - (point.low or 0.0)) for point in known],
            [100 * ((point.high or 0.0) - point.accuracy) for point in known],
        ],
        fmt="none",
        ecolor=colour,
        elinewidth=0.8,
    )
    axes.plot(shares, accuracies, color=colour, marker="o", label="programs, 95 % interval")
    axes.grid()
    number = points[0].questions
    axes.set_title(f"{task} ({number:,} question{'' if number == 1 else 's'})", loc="left")
