"""Tuning: fitting the constants of programs."""
