"""Whole studies: many models, texts and questions from one file, and a report of it all."""

from headscript.study.spec import SHIPPED, Study, open_study

__all__ = ["SHIPPED", "Study", "open_study"]
