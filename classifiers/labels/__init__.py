"""Labelled tiles: data as people have it, how it is split, and what is wrong with it."""
