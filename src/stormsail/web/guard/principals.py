"""Who asks, and what they may do: the person at this machine, or the holder of a key."""

from dataclasses import dataclass

from stormsail.delivery.records.keys import Grant, Key, Role
from stormsail.web.problems import Problem

EVERYTHING = tuple(Grant(role) for role in Role)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request comes from. Nothing is allowed that no grant gives."""

    name: str
    """Kept in the audit: `local:alice`, or `key:<name> (<id>)`."""
    grants: tuple[Grant, ...]
    session: str = ""
    """The id of the cookie's session; empty for keys and for the local principal."""

    def may(self, role: Role, application: str = "*", account: str = "*") -> bool:
        """Whether a role on a thing is granted; `*` asks for a role on everything."""
        return any(grant.gives(role, application, account) for grant in self.grants)

    def sees(self, application: str, account: str) -> bool:
        """Whether it may read a thing; what read models are asked with."""
        return self.may(Role.READ, application, account)

    def must(self, role: Role, application: str = "*", account: str = "*") -> None:
        """Raise Problem unless a role is granted."""
        if not self.may(role, application, account):
            what = "everything" if application == "*" and account == "*" else f"{application} in account {account}"
            raise Problem(
                "not-allowed",
                f"{self.name} has no {role.value} on {what}",
                f"ask for a key with the grant {role.value}:{application}@{account}",
            )


def local_principal(user: str) -> Principal:
    """Return whoever works on this machine itself: loopback is not reached by anybody else."""
    return Principal(f"local:{user}", EVERYTHING)


def principal_of(key: Key, session: str = "") -> Principal:
    """Return the holder of a key."""
    return Principal(f"key:{key.name} ({key.id})", key.grants, session)
