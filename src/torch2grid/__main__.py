"""``python -m torch2grid``: the same program as ``torch2grid``."""

from torch2grid_core.__main__ import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
