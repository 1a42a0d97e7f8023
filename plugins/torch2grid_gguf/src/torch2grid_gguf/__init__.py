"""GGUF files of llama.cpp for torch2grid."""

__version__ = "0.1.0"
