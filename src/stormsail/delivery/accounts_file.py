"""Where accounts are written down: a TOML file beside the worker, read once when it starts.

    [accounts.prod]
    provider = "aws"
    region = "eu-west-1"
    profile = "prod"

The account `local`, this machine, is there without being named; `local = false` at the top leaves it out.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = "accounts.toml"
"""Its name in the data directory."""

LOCAL: Final = "local"
ACCOUNTS_MAX: Final = 500
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ALIASES: Final[Mapping[str, str]] = {"endpoint": "endpoint_url"}


class AccountsWrong(Exception):
    """The file cannot be taken as it is; the message names the place and the rule."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account: which provider it is of, and the settings that this one knows."""

    name: str
    provider: str
    settings: Mapping[str, str]


def read_accounts(path: Path, data_dir: Path, *, must_exist: bool = False) -> tuple[Account, ...]:
    """Read the accounts of a file, with this machine's own. A file that is not there names none.

    Raises AccountsWrong. Which providers there are, and what settings they know, is not looked at here.
    """
    here = Account(LOCAL, LOCAL, {"data_dir": str(data_dir)})
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if must_exist:
            raise AccountsWrong(f"{path}: there is no such file") from None
        return (here,)
    except OSError as failure:
        raise AccountsWrong(f"{path} cannot be read: {failure.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise AccountsWrong(f"{path} is no TOML: {wrong}") from None
    unknown = sorted(set(found) - {"accounts", LOCAL})
    if unknown:
        raise AccountsWrong(f"{path}: {unknown[0]}: the file has `local` and tables [accounts.NAME], nothing else")
    with_local = found.get(LOCAL, True)
    if not isinstance(with_local, bool):
        raise AccountsWrong(f"{path}: local: write true or false")
    tables = found.get("accounts", {})
    if not isinstance(tables, dict) or len(tables) > ACCOUNTS_MAX:
        raise AccountsWrong(f"{path}: accounts: write up to {ACCOUNTS_MAX} tables [accounts.NAME]")
    named = tuple(_account(path, name, table, data_dir) for name, table in tables.items())
    if with_local and LOCAL not in tables:
        named = (here, *named)
    if not named:
        raise AccountsWrong(f"{path}: it names no account, and leaves out this machine's own")
    return named


def _account(path: Path, name: str, table: object, data_dir: Path) -> Account:
    where = f"{path}: accounts.{name}"
    if not _NAME.fullmatch(name):
        raise AccountsWrong(f"{where}: a name has up to 64 letters, digits, '.', '_' and '-'")
    if not isinstance(table, dict):
        raise AccountsWrong(f"{where}: write it as a table [accounts.{name}]")
    provider = table.get("provider")
    if not isinstance(provider, str) or not provider:
        raise AccountsWrong(f'{where}.provider: say which provider it is of, for example "aws"')
    settings = {}
    for key, value in table.items():
        if key == "provider":
            continue
        if isinstance(value, dict | list):
            raise AccountsWrong(f"{where}.{key}: write a text or a number")
        settings[ALIASES.get(key, key)] = str(value).lower() if isinstance(value, bool) else str(value)
    if provider == LOCAL:
        settings.setdefault("data_dir", str(data_dir))
    return Account(name, provider, settings)
