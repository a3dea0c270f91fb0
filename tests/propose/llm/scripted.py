"""A server on this machine that speaks OpenAI's wire format, and a script that it answers by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, Self

from tests.small_run import save_model

Script = Callable[[list[dict[str, str]]], str | None]
"""The messages of a request to the text of its answer; None answers with an error."""


class ScriptedServer:
    """Answers chat completions by a script, and remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[list[dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body["messages"])
                said = script(body["messages"])
                status, answer = 400, {"error": {"message": "no such thing"}}
                if said is not None:
                    status, answer = 200, _completion(body, said)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    @property
    def spec(self) -> str:
        """Its name as an explainer."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1#scripted"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _completion(body: dict[str, Any], said: str) -> dict[str, Any]:
    prompt = sum(len(message["content"]) for message in body["messages"]) // 4
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": len(said) // 4,
            "total_tokens": prompt + len(said) // 4,
        },
    }


GOOD = """It rests on the first token.

```python
def attend(text, sink=1.0, near=1.0, itself=0.5):
    '''Rests on the first token.'''
    scores = sink * text.first + near * log(text.distance + 1)
    scores += itself * text.itself
    return softmax(scores)
```
"""
CURVED = """```python
def attend(text, power=0.5, size=2.0):
    '''The nearer, the more.'''
    return softmax(size / (text.distance + 1) ** power)
```
"""
WRONG = """```python
def attend(text, a=1.0):
    return softmax(a * text.frist)
```
```python
import numpy as np

def itself(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "Each token looks at itself", np.eye(n)
```
```python
def attend(text, a=1.0):
    return 0.5 * a * text.first
```
"""
ANSWERS = {
    "L00H01": GOOD,
    "L01H00": CURVED,
    "L01H01": WRONG,
    "L01H02": "I see no pattern here, sorry.",
    "L01H03": "```python\ndef attend(text, a=1.0,",
}


def head_of(messages: list[dict[str, str]]) -> str:
    found = re.search(r"head (L\d\dH\d\d)", messages[1]["content"])
    assert found is not None
    return found[1]


def script(messages: list[dict[str, str]]) -> str | None:
    answer = ANSWERS[head_of(messages)]
    if len(messages) > 2:  # asked again: a further term
        return answer.replace("text.itself", "text.previous(1)").replace("size=2.0", "size=3.0")
    return answer


WORDS = {"fit": range(4, 20), "select": range(24, 40), "test": range(44, 60)}
"""Each split has words of its own, so that they show where a prompt has its texts from."""


def save_given(folder: Path) -> Path:
    """A small model, and texts that bring their own splits."""
    draw = Random(0)
    save_model(folder / "model")
    rows = [
        {"text": " ".join(f"w{draw.choice(words)}" for _ in range(14)), "part": split}
        for split, words in WORDS.items()
        for _ in range({"fit": 6, "select": 3, "test": 3}[split])
    ]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder
