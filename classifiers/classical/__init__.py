"""Gates without a network: hand-made features and a classical classifier."""
