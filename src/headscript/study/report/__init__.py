"""The written report of a study."""

from headscript.study.report.writing import write_report

__all__ = ["write_report"]
