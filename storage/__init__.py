"""Storage: a run on disk."""
