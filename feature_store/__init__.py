"""Features of users, sessions and items: their families, vectors, Feast definitions and stores."""

import os

os.environ.setdefault("FEAST_USAGE", "False")  # read by Feast on import: it must not report home
