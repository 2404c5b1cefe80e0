"""Training as stages of plain values, and as a flow."""
