"""``python -m torch2grid_core``: the command line, without what the distribution torch2grid brings."""

from torch2grid_core.cli.main import main

if __name__ == "__main__":
    main()
