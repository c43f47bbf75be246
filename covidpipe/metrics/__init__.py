"""Scores of masks, labels and percentages, with intervals: pure functions of arrays."""
