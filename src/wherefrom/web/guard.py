"""An ASGI layer that checks every request, and adds headers to every answer."""

from __future__ import annotations

import asyncio
import hmac
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "wherefrom_session"
UPLOADS = "/api/jobs"  # the service bounds these itself
SMALL_BODY, SMALL_SECONDS = 16 * 2**10, 10.0  # of any other request
READING = ("GET", "HEAD", "OPTIONS")
# Public without a token: the page itself, which holds no data, and the health check.
SCRIPTS = ("/static/app.js", "/static/row.js", "/static/compare.js")
PUBLIC = ("/", "/healthz", "/api/session", *SCRIPTS, "/static/style.css")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# The rest of the body is not read, so the connection cannot be used again.
CLOSE = {"Connection": "close"}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests without the token, and requests that another website made.

    `hosts`: host names that are accepted, None for any.  On loopback this refuses websites whose
    name was made to point to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...] | None) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        if scope["path"] != UPLOADS:
            receive = _bounded(receive)
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and host_of(headers.get("host", "")) not in self._hosts:
            return _answer(421, "this service does not answer to that host name")
        if scope["method"] not in READING and _is_foreign(headers):
            return _answer(403, "another website made this request")
        if self._token is None or scope["path"] in PUBLIC or allowed(headers, self._token):
            return None
        return _answer(401, "give the token: Authorization: Bearer TOKEN")


def session_of(token: str) -> str:
    """The cookie's value: it proves that the token was known, and does not reveal it."""
    return hmac.new(token.encode(), b"wherefrom session", sha256).hexdigest()


def is_token(given: str, token: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def allowed(headers: Headers, token: str) -> bool:
    """Whether a request holds the token, or the cookie that it was exchanged for."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return is_token(given.strip(), token)
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and is_token(cookie.value, session_of(token))


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    return header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() else header


def _is_foreign(headers: Headers) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _answer(status: int, reason: str) -> JSONResponse:
    extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse({"detail": reason}, status, headers={**CLOSE, **extra})


def _bounded(receive: Receive) -> Receive:
    """A body that is small and comes soon; frameworks gather one whole before they look at it."""
    deadline = asyncio.get_running_loop().time() + SMALL_SECONDS
    size, whole = 0, False

    async def receiving() -> Message:
        nonlocal size, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the request took too long", CLOSE) from None
        size += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if size > SMALL_BODY:
            raise HTTPException(413, f"the request is larger than {SMALL_BODY} bytes", CLOSE)
        return message

    return receiving


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items():
                if name not in headers:
                    headers[name] = value
        await send(message)

    return sending
