"""A process that has the package loaded already and forks for every command: the other side of `tests/commands.py`.

Started as ``python -m tests.command_server <control descriptor> <module> ...``. Each message on the control socket is
a command (arguments, environment, folder) with four descriptors: its input, output, errors, and a socket to which its
process id and, at its end, its exit code go. A child is what ``python -m deeptrace`` is once its imports are done.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import runpy
import selectors
import socket
import sys
from typing import Any, NamedTuple

import deeptrace.cli


class Command(NamedTuple):
    """A command, within the child that runs it."""

    request: dict[str, Any]
    descriptors: list[int]


def serve(control: socket.socket) -> Command | None:
    """Fork a child for every command; what is returned is the command, in its child, or None at the end."""
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd != control.fileno():
                _tell_exit_code(selector, key)
                continue
            data, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not data:
                return None
            child = os.fork()
            if not child:
                others = [key.data for key in selector.get_map().values() if key.data is not None]
                for other in others:
                    other[1].close()
                selector.close()
                control.close()
                return Command(json.loads(data), descriptors)
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            told = socket.socket(fileno=descriptors[3])
            told.sendall(b"%d\n" % child)
            selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, told))


def _tell_exit_code(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    child, told = key.data
    _, status = os.waitpid(child, 0)
    selector.unregister(key.fd)
    os.close(key.fd)
    try:
        told.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    except OSError:  # who asked is gone
        pass
    finally:
        told.close()


def become(command: Command) -> None:
    """Take the command's descriptors, folder, environment and arguments."""
    for number in range(3):
        os.dup2(command.descriptors[number], number)
    for descriptor in command.descriptors:
        os.close(descriptor)
    # The streams of the server know their own files: whether one can be moved in, for example.
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - they stay open
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115 - they stay open
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - they stay open
    request = command.request
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[:] = [request["module"], *request["arguments"]]
    # Processes that this one spawns take this module for the main one, and need not import it.
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("deeptrace.__main__")


def run(command: Command) -> None:
    """End as ``python -m <module>`` does."""
    become(command)
    if command.request["module"] == "deeptrace":
        deeptrace.cli.main()
    runpy.run_module(command.request["module"], run_name="__main__")


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    arrived = serve(socket.socket(fileno=int(sys.argv[1])))
    if arrived is not None:
        run(arrived)
