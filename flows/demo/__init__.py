"""Images with known areas."""
