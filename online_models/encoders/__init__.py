"""Blocks of sequence encoders; a block comes here when a second system needs it, or when its own file would burst."""
