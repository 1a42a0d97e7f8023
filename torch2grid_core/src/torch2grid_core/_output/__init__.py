"""Where pages become files: rendered, named safely, written whole or not at all, and listed in an index."""
