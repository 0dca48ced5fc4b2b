"""The API of logging in: who asks, in, out, and another password."""

from __future__ import annotations

from pydantic import Field
from starlette.responses import JSONResponse, Response

from manager.logins import NOBODY, PASSWORD_MOST, Logins, TooOften, Who, WrongLogin, csrf
from manager.web import guard
from manager.web.api import Answer, Body, Call, Operation


class Me(Answer):
    """Who asks."""

    name: str
    role: str = Field(description="tenant, operator, administrator; empty: not logged in")
    user: str | None = Field(description="a tenant's: whose own things are shown")
    csrf: str = Field(description="to be sent as X-CSRF-Token with every change")
    login: bool = Field(description="whether there is anything to log in to")
    words: str


class LogIn(Body):
    """A name and its password."""

    name: str = Field(max_length=64, description="at most 64 characters")
    password: str = Field(
        max_length=PASSWORD_MOST, description=f"at most {PASSWORD_MOST} characters"
    )


class Password(Body):
    """The old password and the new one."""

    old: str = Field(max_length=PASSWORD_MOST, description=f"at most {PASSWORD_MOST} characters")
    new: str = Field(max_length=PASSWORD_MOST, description=f"at most {PASSWORD_MOST} characters")


def operations(logins: Logins) -> list[Operation]:
    """What can be asked about logins."""

    def me(call: Call) -> Me:
        who: Who = call.who or NOBODY
        has = logins.any()
        return Me(
            name=who.name,
            role=who.role,
            user=who.user_id,
            csrf=call.request.state.csrf,
            login=has or not who.role,
            words="" if who.role or has else guard.NO_ACCOUNT,
        )

    async def log_in(call: Call) -> Response:
        try:
            token = await logins.log_in(call.body.name, call.body.password, _address(call))
        except (WrongLogin, TooOften) as e:
            return _refused(e)
        who = logins.who(token)
        assert who is not None
        answer = {"name": who.name, "role": who.role, "user": who.user_id, "csrf": csrf(token)}
        response = JSONResponse({**answer, "login": True, "words": ""})
        secure = call.request.url.scheme == "https"
        guard.set_cookie(response, token, who.role, secure=secure)
        if call.request.state.token:
            logins.log_out(call.request.state.token)
        return response

    def log_out(call: Call) -> Response:
        if call.request.state.token:
            logins.log_out(call.request.state.token)
        response = JSONResponse({"words": "logged out"})
        guard.drop_cookie(response)
        return response

    async def password(call: Call) -> Response:
        if not call.request.state.token:
            return guard.refusal(400, "only who has logged in has a password to change")
        try:
            await logins.change_password(
                call.who.name, call.body.old, call.body.new, _address(call)
            )
        except (WrongLogin, TooOften) as e:
            return _refused(e, wrong=400)
        response = JSONResponse({"words": "changed: log in with the new password"})
        guard.drop_cookie(response)
        return response

    return [
        Operation("GET", "/api/me", "Who asks", me, "anyone", answer=Me, tag="login"),
        Operation(
            "POST", "/api/login", "Log in", log_in, "anyone", body=LogIn, answer=Me, tag="login",
            about="The login is in a cookie that scripts cannot read. 401 for a wrong name or"
            " password, 429 for too many tries.",
        ),
        Operation("POST", "/api/logout", "Log out", log_out, "anyone", tag="login"),
        Operation(
            "POST", "/api/password", "Change one's password", password, "tenant", body=Password,
            about="Ends every login of the account.", tag="login",
        ),
    ]  # fmt: skip


def _address(call: Call) -> str:
    return call.request.client.host if call.request.client else ""


def _refused(e: WrongLogin | TooOften, wrong: int = 401) -> Response:
    if isinstance(e, TooOften):
        return guard.refusal(429, str(e), **{"Retry-After": str(e.wait_s)})
    return guard.refusal(wrong, str(e))
