"""Backup and restore of the online state: one archive, taken while the processes run.

Each process's state is frozen at one moment of its own: SQLite by its backup interface, everything else by hard links
to files that are only ever replaced. Processes need no common moment: each goes on from the source offsets inside its
own state, and effects are idempotent.
"""
