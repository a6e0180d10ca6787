"""Transforms: pairs of an array and a dictionary version over pure functions, one idea a module."""
