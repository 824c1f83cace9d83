"""The file of accounts: what it names, and what is refused with the place and the rule."""

from pathlib import Path

import pytest

from stormsail.delivery.accounts_file import Account, AccountsWrong, read_accounts

HERE = Path("/data")
LOCAL = Account("local", "local", {"data_dir": "/data"})


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "accounts.toml"
    path.write_text(text)
    return path


def test_without_a_file_there_is_this_machine_alone(tmp_path: Path) -> None:
    assert read_accounts(tmp_path / "none.toml", HERE) == (LOCAL,)
    with pytest.raises(AccountsWrong, match="no such file"):
        read_accounts(tmp_path / "none.toml", HERE, must_exist=True)


def test_a_file_names_accounts_beside_this_machine_unless_it_says_otherwise(tmp_path: Path) -> None:
    text = '[accounts.prod]\nprovider = "aws"\nregion = "eu-west-1"\nendpoint = "http://here"\ncalls_per_second = 5\n'
    settings = {"region": "eu-west-1", "endpoint_url": "http://here", "calls_per_second": "5"}
    prod = Account("prod", "aws", settings)
    assert read_accounts(written(tmp_path, text), HERE) == (LOCAL, prod)
    assert read_accounts(written(tmp_path, f"local = false\n{text}"), HERE) == (prod,)
    other = read_accounts(written(tmp_path, '[accounts.second]\nprovider = "local"\ndata_dir = "/x"\n'), HERE)
    assert other == (LOCAL, Account("second", "local", {"data_dir": "/x"}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[accounts.prod", "is no TOML"),
        ('local = "no"', "local: write true or false"),
        ("local = false", "names no account"),
        ('[account.prod]\nprovider = "aws"', "account: the file has"),
        ('accounts = "aws"', "accounts: write up to"),
        ('accounts.prod = "aws"', "accounts.prod: write it as a table"),
        ('[accounts.prod]\nregion = "x"', "accounts.prod.provider: say which"),
        ('[accounts."a/b"]\nprovider = "aws"', "a name has up to 64"),
        ('[accounts.prod]\nprovider = "aws"\nregion = ["x"]', "accounts.prod.region: write a text or a number"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_with_the_place_and_the_rule(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(AccountsWrong) as wrong:
        read_accounts(written(tmp_path, text), HERE)
    assert says in str(wrong.value)
    assert "accounts.toml" in str(wrong.value)
