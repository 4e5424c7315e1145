# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our operations by name, with arguments that fit in JSON, as the modules call the engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils import _queue_retry, _queue_state
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem, detect
from ansible_collections.quai.ops.plugins.module_utils._queue_state import Waiting, drained
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link

__all__ = ["QueueProblem", "Waiting", "clean", "drained", "flavour", "pause", "resume", "retry"]


def flavour(link: Link, queue: Queue, library: str, version: str) -> Flavour:
    """Tell the flavour."""
    return detect(link, queue, library, version)


def clean(
    link: Link,
    queue: Queue,
    found: Flavour,
    rules: Sequence[Mapping[str, Any]],
    policy: Mapping[str, Any] | None = None,
    *,
    dry: bool = False,
    now_ms: int | None = None,
) -> Any:
    """Remove jobs."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_rules

    checked = _queue_rules.rules(rules)
    return _queue_clean.clean(
        link, queue, found, checked, _queue_rules.Policy(**(policy or {})), dry=dry, now_ms=now_ms
    )


def retry(link: Link, queue: Queue, found: Flavour, state: str = "failed", **options: Any) -> Any:
    """Put failed or completed jobs back."""
    return _queue_retry.retry(link, queue, found, state, **{"dry": False, **options})


def pause(link: Link, queue: Queue, found: Flavour) -> Any:
    """Pause a queue."""
    return _queue_state.pause(link, queue, found, dry=False)


def resume(link: Link, queue: Queue, found: Flavour) -> Any:
    """Resume a queue."""
    return _queue_state.resume(link, queue, found, dry=False)
