"""Models measured on labelled data."""
