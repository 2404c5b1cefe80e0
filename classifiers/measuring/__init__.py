"""What a model is worth: metrics, calibration, robustness, explanations."""
