"""``python -m rcsops`` is the command line."""

from rcsops.cli.main import main

if __name__ == "__main__":
    main()
