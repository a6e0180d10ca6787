"""Handlers: what happens around the training step (resuming, averaging, pictures, progress)."""
