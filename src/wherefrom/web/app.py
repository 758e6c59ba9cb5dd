"""The REST interface and the page; `service` does the work.

The answers are pydantic models, which give the OpenAPI schema.
"""

from collections.abc import AsyncIterable
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from wherefrom import __version__
from wherefrom.core.errors import InputError
from wherefrom.report.pages.files import INSPECTION, PAGE, PICTURES, THUMBNAIL
from wherefrom.web.export import KINDS, Wanted, export
from wherefrom.web.forms import MAX_AROUND, ImageForm
from wherefrom.web.guard import CLOSE, COOKIE, Guard, is_token, session_of
from wherefrom.web.jobs.databases import HistoryAwayError
from wherefrom.web.jobs.history import Job, JobState
from wherefrom.web.service import Service, UploadRefusedError
from wherefrom.web.settings import LOOPBACK

# A report loads nothing and runs nothing; the sandbox takes even the page's own origin from it.
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STATIC = {
    **dict.fromkeys(("app.js", "row.js", "compare.js"), "text/javascript; charset=utf-8"),
    "style.css": "text/css; charset=utf-8",
}
MAX_NUMBER = 2**63 - 1  # SQLite's largest integer
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class AnswerView(BaseModel):
    """One question's answer in short; the report holds the rest."""

    question: str
    asked: str
    state: str = Field(description="found, not found, not flagged, cannot say or not asked")
    sentence: str
    error_rate: float | None
    error_of: str


class StepView(BaseModel):
    """What is being done."""

    step: str
    done: int
    total: int | None


class JobView(BaseModel):
    """One uploaded image."""

    id: str
    number: int
    name: str
    bytes: int
    state: str = Field(description="queued, running, done, failed or cancelled")
    created: float = Field(description="seconds since 1970, as all times")
    started: float | None
    finished: float | None
    error: str
    step: StepView | None
    summary: list[AnswerView]


class JobsView(BaseModel):
    """A page of the history, newest first."""

    jobs: list[JobView]
    before: int | None = Field(description="give it as `before` for the next page; null at the end")


class HealthView(BaseModel):
    """Whether jobs are worked on."""

    healthy: bool
    version: str
    waiting: int | None = Field(description="null while the history does not answer")


class ServiceView(BaseModel):
    """What a client needs to know."""

    version: str
    case: str
    max_upload_bytes: int
    needs_token: bool


class ProblemView(BaseModel):
    """What is wrong with a request, in one line."""

    detail: str


class TokenView(BaseModel):
    """What a browser exchanges for a cookie."""

    token: str = Field(max_length=512)


def job_view(job: Job) -> JobView:
    """A job as it is sent."""
    return JobView.model_validate(job, from_attributes=True)


def create_app(service: Service, *, case: str, token: str | None, host: str) -> FastAPI:
    """The application around a service that runs in the same event loop."""
    app = FastAPI(
        title="wherefrom",
        version=__version__,
        summary="Where did this generated image come from?",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        responses={422: {"model": ProblemView}},
    )
    app.state.service = service
    app.include_router(_jobs(service))
    app.include_router(_export(service))
    app.include_router(_session(service, case, token))
    app.include_router(_page())
    hosts = LOOPBACK if host in LOOPBACK else None
    app.add_middleware(Guard, token=token, hosts=hosts)

    _add_error_handlers(app, service)
    return app


def _add_error_handlers(app: FastAPI, service: Service) -> None:
    """Answer every error with one line that repeats nothing of the request."""

    @app.exception_handler(UploadRefusedError)
    async def refused(request: Request, error: UploadRefusedError) -> JSONResponse:
        service.metrics.refused.labels(status=str(error.status)).inc()
        extra = {} if error.again is None else {"Retry-After": str(error.again)}
        return JSONResponse({"detail": error.reason}, error.status, headers={**CLOSE, **extra})

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        problem = f"{' '.join(map(str, first['loc']))}: {first['msg']}"
        return JSONResponse({"detail": problem}, 422, headers=CLOSE)

    @app.exception_handler(HistoryAwayError)
    async def away(request: Request, error: HistoryAwayError) -> JSONResponse:
        return JSONResponse(
            {"detail": error.for_clients}, 503, headers={**CLOSE, "Retry-After": "10"}
        )

    @app.exception_handler(InputError)
    async def cannot(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 507, headers=CLOSE)  # the disk, most likely

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # the client has gone


def _jobs(service: Service) -> APIRouter:
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])

    async def find(job: JobId) -> Job:
        try:
            return await service.get(job)
        except KeyError:
            raise HTTPException(404, "there is no such job") from None

    KnownJob = Annotated[Job, Depends(find)]  # noqa: N806 (a type)

    @router.post("", status_code=202, openapi_extra=BODY)
    async def submit(
        request: Request,
        response: Response,
        name: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> JobView:
        """Upload one image: its bytes are the body, or the file of a form.

        It is queued, and is not lost from then on.
        """
        form = _form_of(request)
        announced = request.headers.get("content-length", "0")
        most = service.config.max_upload_bytes + (MAX_AROUND if form else 0)
        if announced.isdecimal() and int(announced) > most:
            raise service.too_large()
        if form is None:
            job = await service.accept(name or "image", request.stream())
        else:
            await service.find_file(form)
            job = await service.accept(name or form.name, form.file())
        response.headers["Location"] = f"/api/jobs/{job.id}"
        return job_view(job)

    @router.get("")
    async def history(
        count: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[int | None, Query(ge=1, le=MAX_NUMBER)] = None,
    ) -> JobsView:
        """The history, newest first."""
        jobs = await service.newest(count, before=before)
        more = jobs[-1].number if len(jobs) == count else None
        return JobsView(jobs=[job_view(job) for job in jobs], before=more)

    @router.get("/{job}")
    async def job(job: KnownJob) -> JobView:
        """One job."""
        return job_view(job)

    @router.get("/{job}/events", response_class=EventSourceResponse)
    async def events(job: KnownJob) -> AsyncIterable[ServerSentEvent]:
        """The job after every change, as server-sent events `job`, until it ends."""
        async for change in service.follow(job.id):
            if change is None:
                yield ServerSentEvent(comment="still here")
            else:
                yield ServerSentEvent(event="job", data=job_view(change).model_dump())

    @router.delete("/{job}")
    async def cancel(job: KnownJob, remove: bool = False) -> JobView:
        """Cancel a job; one that has ended stays as it is.  `remove`: with upload and report."""
        return job_view(await (service.remove if remove else service.cancel)(job.id))

    @router.get("/{job}/report.html", response_class=FileResponse)
    async def page(job: KnownJob, download: bool = False) -> FileResponse:
        """The report for people."""
        return _file(service, job, PAGE, "text/html; charset=utf-8", download)

    @router.get("/{job}/report.json", response_class=FileResponse)
    async def report(job: KnownJob, download: bool = False) -> FileResponse:
        """The report for programs, as `inspection.schema.json` describes it."""
        return _file(service, job, INSPECTION, "application/json", download)

    @router.get("/{job}/pictures.json", response_class=FileResponse)
    async def pictures(job: KnownJob) -> FileResponse:
        """The image and the pictures of its report, as data addresses, for the page."""
        return _file(service, job, PICTURES, "application/json", download=False)

    @router.get("/{job}/thumbnail.png", response_class=FileResponse)
    async def thumbnail(job: KnownJob) -> FileResponse:
        """The image, small."""
        return _file(service, job, THUMBNAIL, "image/png", download=False)

    return router


IMAGE = {"type": "string", "format": "binary"}
FORM = {"type": "object", "properties": {"image": IMAGE}, "required": ["image"]}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": IMAGE},
            "multipart/form-data": {"schema": FORM},
        },
    }
}


def _form_of(request: Request) -> ImageForm | None:
    """The form that a request sends; None where the body is the bytes of the image."""
    kind = request.headers.get("content-type", "")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UploadRefusedError(
            415, "the body is compressed; send the bytes of the image as they are"
        )
    if not kind.lower().startswith("multipart/"):
        return None
    return ImageForm(
        kind, request.stream(), lambda why: UploadRefusedError(400, f"this form is refused: {why}")
    )


def _file(service: Service, job: Job, name: str, kind: str, download: bool) -> FileResponse:
    path = service.history.place(job.id) / name
    if job.state is not JobState.DONE or not path.is_file():
        raise HTTPException(404, f"there is no report: the job is {job.state}")
    headers = {"Content-Security-Policy": REPORT_POLICY}
    stem = job.name.rpartition(".")[0] or job.name
    shown = f"{stem}-{name}" if download else None
    return FileResponse(path, media_type=kind, headers=headers, filename=shown)


def _export(service: Service) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.get("/api/export.{kind}", response_class=StreamingResponse)
    async def table(
        kind: Annotated[str, Path(pattern=f"^({'|'.join(KINDS)})$")],
        question: Annotated[str, Query(max_length=40)] = "",
        state: Annotated[str, Query(max_length=40)] = "",
        name: Annotated[str, Query(max_length=1000)] = "",
    ) -> StreamingResponse:
        """The ended jobs, newest first: a table, the same as JSON, or a ZIP of their reports.

        With `state` those whose answer to `question` (or to any) ended so, with `name` those whose
        name holds it.
        """
        headers = {"Content-Disposition": f'attachment; filename="wherefrom.{kind}"'}
        body = export(service, kind, Wanted(question, state, name))
        return StreamingResponse(body, media_type=KINDS[kind], headers=headers)

    return router


def _session(service: Service, case: str, token: str | None) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/api/service")
    async def about() -> ServiceView:
        """What a client needs to know before it uploads an image."""
        limit = service.config.max_upload_bytes
        return ServiceView(
            version=__version__, case=case, max_upload_bytes=limit, needs_token=token is not None
        )

    @router.post("/api/session", status_code=204)
    async def log_in(given: TokenView, request: Request) -> Response:
        """Exchange the token for a cookie, so that a browser can open reports."""
        if token is None or not is_token(given.token, token):
            raise HTTPException(401, "that is not the token")
        response = Response(status_code=204)
        # Behind a proxy that speaks TLS only the browser knows that this is https.
        asked = request.headers.get("origin", "").startswith("https://")
        secure = asked or request.url.scheme == "https"
        response.set_cookie(
            COOKIE, session_of(token), httponly=True, samesite="strict", secure=secure
        )
        return response

    @router.get("/healthz")
    async def health(response: Response) -> HealthView:
        """200 while jobs are worked on, 503 otherwise."""
        waiting = await service.waiting() if service.healthy else None
        healthy = service.healthy and waiting is not None
        response.status_code = 200 if healthy else 503
        return HealthView(healthy=healthy, version=__version__, waiting=waiting)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters and gauges in the format of Prometheus."""
        text = await service.history.in_thread(service.metrics.render)
        return Response(text, media_type="text/plain; version=0.0.4")

    return router


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    folder = files("wherefrom.web") / "page"

    @router.get("/")
    async def index() -> Response:
        return Response((folder / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "there is no such file")
        return Response((folder / name).read_bytes(), media_type=STATIC[name])

    return router
