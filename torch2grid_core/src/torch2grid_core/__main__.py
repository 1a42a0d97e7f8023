"""``python -m torch2grid_core``: the command line with the plugins that are installed."""

from torch2grid_core._cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
