"""``python -m torch2grid``: the same program as ``torch2grid``."""

from torch2grid_core.cli.main import main

if __name__ == "__main__":
    main()
