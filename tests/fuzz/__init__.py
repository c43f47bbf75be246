"""Files that somebody got wrong, by accident or on purpose: made by kind, read, counted (`make fuzz`)."""
