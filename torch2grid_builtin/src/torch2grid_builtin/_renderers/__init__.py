"""How pages become files."""
