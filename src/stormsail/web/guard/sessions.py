"""Sessions: a signed cookie that names a key and an end, and the token against forged requests that goes with it.

Nothing is kept of a session but in the cookie: revoking its key ends it.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COOKIE: Final = "stormsail_session"
SESSION_MS: Final = 12 * 3_600_000
COOKIE_MAX: Final = 1024
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says, once its signature holds and its time is not over."""

    id: str
    key_id: str
    ends_at_ms: int


class Sessions:
    """Signs and reads cookies with one secret, which all web processes of a data directory share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def begin(self, key_id: str, now_ms: int) -> tuple[Session, str]:
        """Return a new session and its cookie's value."""
        session = Session(secrets.token_urlsafe(16), key_id, now_ms + SESSION_MS)
        said = json.dumps([session.id, session.key_id, session.ends_at_ms]).encode()
        return session, f"{_text(said)}.{_text(self._sign(b'session', said))}"

    def read(self, cookie: str, now_ms: int) -> Session | None:
        """Return the session of a cookie, or None for one that is not ours or over."""
        said, _, signature = cookie.partition(".")
        try:
            if len(cookie) > COOKIE_MAX:
                return None
            body, signed = _bytes(said), _bytes(signature)
        except ValueError:
            return None
        if not hmac.compare_digest(signed, self._sign(b"session", body)):
            return None
        identity, key_id, ends_at_ms = json.loads(body)
        return Session(identity, key_id, ends_at_ms) if now_ms < ends_at_ms else None

    def csrf_token(self, session_id: str) -> str:
        """Return the token that changes of a session must carry; the local principal's session is empty."""
        return _text(self._sign(b"csrf", session_id.encode()))

    def is_csrf_token(self, session_id: str, token: str) -> bool:
        """Whether a token is the session's, in constant time."""
        return hmac.compare_digest(self.csrf_token(session_id).encode(), token.encode())

    def _sign(self, purpose: bytes, said: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + said, hashlib.sha256)


def load_secret(data_dir: Path) -> bytes:
    """Return the data directory's secret, making it the first time; readable by its owner only."""
    path = data_dir / "web.secret"
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        draft = path.with_name(f"web.secret.{os.getpid()}")
        file = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(secrets.token_bytes(SECRET_BYTES))
        try:
            # A link refuses to replace: of two that start at once, the first one's secret is everybody's.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(0, "is not a secret of 32 bytes: remove it, and sign in again", str(path))
    return secret


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
