"""How much of a hostile file is looked at before it is refused. Real checkpoints stay far below every number here."""

from __future__ import annotations

OPCODE_BYTES = 24 << 20  # of one pickle, long strings not counted: about 8 s of interpreting
CONTAINERS = 2_000_000  # lists, mappings, tensors and stubs of one pickle: 120 to 400 bytes each
TUPLES = 8_000_000
MEMO = 4_000_000
MARKS = 100_000  # open brackets at once
DECIMAL_DIGITS = 4000  # of an integer written in decimal, whose parsing is quadratic
TEXT_IN_MEMORY = 1 << 16  # longer strings and byte strings of a pickle stay in the file until they are used
LINE_BYTES = 256 << 20  # of a text argument (protocol 0)
PICKLES = 3  # pickles inside byte strings of pickles
DEPTH = 1000  # nested containers that the search for tensors enters
NAMES = 1_000_000  # tensors of one checkpoint
NAME_CHARACTERS = 64 << 20  # of all tensor names together
DIMENSIONS = 64  # of one tensor, as numpy
NOT_RUN = 20  # calls listed one by one
CALLS = 100_000  # calls looked at for that list
STORAGES = 1_000_000  # of one checkpoint
ARRAYS = 300_000  # of one .npz, each with a header of its own to read
ZIP_ENTRIES = 1_500_000
DIRECTORY_BYTES = 192 << 20  # of a zip archive's central directory
INFLATE_ALWAYS = 256 << 20  # unpacked bytes that are accepted whatever the ratio
INFLATE_RATIO = 64  # unpacked bytes to packed bytes above that
CHECKED_BESIDE = 16 << 20  # bytes of records that hold no tensor, checked against their CRC-32 all the same
INDICES = 1 << 20  # of a sparse tensor, looked at when the file is opened
PICKLE_INFLATED = 64 << 20  # of a deflated pickle record
