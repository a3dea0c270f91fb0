"""Task files of lm-evaluation-harness for questions in local files."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Holds a .yaml file for each task."""

PREFIX = "local_"
"""Before the usual name of a task that reads a local file."""

FIELDS = {
    "hellaswag": ("query", "choices", "label"),
    "piqa": ("goal", "sol1", "sol2", "label"),
    "sciq": ("support", "question", "distractor1", "distractor2", "distractor3", "correct_answer"),
    "arc_easy": ("question", "choices", "answerKey"),
    "social_iqa": ("context", "question", "answerA", "answerB", "answerC", "label"),
    "copa": ("premise", "choice1", "choice2", "question", "label"),
}
"""The usual names, and the fields that a row of their local file NAME.jsonl must have."""
