"""Engines: the training step and its clock, images seen."""
