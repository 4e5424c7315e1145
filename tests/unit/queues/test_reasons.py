# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Equal reasons are one reason, and what could be private is not in it."""

from __future__ import annotations

import time

import pytest
from ansible_collections.quai.ops.plugins.module_utils._queue_reasons import (
    LONGEST,
    SHOWN,
    Failure,
    grouped,
    normalised,
)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("connect ECONNREFUSED 127.0.0.1:6379", "connect ECONNREFUSED <address>"),
        ("connect ECONNREFUSED ::1:5432", "connect ECONNREFUSED <address>"),
        ("getaddrinfo ENOTFOUND smtp.example.org", "getaddrinfo ENOTFOUND smtp.example.org"),
        ("Request failed with status code 503", "Request failed with status code <n>"),
        ("timeout of 30000ms exceeded", "timeout of <n>ms exceeded"),
        ("order 4711 of customer 99 not found", "order <n> of customer <n> not found"),
        ("job 6f9619ff-8b86-d011-b42d-00c04fc964ff is gone", "job <id> is gone"),
        ("no object 507f1f77bcf86cd799439011", "no object <id>"),
        (
            "ENOENT: no such file or directory, open '/srv/a/7/b.pdf'",
            "ENOENT: no such file or directory, open '<path>'",
        ),
        ("cannot open C:\\data\\7.txt", "cannot open <path>"),
        ("GET https://api.example.org/v1/users/7?key=abcdef failed", "GET <url> failed"),
        ("mail to jane.doe@example.org bounced", "mail to <mail> bounced"),
        ("due 2026-11-21T10:00:00.000Z", "due <time>"),
        (
            "Cannot read properties of undefined (reading 'name')",
            "Cannot read properties of undefined (reading 'name')",
        ),
        ('no user called "Jane Doe"', "no user called <text>"),
        ("job stalled more than allowable limit", "job stalled more than allowable limit"),
        ('"quoted by JSON"', "quoted by JSON"),
        ("first line\n    at Object.<anonymous> (/srv/app/index.js:3:1)", "first line"),
        ("login failed, password=hunter2hunter2", "login failed, password=***"),
        ("write ERR_HTTP2_STREAM_ERROR", "write ERR_HTTP2_STREAM_ERROR"),
        ("payload of 12.5MB is too large, at most 10 MB", "payload of <n>MB is too large, at most <n> MB"),
        ("", "(no reason was kept)"),
        ("  \n x", "x"),
    ],
)
def test_normalised(reason: str, shown: str) -> None:
    assert normalised(reason) == shown


def test_long_reasons_are_cut_and_cost_little() -> None:
    begin = time.process_time()
    for letter in ("a", "1", "/", "'", "@", ":", "a.", "a@a.", "0:", "-", "\\", "x-1"):
        assert len(normalised(letter * LONGEST * 50)) <= SHOWN
    assert time.process_time() - begin < 2


def test_grouped() -> None:
    failures = [Failure(str(n), "send", f"status {500 + n % 2} of job {n}", 1000 + n) for n in range(6)]
    failures.append(Failure("x", "bill", "", None))
    most, least = grouped(failures, 2)
    assert most == {
        "reason": "status <n> of job <n>",
        "count": 6,
        "newest_ms": 1005,
        "oldest_ms": 1000,
        "names": ["send"],
        "ids": ["5", "4"],
    }
    assert (least["reason"], least["newest_ms"], least["ids"]) == ("(no reason was kept)", None, ["x"])
