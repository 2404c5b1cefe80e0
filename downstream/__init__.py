"""Downstream: what a positive tile triggers."""
