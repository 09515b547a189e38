"""One subcommand of ``headwater`` a file; heavy imports stay inside the functions, so that ``--help`` is quick."""
