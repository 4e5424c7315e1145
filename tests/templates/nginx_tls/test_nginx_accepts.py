# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every scenario, judged by the nginx of the release it was rendered for."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import images
from lab.console import Console
from lab.engine import client, ensure

from .conftest import Render, Rendered
from .render import RELEASES, scenarios

pytestmark = pytest.mark.docker
IMAGE = Path(__file__).parent / "image"
MAKE_PAIR = (
    "mkdir -p /etc/quai/tls/{0} && cd /etc/quai/tls/{0} && : > nginx.conf"
    " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={0}"
    " -keyout privkey.pem -out fullchain.pem 2>&1"
)


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Each release."""
    return str(request.param)


@pytest.fixture(scope="module")
def box(release: str) -> Iterator[Any]:
    """A container with its nginx, without a network."""
    ensure(Console())
    system = release.lower().replace("-", "")
    base = images.base(system)
    image = images.Built(f"quai-test-nginx:{system}", IMAGE, {"BASE": base.ref}, (base,))
    images.ensure([base, image], Console())
    running = client().containers.run(image.ref, ["sleep", "600"], detach=True, network_mode="none", init=True)
    yield running
    running.remove(force=True)


def put(box: Any, files: Rendered) -> None:
    """Write files into the container."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            data = text.encode()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    box.put_archive("/", buffer.getvalue())


def run(box: Any, script: str) -> tuple[int, str]:
    """Run a shell script there."""
    done = box.exec_run(["sh", "-c", script])
    return int(done.exit_code), done.output.decode()


@pytest.fixture
def clean(box: Any) -> Any:
    """As installed, without the distribution's default site."""
    run(box, "[ -d /etc/nginx.orig ] || cp -a /etc/nginx /etc/nginx.orig")
    run(box, "rm -rf /etc/nginx /etc/quai && cp -a /etc/nginx.orig /etc/nginx && rm /etc/nginx/sites-enabled/default")
    return box


def certificates(files: Rendered) -> set[str]:
    """Names of the certificates that sites refer to."""
    return set(re.findall(r"ssl_certificate /etc/quai/tls/(\S+)/fullchain.pem;", "".join(files.values())))


@pytest.mark.parametrize("scenario", scenarios())
def test_nginx_accepts(clean: Any, render: Render, release: str, scenario: str) -> None:
    """Without an error and without a warning, also in a copy of the tree elsewhere."""
    files = render(release, scenario)
    put(clean, {path: text for path, text in files.items() if path.startswith("/etc/nginx/")})
    for name in sorted(certificates(files)):
        code, said = run(clean, MAKE_PAIR.format(name))
        assert code == 0, said
    for tree in ("/etc/nginx", "/tmp/staged"):
        run(clean, f"rm -rf /tmp/staged; cp -a /etc/nginx /tmp/staged; nginx -v > {tree}/version 2>&1")
        code, said = run(clean, f"nginx -t -c {tree}/nginx.conf 2>&1")
        assert code == 0, said
        assert re.findall(r"\[\w+\].*", said) == []


def test_a_staged_tree_tests_its_own_files(clean: Any, render: Render, release: str) -> None:
    """Broken in the copy, good in /etc/nginx: only then does a check before writing mean anything."""
    files = render(release, "minimal")
    put(clean, {path: text for path, text in files.items() if path.startswith("/etc/nginx/")})
    assert run(clean, MAKE_PAIR.format("app.example.org"))[0] == 0
    broken = "cp -a /etc/nginx /tmp/broken && echo 'nonsense on;' >> /tmp/broken/quai/sites/app.conf"
    code, said = run(clean, f"rm -rf /tmp/broken; {broken}; nginx -t -c /tmp/broken/nginx.conf 2>&1")
    assert code != 0
    assert 'unknown directive "nonsense" in /tmp/broken/quai/sites/app.conf' in said
