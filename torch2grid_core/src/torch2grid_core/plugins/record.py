"""What is known of one plugin."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import pluggy

from torch2grid_core.errors import PluginError, Torch2GridError, traced
from torch2grid_core.hookspecs import PROJECT, Hooks
from torch2grid_core.kinds import KINDS
from torch2grid_core.plugins.guard import Origin, at_most, describe, guarded
from torch2grid_core.plugins.importing import first_run, wrong_core
from torch2grid_core.plugins.provided import Provided, describe_value, kind_of, provided_by

Status = Literal["ok", "disabled", "failed"]


@dataclass
class PluginRecord:
    """A plugin that was found. source: its entry point, file or class.

    error: why it failed, or the first thing of it that did. remarks: what its user should know though it works. seconds: what
    importing it took. trace: the traceback of its error, for ``--debug``.
    """

    name: str
    distribution: str
    version: str
    source: str
    status: Status = "ok"
    error: str = ""
    is_file: bool = False
    provided: dict[str, list[Provided]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    trace: str = ""
    _hooks: pluggy.PluginManager | None = None
    _bare: list[type] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """The distribution that ships it; the plugin's own name for a file or live code."""
        return self.distribution or self.name

    @property
    def origin(self) -> Origin:
        """Who answers for what the plugin as a whole does."""
        return Origin("plugin", self.name, self.distribution, self.version)

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        """Unregister the whole plugin; *reason* is its row and its line."""
        self.status, self.error, self.trace = "failed", reason, traced(cause) if cause else ""
        self._hooks, self._bare, self.provided = None, [], {}

    def remark(self, text: str) -> None:
        """Note something about a plugin that works all the same."""
        if text not in self.remarks:
            self.remarks.append(text)

    def blame(self, error: Torch2GridError) -> None:
        """Keep the first failure of something that it brings: the plugin's one line says which thing failed, and how."""
        if self.error:
            return
        self.error, self.trace = str(error), traced(error)
        if isinstance(error, PluginError):
            self.error = ("" if error.kind == "plugin" else f"{error.kind} {error.name!r}: ") + error.reason

    def line(self) -> str:
        """The one line that a user sees of a plugin that failed or has remarks; empty for any other."""
        version = f" {self.version}" if self.version else ""
        told = self.error or "; ".join(self.remarks)
        return f"plugin {self.name!r} of {self.owner}{version}: {told}" if told else ""

    def register(self, plugin: Any) -> None:
        """Take *plugin*, a module or object with hook implementations, or a class of some kind.

        Its ``requires_core``, a range of versions such as ``">=0.1,<1"``, is checked before anything else of it is used.
        """
        wanted = getattr(plugin, "requires_core", None)
        wrong = wrong_core(wanted) if wanted is not None else ""
        if wrong:
            self.fail(wrong)
            return
        if isinstance(plugin, type) and kind_of(plugin):
            self._bare = [plugin]
            return
        manager = pluggy.PluginManager(PROJECT)  # one for each plugin: no other plugin can spoil its calls
        manager.add_hookspecs(Hooks)
        try:
            manager.register(plugin)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            self.fail(" ".join(str(error).split()))
            return
        self._hooks = manager
        if inspect.ismodule(plugin) and not manager.get_hookcallers(plugin):
            self._bare = [
                member
                for member in vars(plugin).values()
                if isinstance(member, type) and member.__module__ == plugin.__name__ and kind_of(member)
            ]
        if not self._bare and not manager.get_hookcallers(plugin):
            self.fail("brings nothing: it has no hook implementation and no class of a known kind")

    def provides(self, kind: str) -> list[Provided]:
        """What it brings of one kind; its hook is called once. A hook that fails marks the record and brings nothing."""
        if self.status != "ok":
            return []
        if kind not in self.provided:
            try:
                self.provided[kind] = self._collect(kind)
            except PluginError as error:
                self.provided[kind] = []
                self.blame(error)
        return self.provided[kind]

    def _collect(self, kind: str) -> list[Provided]:
        hook = KINDS[kind].hook
        origin = self.origin
        items: list[Any] = [cls for cls in self._bare if kind_of(cls) == kind]
        if self._hooks is not None:
            with guarded(origin, hook), first_run(self, f"in {hook}"):
                for result in getattr(self._hooks.hook, hook)():
                    if isinstance(result, (str, bytes, type)) or not hasattr(result, "__iter__"):
                        raise origin.error(f"{hook} returned {describe_value(result)}, not an iterable of classes")
                    items += at_most(result, origin)
        found = [provided_by(self, item, kind) for item in items]
        twice = [name for name, count in Counter(each.name for each in found).items() if count > 1]
        if twice:
            raise origin.error(f"{hook} yields two of the name {twice[0]!r}")
        return sorted(found, key=lambda each: each.name)

    def listens(self) -> bool:
        """True when it implements the event ``torch2grid_written``."""
        return self._hooks is not None and bool(self._hooks.hook.torch2grid_written.get_hookimpls())

    def written(self, **event: Any) -> None:
        """Tell the plugin of a file. Raises ``PluginError``."""
        if self._hooks is not None and self.status == "ok":
            with guarded(self.origin, "torch2grid_written"):
                self._hooks.hook.torch2grid_written(**event)


def failure(error: BaseException) -> str:
    """Why a plugin could not be imported, in one line."""
    return f"cannot be imported: {describe(error)}"
