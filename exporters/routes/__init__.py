"""One resource a file: each has a ``router``."""
