"""Classifiers: the gate."""
