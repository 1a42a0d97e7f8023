"""Shell completion: the script for a shell, and the names of plugins where an option takes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class, split_arg_string

from torch2grid_core._kinds import KINDS
from torch2grid_core._plugins.manager import PluginManager

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_TORCH2GRID_COMPLETE"

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


# Bash breaks words at ":" and "=", which our options hold: the words are read from the line itself, and what bash will
# not replace is cut off the answers. Paths are bash's own to complete.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:$COMP_POINT}" words response item type value current keep
    read -r -a words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    current="${words[-1]}"
    [[ "$current" == --*=* ]] && current="${current#*=}"
    keep="${current%%"${current##*:}"}"
    response=$(COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS= read -r item; do
        type="${item%%%%,*}" value="${item#*,}"
        case "$type" in
            plain) COMPREPLY+=("${value#"$keep"}"); [[ "$value" == *[=:] ]] && compopt -o nospace ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done <<< "$response"
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def words_to_complete() -> list[str] | None:
    """The words before the one that a shell wants completed; ``None`` where this run completes nothing.

    They are read for the process-wide options, so that a disabled plugin is not imported for a completion either.
    """
    if os.environ.get(VARIABLE, "").partition("_")[2] != "complete":
        return None
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    typed = os.environ.get("COMP_CWORD", "")  # the word's number; fish gives the word itself
    last = int(typed) if typed.isdigit() else len(words) - (words[-1:] == [typed])
    before = words[1:last]
    while before and before[-1].startswith("--") and before[-1] in ("--config", "--load-plugin", "--disable-plugin"):
        before.pop()  # its value is what is being typed
    return before


def completion_command() -> click.Command:
    """``torch2grid completion SHELL``."""

    @click.command("completion", short_help="the script that completes torch2grid in your shell")
    @click.argument("shell", type=click.Choice(SHELLS))
    def completion(shell: str) -> None:
        """Print the completion script of SHELL; load it in the shell's start-up file.

        \b
        bash:  eval "$(torch2grid completion bash)"            in ~/.bashrc
        zsh:   eval "$(torch2grid completion zsh)"             in ~/.zshrc
        fish:  torch2grid completion fish | source             in ~/.config/fish/config.fish
        """
        made = get_completion_class(shell)
        assert made is not None
        script = made(click.Command("torch2grid"), {}, "torch2grid", VARIABLE)
        template = _BASH if shell == "bash" else script.source_template
        # not the class's own source(): for bash that asks the installed bash for its version
        print(template % script.source_vars())

    return completion


def plugin_names(kind: str) -> Completer:
    """Completes the names of a kind; after the colon, its options."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        manager = context.find_object(PluginManager)
        if manager is None:
            return []
        name, colon, rest = incomplete.partition(":")
        if not colon:
            names = manager.names(kind).items()
            return [CompletionItem(key, help=each.summary) for key, each in names if key.startswith(incomplete)]
        head = incomplete[: len(incomplete) - len(rest.rpartition(",")[2])]
        partial = rest.rpartition(",")[2]
        options = manager.find(kind, name).options().values()
        return [CompletionItem(f"{head}{each.name}=", help=each.help) for each in options if each.name.startswith(partial)]

    return complete


def owners(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the names of plugins and distributions, and of what they bring for an argument."""
    manager = context.find_object(PluginManager)
    names = {name for record in manager.records for name in (record.owner, record.name)} if manager else set()
    if manager and not isinstance(parameter, click.Option):
        names |= {name for kind in KINDS for name in manager.names(kind)}
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def formats(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes formats, the last of a comma-separated list."""
    manager = context.find_object(PluginManager)
    head, comma, partial = incomplete.rpartition(",")
    known = manager.formats() if manager else []
    return [CompletionItem(f"{head}{comma}{name}") for name in known if name.startswith(partial)]


def one_of(choices: Sequence[str]) -> Completer:
    """Completes one of a few words."""
    return lambda context, parameter, incomplete: [CompletionItem(each) for each in choices if each.startswith(incomplete)]


def one_path(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leaves a path to the shell."""
    return [CompletionItem(incomplete, type="file")]


def quiet(complete: Any) -> Any:
    """A completer that offers nothing where it fails: completion must never print an error into a prompt."""

    def tried(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return list(complete(context, parameter, incomplete))
        except Exception:
            return []

    return tried
