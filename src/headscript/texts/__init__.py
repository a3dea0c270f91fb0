"""Texts to explain a model on: where they come from, and how they are split."""

from headscript.texts.corpora import Document, check_texts, load_texts
from headscript.texts.splits import Dropped, Splits, apart_from, split_documents

__all__ = [
    "Document",
    "Dropped",
    "Splits",
    "apart_from",
    "check_texts",
    "load_texts",
    "split_documents",
]
