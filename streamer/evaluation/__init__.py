"""Evaluation as the command line offers it: data, the runs over models and seeds, tables and reports."""
