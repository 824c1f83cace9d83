"""Tokens come back as they were given, and nothing else is taken for one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import ActivityToken, WorkflowTaskToken
from stormsail.engine.shell import tokens
from stormsail.engine.shell.tokens import HistoryPageToken, QueryToken

keys = st.builds(RunKey, st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
numbers = st.integers(min_value=0, max_value=2**50)


@settings(deadline=None)
@given(st.builds(WorkflowTaskToken, keys, numbers, numbers, numbers, st.text(max_size=20)))
def test_a_workflow_task_token_comes_back(token: WorkflowTaskToken) -> None:
    assert tokens.decode_workflow_task(tokens.encode_workflow_task(token)) == token


@settings(deadline=None)
@given(st.builds(ActivityToken, keys, numbers, numbers, st.text(max_size=20)))
def test_an_activity_token_comes_back(token: ActivityToken) -> None:
    assert tokens.decode_activity(tokens.encode_activity(token)) == token


@settings(deadline=None)
@given(st.builds(HistoryPageToken, st.text(max_size=20), numbers, st.booleans(), numbers, st.binary(max_size=50)))
def test_a_page_token_comes_back(token: HistoryPageToken) -> None:
    assert tokens.decode_history_page(tokens.encode_history_page(token)) == token


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"w", b"a", b"q", b"h"]))
def test_arbitrary_bytes_are_refused_as_the_callers_mistake(noise: bytes, kind: bytes) -> None:
    for decode in (tokens.decode_workflow_task, tokens.decode_activity, tokens.decode_query):
        with pytest.raises(InvalidArgument, match="Error deserializing task token"):
            decode(kind + noise)
    with pytest.raises(InvalidArgument, match="Invalid NextPageToken"):
        tokens.decode_history_page(kind + noise)


@pytest.mark.parametrize(
    "token",
    [
        b'w["n","w","r",1,2,3]',
        b'w["n","w","r",1,2,true,"x"]',
        b'w["n","w","r",1,2,-3,"x"]',
        b'w["n","w","r",1,2,99999999999999999999,"x"]',
        b'a["n","w","r",1,2,3,"x"]',
        b"w" + b"[" * 40_000,
        b"w" + b" " * 100_000,
    ],
)
def test_a_token_of_the_wrong_shape_is_refused(token: bytes) -> None:
    with pytest.raises(InvalidArgument):
        tokens.decode_workflow_task(token)


def test_a_token_of_another_namespace_is_refused() -> None:
    key = RunKey("mine", "w", "r")
    token = tokens.encode_activity(ActivityToken(key, 5, 1, "x"))
    assert tokens.decode_activity(token, "mine").key == key
    with pytest.raises(InvalidArgument, match="different namespace"):
        tokens.decode_activity(token, "yours")
    with pytest.raises(InvalidArgument, match="different namespace"):
        tokens.decode_query(tokens.encode_query(QueryToken("mine", "q")), "yours")
