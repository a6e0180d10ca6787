"""Experiments: a declared grid of cells, run with resumption, and the results computed from their files."""
