# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module incident_bundle: its options, and an archive that arrives whole. What is in it: test_incident.py."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _incident
from ansible_collections.quai.ops.plugins.modules import incident_bundle

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def collect(run_module: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on a host that has one log."""
    log = tmp_path / "app.log"
    log.write_text("refused abcd, password=efgh1234\n")
    empty = {name: tmp_path / name for name in ("quai", "state", "log", "letsencrypt", "docker", "srv")}
    places = _incident.Places(**empty, socket=str(tmp_path / "none"))
    monkeypatch.setattr(_incident, "Places", lambda: places)

    def run(**options: Any) -> dict[str, Any]:
        return run_module(incident_bundle, **{"dest": "/nowhere", "project": "shop", "logs": [str(log)], **options})

    return run


def test_the_archive_is_whole_and_secrets_are_not_in_it(collect: Run) -> None:
    """Every piece of base64 is a secret here: Ansible's own filter would take them out of the archive too."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    secrets = {"short": "abcd", "more": [f"{one}{one}{one}{one}" for one in letters], "gzip": "H4sI"}
    result = collect(secrets=secrets)
    assert not result.get("failed"), result
    assert result["changed"] is False
    content = base64.b64decode(result.pop("content"), validate=True)
    assert len(content) == result["bytes"]
    assert content.startswith(b"\x1f\x8b")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        texts = {entry.name.partition("/")[2]: entry for entry in archive.getmembers()}
        (name,) = [name for name in texts if name.endswith("app.log")]
        stream = archive.extractfile(texts[name])
        assert stream
        assert stream.read() == b"refused ***, password=***\n"
    assert sorted(texts) == sorted(result["files"])
    assert result["redactions"] >= 2
    assert "efgh1234" not in json.dumps(result)
    assert "H4sI" not in json.dumps(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"since": "yesterday"}, "since is 'yesterday'; a duration back from now"),
        ({"file_bytes": 10}, "file_bytes is 10, it must be 4096 or more"),
        ({"timeout": 0}, "timeout is 0, it must be 1 or more"),
        ({"logs": ["app.log"]}, "logs names 'app.log', which must be an absolute path"),
    ],
)
def test_mistakes(collect: Run, options: dict[str, Any], message: str) -> None:
    result = collect(**options)
    assert result["failed"]
    assert result["msg"].startswith(message)
