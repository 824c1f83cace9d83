"""Certificates: who this server is, and whom it talks to."""

import ssl
from dataclasses import dataclass
from pathlib import Path


class TlsUnusable(Exception):
    """A certificate, key or CA file cannot be used; the message names the file and says why, fit to print."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. With `client_ca`, only peers with a certificate of that authority are talked to."""

    cert: Path
    key: Path
    client_ca: Path | None = None


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return what a listening socket needs. Raises TlsUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    load(context, tls)
    return context


def load(context: ssl.SSLContext, tls: Tls) -> None:
    """Read the files, again if need be: handshakes from now on go by what they hold. Raises TlsUnusable."""
    for path in (tls.cert, tls.key, tls.client_ca):
        if path is not None:
            _check_readable(path)
    try:
        # Without a password callback OpenSSL would ask on the terminal.
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise TlsUnusable(f"certificate {tls.cert} and key {tls.key}: {_why(error)}") from error
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except ssl.SSLError as error:
            raise TlsUnusable(f"client CA {tls.client_ca}: {_why(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(1)
    except OSError as error:
        raise TlsUnusable(f"{path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise TlsUnusable(f"{path} is empty")


def _no_password() -> bytes:
    raise ValueError("the key is protected by a password; store it without one, readable by its owner only")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return {
            "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
            "NO_CERTIFICATE_OR_CRL_FOUND": "no certificate in it",
        }.get(error.reason or "", "not a certificate with its key, in PEM")
    return str(error)
