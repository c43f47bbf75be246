"""Kills at random moments of a whole study: `python -m tests.faults --kills 100`."""
