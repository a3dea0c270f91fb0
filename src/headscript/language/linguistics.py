"""Linguistic entries, by spaCy."""
