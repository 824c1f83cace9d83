"""What tokens did to things that are described whole: load balancers and security groups keep it as tags, as groups do.

Each pass compares what is there with what is wished and mends the difference, so whoever carries a change on needs to
know nothing of the passes before. The tags only say whose turn it is: a later change overrules an earlier one.
"""

import dataclasses
from collections.abc import Mapping

from stormsail.delivery.providers.aws import ledger
from stormsail.delivery.providers.aws.creating import check_same, done
from stormsail.delivery.providers.aws.ledger import Entry, State
from stormsail.delivery.providers.errors import Conflict
from stormsail.delivery.providers.provider import NetworkChange, Progress


def own(application: str, entry: Entry) -> dict[str, str]:
    """Return the tags of what is made for a token."""
    return {ledger.APPLICATION: application, **dict([entry.tag])}


def new_entry(token: str, change: NetworkChange, tags: Mapping[str, str]) -> Entry:
    """Return what is written down before a change is begun."""
    number = ledger.next_number(ledger.entries(tags))
    key, digest = ledger.token_key(token), ledger.digest_of(change)
    return Entry(key, change.kind, State.BEGUN, number, digest, before="", after="")


def entry_of(token: str, change: NetworkChange, tags: Mapping[str, str]) -> Entry | None:
    """Return what a token did to a thing. Raises Conflict where it is not ours, or the token was used otherwise."""
    if ledger.APPLICATION not in tags:
        raise Conflict(f"{change.name} exists and Stormsail did not make it: use another name")
    found = next((one for one in ledger.entries(tags) if one.key == ledger.token_key(token)), None)
    if found is not None:
        check_same(token, change, found.digest)
    return found


def answer(entry: Entry, change: NetworkChange, tags: Mapping[str, str]) -> Progress | None:
    """Return or raise how a token's change ended; None when it is to be carried on."""
    if entry.state is State.DONE:
        return done(change.name, change.kind)
    if entry.state is State.CANCELLED:
        raise Conflict(f"{change.kind} of {change.name} was cancelled")
    if any(entry.number < other.number and other.state is not State.CANCELLED for other in ledger.entries(tags)):
        raise Conflict(f"{change.name} was changed again before {change.kind} was done")
    return None


def ended(entry: Entry) -> dict[str, str]:
    """Return the tag that says that a change is done."""
    return dict([dataclasses.replace(entry, state=State.DONE).tag])


def cancelled(entry: Entry) -> dict[str, str]:
    """Return the tag that says that nobody carries a change on any more."""
    return dict([dataclasses.replace(entry, state=State.CANCELLED).tag])
