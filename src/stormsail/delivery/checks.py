"""Taking one measurement of an analysis: asking a URL, running a program, or asking Prometheus.

Raises Transient for what may go better a moment later. What was answered and says nothing is a measurement without a
value; whether that is good or bad is not decided here.
"""

import asyncio
import contextlib
import json
import math
import os
import re
import signal
from typing import Any, Final

import httpx

from stormsail.delivery.model.canary import CommandCheck, Measurement, PrometheusCheck, Value, WebCheck
from stormsail.delivery.providers.errors import Permanent, Transient

ANSWER_BYTES_MAX: Final = 1024 * 1024
OUTPUT_BYTES_MAX: Final = 64 * 1024
DETAIL_MAX: Final = 300
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


async def ask_web(check: WebCheck, timeout_s: float) -> Measurement:
    """Ask the URL and take the value out of its answer."""
    answer = await _get(check.url, dict(check.headers), timeout_s)
    try:
        return measured(at_path(answer, check.json_path), check.json_path or "the answer")
    except LookupError as missing:
        return Measurement(detail=f"{check.url}: {missing}")


async def ask_prometheus(check: PrometheusCheck, timeout_s: float) -> Measurement:
    """Ask for the query's value now. No series is no value; several are none either, and are told of."""
    url = str(httpx.URL(f"{check.address.rstrip('/')}/api/v1/query", params={"query": check.query}))
    answer = await _get(url, {}, timeout_s)
    said = answer.get("data", {}) if isinstance(answer, dict) else {}
    result = said.get("result", [])
    if said.get("resultType") == "scalar":
        result = [{"value": result}]
    if not isinstance(result, list) or len(result) != 1:
        found = len(result) if isinstance(result, list) else "something else than"
        return Measurement(detail=f"the query gives {found} series, and one is needed")
    try:
        value = float(result[0]["value"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return Measurement(detail=f"Prometheus answered {str(result[0])[:DETAIL_MAX]}")
    return Measurement(detail="the query gives no number") if math.isnan(value) else Measurement(value=value)


async def run_command(check: CommandCheck, timeout_s: float) -> Measurement:
    """Run the program, in a group of its own so that all of it can be ended. Raises Permanent where it cannot be."""
    try:
        process = await asyncio.create_subprocess_exec(
            *check.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as wrong:
        raise Permanent(f"{check.command[0]!r} cannot be run: {wrong.strerror}") from None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            output = await _read_some(process.stdout)
            code = await process.wait()
    except TimeoutError:
        return Measurement(detail=f"{check.command[0]} did not end within {timeout_s:g} s", failed=True)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    text = output.decode(errors="replace").strip()
    if code:
        return Measurement(detail=f"{check.command[0]} ended with {code}: {text[-DETAIL_MAX:]}", failed=True)
    try:
        return measured(json.loads(text), "its output")
    except ValueError:
        return Measurement(value=text[-DETAIL_MAX:])


def at_path(answer: Any, path: str) -> Any:
    """Return what stands at a path such as `data.result[0].rate`. Raises LookupError naming what is missing."""
    plain = path.removeprefix("$")
    if "".join(match[0] for match in _STEP.finditer(plain)) != plain:
        raise LookupError(f"{path!r} is no path: write, for example, data.result[0].rate")
    for match in _STEP.finditer(plain):
        try:
            answer = answer[int(match[2])] if match[2] else answer[match[1]]
        except (KeyError, IndexError, TypeError):
            raise LookupError(f"{path!r}: there is no {match[0]}") from None
    return answer


def measured(value: Any, what: str) -> Measurement:
    """Return a measurement of a number, a word or a truth; of nothing else can anything be said."""
    if isinstance(value, bool | int | float | str):
        found: Value = value if isinstance(value, bool | str) else float(value)
        return Measurement(value=found)
    kind = "nothing" if value is None else type(value).__name__
    return Measurement(detail=f"{what} is {kind}, not a number or a word")


async def _get(url: str, headers: dict[str, str], timeout_s: float) -> Any:
    try:
        async with httpx.AsyncClient(timeout=timeout_s) as client, client.stream("GET", url, headers=headers) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise Permanent(f"{url} answers with more than {ANSWER_BYTES_MAX} bytes")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as wrong:
        raise Permanent(f"{url}: {wrong}") from None
    except httpx.HTTPError as failure:
        raise Transient(f"{url}: {type(failure).__name__}: {failure}") from None
    if answer.status_code != httpx.codes.OK:
        raise Transient(f"{url} answered {answer.status_code}")
    try:
        return json.loads(body)
    except ValueError:
        raise Transient(f"{url} did not answer with JSON") from None


async def _read_some(stream: asyncio.StreamReader) -> bytes:
    """Read to the end and keep the last part."""
    kept = b""
    while chunk := await stream.read(65536):
        kept = (kept + chunk)[-OUTPUT_BYTES_MAX:]
    return kept
