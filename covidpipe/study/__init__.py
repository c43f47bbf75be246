"""Before the first run: a config to begin with, and what the machine can do."""
