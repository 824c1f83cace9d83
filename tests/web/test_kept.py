"""What can only ever say the same is kept up to a number of bytes."""

from stormsail.web.sources.kept import Kept


def test_the_body_used_longest_ago_goes_first_when_there_are_too_many_bytes() -> None:
    kept = Kept(bytes_max=10)
    kept.keep("a", b"aaaa")
    kept.keep("b", b"bbbb")
    assert kept.get("a") == b"aaaa"
    kept.keep("c", b"cccc")
    assert [kept.get(key) for key in "abc"] == [b"aaaa", None, b"cccc"]
    assert kept.size_bytes == 8


def test_a_body_over_the_bound_is_not_kept_and_costs_nobody_else_his_place() -> None:
    kept = Kept(bytes_max=10)
    kept.keep("a", b"aaaa")
    kept.keep("large", b"x" * 11)
    assert (kept.get("a"), kept.get("large")) == (b"aaaa", None)
