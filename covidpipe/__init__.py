"""Chest CT and X-ray images in, one table of infection percentages out."""

__version__ = "0.1.0"
