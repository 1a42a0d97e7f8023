"""How much of a hostile file is looked at before it is refused. Real checkpoints stay far below every number here."""

from __future__ import annotations

from torch2grid_builtin._inert.malformed import Malformed

OPCODE_BYTES = 24 << 20  # of all pickles of a checkpoint together, long strings not counted: about 8 s of interpreting
CONTAINERS = 2_000_000  # lists, mappings, tensors and stubs of one pickle: 120 to 400 bytes each
TUPLES = 8_000_000
MEMO = 4_000_000
MEMORY = 640 << 20  # bytes of memory that objects, tuples, memo slots and texts take together, as counted here
OBJECT, TUPLE, SLOT = 200, 64, 96  # bytes of one
MARKS = 100_000  # open brackets at once
DECIMAL_DIGITS = 4000  # of an integer written in decimal, whose parsing is quadratic
SHORT = 32  # bytes of strings that count as instructions: each makes an object
TEXT_IN_MEMORY = 1 << 16  # longer strings and byte strings of a pickle stay in the file until they are used
HELD = 384 << 20  # bytes of memory that the texts and byte strings of a checkpoint take
LINE_BYTES = 64 << 20  # of a text argument (protocol 0)
PICKLES = 3  # pickles inside byte strings of pickles
DEPTH = 1000  # nested containers that the search for tensors enters
NAMES = 1_000_000  # tensors of one checkpoint
NAME_CHARACTERS = 64 << 20  # of all tensor names together
DIMENSIONS = 64  # of one tensor, as numpy
IMPORTED = 100_000  # names that are not known to be harmless, of one checkpoint
NOT_RUN = 200  # of them listed one by one, the most dangerous first
NAMED = 20  # of them in the line of an error
STRINGS_HELD = 64 << 20  # bytes of short byte strings that are kept until it is known whether something may load them
STORAGES = 1_000_000  # of one checkpoint
ARRAYS = 300_000  # of one .npz, each with a header of its own to read
ZIP_ENTRIES = 450_000
DIRECTORY_BYTES = 192 << 20  # of a zip archive's central directory
INFLATE_ALWAYS = 256 << 20  # unpacked bytes that are accepted whatever the ratio
INFLATE_RATIO = 64  # unpacked bytes to packed bytes above that
CHECKED_BESIDE = 16 << 20  # bytes of records that hold no tensor, checked against their CRC-32 all the same
INDICES = 1 << 20  # of a sparse tensor, looked at when the file is opened
CODE_BYTES = 32 << 20  # of a record of TorchScript code
PICKLE_INFLATED = 64 << 20  # of a deflated pickle record
WORK_ALWAYS = 1 << 25  # units of ``Work`` that any pickle may cost
WORK_BYTES = 4  # bytes of a pickle that allow one unit more, above that
# What things cost, in units of about 0.1 µs and 8 bytes.
PAIR = 4  # an entry of a mapping that is looked at
COPIED = 8  # an entry of a container that is copied
KEPT = 16  # something that is noted for each visit: a later visit, a parameter of an optimizer
ARRAY = 100  # an array of numpy that is made: few bytes may ask for many, and each is measured on its own
SKIPPED = 32  # an entry that is listed with a reason
TEXT = 8  # bytes or characters copied, for one unit
CODE = 4  # a character of TorchScript's code, where its operators are looked for
INNER_BYTE, INNER = 2, 400  # an instruction of a pickle inside a pickle, and such a pickle


class Work:
    """What is left of the work that the pickles of one checkpoint may cost together, shards and nested pickles included.

    Objects of a pickle may stand in it any number of times: without this, few bytes ask for copies and visits without end.
    Each entry looked at costs a unit; a parameter of a training checkpoint, with the state of Adam, costs about 70.
    size: of the pickle, in bytes.
    """

    __slots__ = ("held", "left", "opcodes")

    def __init__(self, size: int = 0) -> None:
        self.left = max(WORK_ALWAYS, size // WORK_BYTES)
        self.opcodes = OPCODE_BYTES
        self.held = HELD

    def spend(self, units: int) -> None:
        """Take *units* off. Raises ``Malformed`` where fewer are left."""
        self.left -= units
        if self.left < 0:
            raise Malformed("the pickle repeats its objects more often than any checkpoint", "it is hostile")

    def hold(self, size: int) -> None:
        """Take off *size* bytes of memory for a text. Raises ``Malformed``."""
        self.held -= size
        if self.held < 0:
            raise Malformed(f"its texts take more than {HELD >> 20} MiB of memory", "it is not a checkpoint, or hostile")

    def pairs(self, count: int) -> None:
        """Take off what looking at a mapping of *count* entries costs. Raises ``Malformed``."""
        self.spend(PAIR * count)

    def copied(self, count: int) -> None:
        """Take off what copying *count* entries of a container costs. Raises ``Malformed``."""
        self.spend(COPIED * count)

    def text(self, length: int) -> None:
        """Take off what copying *length* bytes or characters costs. Raises ``Malformed``."""
        self.spend(1 + length // TEXT)
