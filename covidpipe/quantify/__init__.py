"""From masks to percentages: arrays in, one row out."""

from covidpipe.quantify.percentages import infection_percent

__all__ = ["infection_percent"]
