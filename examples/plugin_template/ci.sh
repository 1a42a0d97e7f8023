#!/usr/bin/env bash
# What a CI job runs: install into a fresh environment, test, and see that torch2grid finds the plugin.
set -euo pipefail
cd "$(dirname "$0")"
venv=$(mktemp -d)/venv
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet '.[test]'
"$venv/bin/python" -m pytest
"$venv/bin/torch2grid" plugins torch2grid-myplugin
