"""Runs a piece of the local provider and kills itself with SIGKILL at its n-th step, to try every boundary there is.

Two uses, both over Python's audit events, which come just *before* the operation that they name:
* `python dying.py serve`: reads `DATA_DIR N` lines; for each forks a child that begins a create and dies at step N;
  answers `killed` or `finished`. Forking saves the imports.
* `python -I -S dying.py launch LAUNCHER N DIRECTORY`: the launcher, where each of its processes dies at its step N.
"""

import os
import signal
import sys
from pathlib import Path

STEPS = frozenset(
    {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.fork", "os.exec", "fcntl.flock", "subprocess.Popen"}
)


def die_at(step: int, within: str | None = None) -> None:
    """Arrange for this process, and those it forks, to die at that many steps from now.

    With `within`, files opened count only when they are opened for writing and lie in that directory.
    """
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        passed_over = event == "open" and within is not None and not _writes(arguments, within)
        if event in STEPS and not passed_over:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def _writes(arguments: tuple[object, ...], within: str) -> bool:
    path, mode, flags = arguments
    writes = any(letter in str(mode) for letter in "wax+") or bool(int(str(flags)) & (os.O_WRONLY | os.O_RDWR))
    return writes and within in str(path)


def serve() -> None:
    """Answer requests until end of input."""
    import asyncio

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from delivery.providers.local_account import hello
    from stormsail.delivery.model.server_group import Capacity
    from stormsail.delivery.providers.local.provider import open_provider
    from stormsail.delivery.providers.provider import CreateServerGroup

    async def begin(data_dir: str, step: int) -> None:
        provider = await open_provider("local", {"data_dir": data_dir})
        die_at(step, within=data_dir)
        create = CreateServerGroup(name="shop-v000", capacity=Capacity.fixed(2), launch=hello())
        await provider.begin("token", create)

    for line in sys.stdin:
        data_dir, step = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(begin(data_dir, int(step)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"finished {os.waitstatus_to_exitcode(status)}", flush=True)


def launch(launcher: str, step: int, directory: str) -> None:
    """Run the launcher as its own file would be."""
    sys.path.insert(0, str(Path(launcher).parent))
    import launch as module  # type: ignore[import-not-found]

    die_at(step)
    raise SystemExit(module.main(directory))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        launch(sys.argv[2], int(sys.argv[3]), sys.argv[4])
