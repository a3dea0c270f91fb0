"""Programs: parsed, evaluated, written by the search, and run on their own."""

from headscript.programs.emit import emit
from headscript.programs.explanation import explain_terms
from headscript.programs.program import Program, ProgramError
from headscript.programs.terms import Term

__all__ = ["Program", "ProgramError", "Term", "emit", "explain_terms"]
