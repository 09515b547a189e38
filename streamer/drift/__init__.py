"""Drift that acts: signals of the learning stream, alarms with evidence, and actions that end by themselves."""
