"""How segmenters learn, and what they are worth."""
