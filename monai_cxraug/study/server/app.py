"""From requests to handlers: the table of addresses, and a thin layer of Starlette around it."""

from __future__ import annotations

import mimetypes
import sqlite3
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from monai_cxraug.study.server import admin_api, reader_api
from monai_cxraug.study.server.security import App, Guard, HostRule, read_object
from monai_cxraug.study.server.site import Call, RefusalError, Reply, Site

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

Handler = Callable[[Site, Call], Reply]

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/api/session", reader_api.get_session),
    ("POST", "/api/enter", reader_api.enter),
    ("POST", "/api/enrol", reader_api.enrol),
    ("POST", "/api/leave", reader_api.leave),
    ("POST", "/api/open", reader_api.open_page),
    ("POST", "/api/language", reader_api.set_language),
    ("POST", "/api/start", reader_api.start),
    ("POST", "/api/answer", reader_api.answer),
    ("GET", "/api/image/{position}/{place}", reader_api.get_image),
    ("POST", "/api/admin/enter", admin_api.admin_enter),
    ("POST", "/api/admin/leave", admin_api.admin_leave),
    ("GET", "/api/admin/overview", admin_api.get_overview),
    ("POST", "/api/admin/codes", admin_api.create_codes),
    ("POST", "/api/admin/enrolment", admin_api.set_enrolment),
    ("GET", "/api/admin/order/{code}", admin_api.get_order),
    ("GET", "/api/admin/tables.zip", admin_api.get_tables),
    ("POST", "/api/admin/export", admin_api.export),
)
#: addresses of pages; everything else in the folder ``static`` is served by its own name.
PAGES: Final = {"/": "index.html", "/admin": "admin.html"}


def build_app(site: Site, hosts: HostRule) -> App:
    """Build the web application of a site.

    Args:
        site: what is served.
        hosts: names under which it may be called.
    """
    from starlette.applications import Starlette

    routes = [_route(path, method, handler, site) for method, path, handler in ROUTES]
    return Guard(Starlette(routes=[*routes, *_static_routes(site)]), hosts)


def load_static() -> Mapping[str, Reply]:
    """Read every page, style sheet and script, by its address. Whatever is not in this table cannot be asked for."""
    folder = files("monai_cxraug.study.server") / "static"
    static = {f"/static/{one.name}": _static_reply(one.name, one.read_bytes()) for one in folder.iterdir()}
    return {**static, **{path: static[f"/static/{name}"] for path, name in PAGES.items()}}


def _static_reply(name: str, content: bytes) -> Reply:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Reply(content, f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)


def _static_routes(site: Site) -> list[Route]:
    def handler(reply: Reply) -> Handler:
        return lambda _site, _call: reply

    return [_route(path, "GET", handler(reply), site) for path, reply in load_static().items()]


def _route(path: str, method: str, handler: Handler, site: Site) -> Route:
    from starlette.concurrency import run_in_threadpool
    from starlette.routing import Route

    async def endpoint(request: Request) -> Response:
        body = await request.body() if method == "POST" else b"{}"
        return _respond(await run_in_threadpool(_handle, handler, site, request, body), site.secure)

    return Route(path, endpoint, methods=[method])


def _handle(handler: Handler, site: Site, request: Request, body: bytes) -> Reply:
    try:
        content = read_object(body)
        if content is None:
            raise RefusalError(400, "json")
        client = request.client.host if request.client else ""
        headers = dict(request.headers.items())
        return handler(site, Call(request.path_params, request.cookies, headers, content, client))
    except RefusalError as refusal:
        return Reply.of({"error": refusal.reason}, refusal.status)
    except sqlite3.Error as error:  # a full disk, above all: the page keeps the answer and sends it again
        print(f"answers could not be saved: {error}", file=sys.stderr, flush=True)
        return Reply.of({"error": "storage"}, 503)
    except Exception:
        traceback.print_exc()
        return Reply.of({"error": "server"}, 500)


def _respond(reply: Reply, secure: bool) -> Response:
    from starlette.responses import Response

    response = Response(reply.content, reply.status, dict(reply.headers), reply.kind)
    for name, value in reply.cookies.items():
        if value:
            response.set_cookie(name, value, httponly=True, samesite="strict", secure=secure, path="/")
        else:
            response.delete_cookie(name, httponly=True, samesite="strict", secure=secure, path="/")
    return response
