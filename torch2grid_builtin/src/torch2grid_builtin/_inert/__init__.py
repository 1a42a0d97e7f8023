"""Pickles read as data: our own interpreter of the opcodes, which imports, calls and builds nothing that a file names.

``Interpreter`` turns one pickle into plain values (``values``): lists, tuples, numbers and text are themselves, mappings are
``Pairs``, tensors are ``Tensor``, and whatever else the pickle would have constructed is a ``Stub`` that keeps the name,
the arguments and the state. ``collect`` then finds the tensors in them, named as ``state_dict()`` would.
"""
