"""Declared datasets: each module turns a folder's index into `ImageRecord`s and reads no pixels."""
