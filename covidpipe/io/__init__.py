"""The only package that reads images and writes files."""
