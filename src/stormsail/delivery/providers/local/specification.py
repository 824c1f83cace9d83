"""What a launch specification may say to the local provider, checked before anything is made."""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stormsail.delivery.model.names import InvalidName, Moniker, parse_name
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.errors import InvalidLaunch

NAME_BYTES_MAX: Final = 200
"""A name is also a file's name, with some letters added."""
INSTANCES_MAX: Final = 200

_HEALTH_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&()*+,=:@%/?-]*")


class LaunchSettings(BaseModel):
    """The keys of `LaunchSpec.settings` that this provider knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int | None = Field(default=None, ge=1, le=65535)
    """The loopback port where the application's traffic enters; settled by its first server group."""
    directory: str | None = None
    """The instances' working directory, absolute; by default that of the worker that made the group."""
    stop_seconds: float = Field(default=10.0, ge=0, le=600)
    """How long an instance may take to end after SIGTERM before it is killed."""
    drain_seconds: float = Field(default=60.0, ge=0, le=3600)
    """How long requests in flight may take to end before they are cut off."""


def launch_settings(launch: LaunchSpec) -> LaunchSettings:
    """Read the settings. Raises InvalidLaunch naming the key and the rule."""
    try:
        return LaunchSettings.model_validate(launch.settings)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(LaunchSettings.model_fields)
        if first["type"] == "extra_forbidden":
            raise InvalidLaunch(f"launch setting {key!r} is unknown; the local provider knows: {known}") from None
        raise InvalidLaunch(f"launch setting {key!r}: {first['msg']}") from None


def server_group_moniker(name: str) -> Moniker:
    """Take a server group's name apart. Raises InvalidLaunch when it is none."""
    try:
        moniker = parse_name(name)
    except InvalidName as wrong:
        raise InvalidLaunch(str(wrong)) from None
    if moniker.sequence is None:
        raise InvalidLaunch(f"server group {name!r} has no version: it must end in -v000 to -v999")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidLaunch(f"server group {name[:40]!r}...: the name is over {NAME_BYTES_MAX} bytes long")
    return moniker


def checked_directory(launch: LaunchSpec) -> str:
    """Check that a launch specification can run here and return its working directory. Raises InvalidLaunch."""
    settings = launch_settings(launch)
    directory = Path(settings.directory or Path.cwd())
    if not directory.is_absolute():
        raise InvalidLaunch(f"launch setting 'directory' must be an absolute path, not {settings.directory!r}")
    if not directory.is_dir():
        raise InvalidLaunch(f"launch setting 'directory': there is no directory {directory}")
    if not launch.command:
        raise InvalidLaunch("the local provider needs a command to run: set launch.command to a list of arguments")
    if any("\0" in text for text in (*launch.command, *launch.environment, *launch.environment.values())):
        raise InvalidLaunch("a command or environment variable contains a NUL character")
    if any(not name or "=" in name for name in launch.environment):
        raise InvalidLaunch("the name of an environment variable is empty or contains '='")
    if not _HEALTH_PATH.fullmatch(launch.health_path):
        raise InvalidLaunch(f"health path {launch.health_path!r} must be a URL path that begins with '/'")
    _check_program(launch.command[0], directory, launch.environment.get("PATH", os.environ.get("PATH", os.defpath)))
    return str(directory)


def _check_program(program: str, directory: Path, search_path: str) -> None:
    if "/" not in program:
        if shutil.which(program, path=search_path) is None:
            raise InvalidLaunch(f"no such command: {program!r} is in none of the directories of PATH ({search_path})")
        return
    path = directory / program
    if not path.is_file():
        raise InvalidLaunch(f"no such command: there is no file {path}")
    if not os.access(path, os.X_OK):
        raise InvalidLaunch(f"{path} is not executable: `chmod +x` it, or name its interpreter first in the command")
