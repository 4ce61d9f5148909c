"""A server that gives what the test put into `answers`, in turn, and keeps what it was sent."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class Misbehaving(BaseHTTPRequestHandler):
    """Answers /models, then /completions with what the test has put into `answers`, in turn; keeps what it was sent.

    An answer: status, content, and for a content that is text its type, text/html by default. The last one is repeated.
    """

    answers: list[tuple[Any, ...]] = []
    models: tuple[Any, ...] = ()
    sent: list[tuple[str, Any]] = []

    def do_GET(self) -> None:
        self.reply(*self.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.sent.append((self.headers["Authorization"], body))
        self.reply(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))

    def reply(self, status: int, content: Any, content_type: str = "text/html") -> None:
        is_text = isinstance(content, str)
        data = (content if is_text else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type if is_text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def list_models(owner: str = "somebody") -> tuple[int, Any]:
    """The answer to /models."""
    return 200, {"object": "list", "data": [{"id": "there", "object": "model", "owned_by": owner}]}


def make_answer(text: str, logprobs: list[float] | None, reason: str = "stop") -> tuple[int, Any]:
    token_logprobs = None if logprobs is None else {"tokens": ["?"] * len(logprobs), "token_logprobs": logprobs}
    if token_logprobs:
        token_logprobs["top_logprobs"] = [{"a": value, "b": value - 1} for value in logprobs]
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": token_logprobs}
    return 200, {"id": "1", "object": "text_completion", "created": 0, "model": "there", "choices": [choice]}
