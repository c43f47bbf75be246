"""One module a stage: read inputs, call pure functions, write outputs; the CLI calls `run` of each."""
