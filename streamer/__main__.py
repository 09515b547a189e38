"""``python -m streamer``: the ``headwater`` command."""

from streamer.cli import main

if __name__ == "__main__":
    main()
