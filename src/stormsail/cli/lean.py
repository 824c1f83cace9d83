"""What the engine's process leaves out when it imports: the SDK, and what libraries import only because it is there.

The engine speaks the protocol's messages, `temporalio.api`, and nothing else of that distribution. Importing a package
runs its `__init__` though, and that of `temporalio` loads the SDK with its native client. So too do the messages load
`grpc` and the log library `rich` and `greenlet` where they find them. Together they take more time than the engine.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Final

LEFT_OUT: Final = ("grpc", "rich", "greenlet")
"""Imported by libraries in a `try`: they do without."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import what follows without the SDK and without `LEFT_OUT`. No effect in a process that has the SDK already.

    For a process that is the engine and nothing else: modules imported here have found what is left out missing, and
    go on as if it were.
    """
    if "temporalio" in sys.modules:
        yield
        return
    found = PathFinder.find_spec("temporalio")
    if found is not None:
        sys.modules["temporalio"] = module_from_spec(found)  # its place in the file system, with nothing in it
    # What is imported stays: looking among it for what may go, again and again, is a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    hidden = [name for name in LEFT_OUT if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # which is how an import is told that there is no such module
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if collecting:
            gc.enable()
