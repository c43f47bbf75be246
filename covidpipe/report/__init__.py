"""The cohort report: one HTML page that opens offline, and the lines printed in a terminal."""
