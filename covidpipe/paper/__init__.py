"""Both papers regenerated: published numbers beside recomputed ones."""
