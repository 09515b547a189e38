"""Measurements of the running parts: one file a question, each with a baseline from the same run."""
