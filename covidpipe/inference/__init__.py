"""Trained networks at work: model folders in, probabilities and masks out."""
