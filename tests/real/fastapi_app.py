"""A FastAPI application that runs what it is sent, in its thread pool."""

from typing import Any

import service
from fastapi import Body, FastAPI

app = FastAPI()


@app.post("/run")
def run(job: dict[str, Any] = Body()) -> dict[str, Any]:
    return service.answer(job)


@app.get("/health")
def health() -> dict[str, Any]:
    return service.health()
