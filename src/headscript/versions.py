"""Versions of what runs and saved networks rest on, apart from that of the package."""

VOCABULARY_VERSION = 1
"""Grows when an entry changes its meaning or is removed; a run says which one it was made with."""
