# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our operations in processes of their own, which can be killed: a process that forks one for each that is asked for.

It has no threads, so that forking is safe, and everything imported, so that it takes milliseconds.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Ended(Exception):
    """A process ended without a result."""


class Run:
    """One operation that runs. C(pid) is its process."""

    def __init__(self, answers: Any) -> None:
        self._answers = answers
        self.pid = int(answers.readline())

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def result(self) -> dict[str, Any]:
        """What it returned, or {"error", "reason"}. Raises Ended when it was killed."""
        with self._answers:
            line = self._answers.read()
        if not line:
            raise Ended("killed")
        found: dict[str, Any] = json.loads(line)
        return found


class Forks:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "tests.queues.live.forked"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'collections'}:{ROOT}"},
            stdin=subprocess.PIPE,
            text=True,
        )
        self._directory = tempfile.TemporaryDirectory(prefix="forks-")
        self._numbers = itertools.count(1)

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)
        self._directory.cleanup()

    def start(self, asked: Mapping[str, Any]) -> Run:
        """Begin an operation; see C(perform)."""
        assert self._process.stdin
        path = Path(self._directory.name) / str(next(self._numbers))
        os.mkfifo(path)
        self._process.stdin.write(json.dumps({**asked, "answers": str(path)}) + "\n")
        self._process.stdin.flush()
        return Run(path.open(encoding="utf-8"))

    def run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Run an operation to its end."""
        return self.start(asked).result()


def perform(asked: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked: {op, options, prefix, queue, library, version, …}; the rest are the operation's arguments."""
    from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Queue, QueueProblem
    from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server

    from tests.queues.live import operations

    queue = Queue(asked.pop("prefix", "bull"), asked.pop("queue"))
    operation = getattr(operations, asked.pop("op"))
    library, version = asked.pop("library"), asked.pop("version")
    try:
        with Server(asked.pop("options")) as server:
            link = server.at(queue.base)
            server.writable()
            found = operation(link, queue, operations.flavour(link, queue, library, version), **asked)
            return {"result": _plain(found)}
    except QueueProblem as error:
        return {"error": str(error), "reason": "queue"}
    except RedisFailed as error:
        return {"error": error.message, "reason": error.reason}
    except Exception:  # what is raised besides is a fault of ours, which a test has to see
        return {"error": traceback.format_exc(), "reason": "fault"}


def _plain(found: Any) -> Any:
    if hasattr(found, "_asdict"):
        return {name: _plain(value) for name, value in found._asdict().items()}
    if isinstance(found, Mapping):
        return {str(name): _plain(value) for name, value in found.items()}
    if isinstance(found, Sequence) and not isinstance(found, (str, bytes)):
        return [_plain(value) for value in found]
    return found if isinstance(found, (str, int, float, bool, type(None))) else str(found)


def main() -> None:
    """Fork for each line; the answer goes to a pipe with a name, which ends when the process does."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        asked = json.loads(line)
        if os.fork() == 0:
            with Path(asked.pop("answers")).open("w", encoding="utf-8") as answers:
                answers.write(f"{os.getpid()}\n")
                answers.flush()
                json.dump(perform(asked), answers)
            os._exit(0)


if __name__ == "__main__":
    # Everything that operations need is loaded once.
    from tests.queues.live import operations as _operations  # noqa: F401

    main()
