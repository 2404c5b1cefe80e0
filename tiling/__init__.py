"""Tiling: what a tile is, and where its pixels come from."""
