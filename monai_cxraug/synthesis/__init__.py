"""Synthetic sets: sampling a generator, provenance, and the files that carry both."""
