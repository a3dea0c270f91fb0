"""Proposers: where candidate programs come from."""
