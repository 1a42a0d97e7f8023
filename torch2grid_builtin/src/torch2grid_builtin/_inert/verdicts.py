"""How dangerous it is that a pickle imports a name, makes an object of it or calls it. Nothing is imported to find out."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from torch2grid_builtin._inert.allowed import ALLOWED, NOTHING

if TYPE_CHECKING:
    from torch2grid_core import Severity
    from torch2grid_core.sources import ActionKind

# Modules of the standard library that this Python does not have: removed ones, Python 2's, and those that only tests use.
_OTHER_PYTHONS = """
aifc asynchat asyncore audioop binhex cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis nntplib
ossaudiodev  pipes smtpd sndhdr spwd sunau telnetlib test uu xdrlib _crypt _msi _nis _spwd _osx_support _aix_support
_pyrepl formatter parser  symbol macpath dummy_threading _dummy_thread _bootlocale macurl2path tkinter idlelib turtledemo
ensurepip venv  __builtin__ anydbm dbhash whichdb dumbdb BaseHTTPServer CGIHTTPServer SimpleHTTPServer commands compiler
ConfigParser  cookielib Cookie copy_reg cPickle cProfile cStringIO StringIO DocXMLRPCServer SimpleXMLRPCServer xmlrpclib
dircache dl exceptions  fpformat future_builtins gdbm hotshot htmlentitydefs HTMLParser httplib ihooks imputil ITimer md5
mhlib mimetools MimeWriter  multifile mutex new os2 os2emxpath popen2 posixfile Queue repr rexec rfc822 robotparser sets
sgmllib sha SocketServer statvfs  stringold strop sunaudio thread Tkinter tkMessageBox ttk urllib2 urlparse user UserDict
UserList UserString xmllib ordereddict  _winreg _subprocess winreg nt ntpath posix pip setuptools pkg_resources
_distutils_hack pythoncom win32api
"""
STDLIB = sys.stdlib_module_names | frozenset(_OTHER_PYTHONS.split())
# Packages that are there wherever PyTorch is: what it and numpy install, and what it requires. Theirs is judged as its own.
_TORCH = """
torch functorch torchgen caffe2 sympy isympy mpmath networkx jinja2 markupsafe fsspec filelock typing_extensions triton optree
opt_einsum yaml _yaml ml_dtypes nvidia cuda cusparselt pytorch_triton
"""
_LIBRARIES = {"numpy": "numpy", **dict.fromkeys(_TORCH.split(), "torch")}
ROOTS = STDLIB | _LIBRARIES.keys()
_ALIASES = {"np": "numpy"}  # as nearly every module imports it
# What runs commands and code, or reads, writes and fetches: named first.
_RISKY = """
os posix nt posixpath ntpath subprocess sys builtins __builtin__ runpy ctypes _ctypes socket _socket importlib imp pickle
_pickle cPickle shelve marshal shutil pty commands popen2 popen code codeop pdb bdb cProfile profile timeit trace operator
_operator functools _functools types io _io tempfile webbrowser pydoc pip urllib urllib2 httplib http ssl asyncio
multiprocessing concurrent threading _thread signal pkgutil zipimport ensurepip venv test idlelib doctest logging
"""
RISKY = frozenset(_RISKY.split())


def family(module: str, name: str) -> str:
    """``python``, ``numpy`` or ``torch`` for what is theirs or comes with them, empty for another package's.

    An attribute of a module is followed to what it names, as far as names tell: ``torch.nn.parallel.distributed`` with
    ``os.system`` is Python's, and so is any package's module with it.
    """
    root = module.partition(".")[0]
    if root in STDLIB:
        return "python"
    known = _LIBRARIES.get(root, "")
    if "." not in name:
        return "python" if re.fullmatch("__.*__", name) else known
    return "python" if resolved(module, name) != f"{module}.{name}" else known or _reached(name)


def resolved(module: str, name: str) -> str:
    """The dotted path of what *module* and *name* stand for, where *name* leads through another module that is known."""
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        part = _ALIASES.get(part, part)
        if part in STDLIB or (part in _LIBRARIES and not (place == 0 and module == part)):
            return ".".join((part, *parts[place + 1 :]))
    return f"{module}.{name}"


def _reached(name: str) -> str:
    """``python`` for a dotted name of another package that is no class inside a class: what it leads to cannot be told."""
    first, *rest = name.split(".")
    inside = first.lstrip("_")[:1].isupper() and all(part.lstrip("_")[:1].isupper() for part in rest)
    return "" if inside else "python"


def allowed(module: str, name: str) -> int:
    """What a pickle may do with the name without a finding."""
    return ALLOWED.get(f"{module}.{name}", NOTHING)


def severity(module: str, name: str, kind: ActionKind) -> Severity:
    """That of doing *kind* with a name which is not allowed it."""
    return "error" if kind in ("call", "run") or family(module, name) else "note"


def danger(module: str, name: str, kind: ActionKind, severity: Severity) -> tuple[int, int]:
    """Where an action stands in a list: the smallest first."""
    path = resolved(module, name)
    risky = path.partition(".")[0] in RISKY
    return (0 if severity == "error" else 1, 2 * (kind not in ("call", "run")) + (not risky))
