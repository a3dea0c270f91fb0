"""Texts to explain a model on: where they come from, and how they are split."""

from headscript.texts.corpora import Document, check_texts, load_texts
from headscript.texts.repeats import Trace, as_read, repeating
from headscript.texts.splits import Dropped, Splits, split_documents

__all__ = [
    "Document",
    "Dropped",
    "Splits",
    "Trace",
    "as_read",
    "check_texts",
    "load_texts",
    "repeating",
    "split_documents",
]
