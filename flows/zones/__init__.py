"""Areas per zone of a run."""
