"""Two runs of one place, compared."""
