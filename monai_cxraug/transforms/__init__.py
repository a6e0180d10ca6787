"""Transforms of sample dictionaries."""
