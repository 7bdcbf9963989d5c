"""Scores of the fields, each by its own rules."""
