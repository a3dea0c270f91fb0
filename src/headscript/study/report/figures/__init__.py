"""Figures over all runs of a study, drawn as those of a run are."""
