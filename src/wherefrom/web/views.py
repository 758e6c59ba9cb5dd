"""The answers of the REST interface as pydantic models, which give the OpenAPI schema."""

from __future__ import annotations

from pydantic import BaseModel, Field

from wherefrom.web.jobs import Job


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
