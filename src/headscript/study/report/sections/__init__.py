"""The sections of a study's report: tables of words, made of the rows of numbers."""
