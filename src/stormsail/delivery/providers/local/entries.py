"""Load balancers as people may wish them here: the one that each application has, and the port that it listens on.

An application's load balancer runs while the application has server groups, and finds its servers by itself. So there
is one of the application's own name, with one listener, and nothing else to describe.
"""

from typing import Final

from stormsail.delivery.model.network import Listener, LoadBalancer, Network
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, Permanent
from stormsail.delivery.providers.local import changes
from stormsail.delivery.providers.local.launch import LOOPBACK
from stormsail.delivery.providers.local.state import ApplicationFiles, Home
from stormsail.delivery.providers.provider import (
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    NetworkChange,
    Progress,
    UpsertLoadBalancer,
    UpsertSecurityGroup,
)

NO_SECURITY_GROUPS: Final = (
    "the local provider has no security groups: what it runs listens on loopback alone; leave {kind} out "
    "for this account"
)


def refuse_what_is_not_here(home: Home, change: NetworkChange) -> ApplicationFiles:
    """Return the application that a change is about. Raises for what this provider does not have."""
    if isinstance(change, UpsertSecurityGroup | DeleteSecurityGroup):
        raise Permanent(NO_SECURITY_GROUPS.format(kind=change.kind))
    application = change.name.partition("-")[0]
    if change.name != application:
        raise InvalidLaunch(
            f"load balancer {change.name!r}: the local provider has one for each application, under its name: "
            f"{application!r}"
        )
    if isinstance(change, UpsertLoadBalancer):
        _check(change.load_balancer)
    return home.application(application)


def admit(application: ApplicationFiles, token: str, change: NetworkChange) -> Progress:
    """Do a change, once, under the application's lock. Whoever is killed in between has it done again."""
    answer = changes.claimed(application.home, token, change)
    if answer is not None:
        return answer
    if isinstance(change, UpsertLoadBalancer):
        wanted = change.load_balancer.listeners[0].port
        changes.settle_entry(application, wanted)
        detail = f"{application.name} is served on {LOOPBACK}:{wanted} while it has server groups"
    elif isinstance(change, DeleteLoadBalancer):
        if names := [group.name for group in application.groups()]:
            raise Conflict(f"load balancer {change.name} has server groups ({', '.join(names)}): destroy them first")
        application.remove_entry()
        detail = f"load balancer {change.name} is gone"
    changes.end(application.home, token, detail=detail)
    return Progress(done=True, detail=detail)


def network(application: ApplicationFiles) -> Network:
    """Read the application's load balancer, if it has a port."""
    entry = application.entry()
    if entry is None:
        return Network()
    serves = tuple(group.name for group in application.groups() if group.enabled and not group.destroying)
    found = LoadBalancer(
        name=application.name,
        internal=True,
        listeners=(Listener(port=entry.port),),
        address=f"{LOOPBACK}:{entry.port}",
        serves=serves,
    )
    return Network(load_balancers=(found,))


def _check(wished: LoadBalancer) -> None:
    if wished.settings:
        raise InvalidLaunch(f"settings: the local provider knows no setting {min(wished.settings)!r} here")
    if wished.pools:
        raise InvalidLaunch("pools: the local provider finds the servers by itself: leave pools and routes out")
    if len(wished.listeners) != 1 or wished.listeners[0].protocol != "HTTP":
        raise InvalidLaunch("listeners: the local provider has exactly one, for HTTP")
