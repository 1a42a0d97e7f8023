"""Files that other services read, against the schemas that check-jsonschema carries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def against(schema: str, path: Path) -> str:
    """What check-jsonschema says of *path* by one of the *schema*s that it carries; empty where the file is valid."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else done.stdout + done.stderr
