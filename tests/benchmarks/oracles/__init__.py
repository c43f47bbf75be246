"""The plainest code with a library for each job: what the package's own forms must equal, and are timed against."""
