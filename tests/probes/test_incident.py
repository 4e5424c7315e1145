# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/incident.yml against a host that is well, one without Docker, and one without room on its disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.names import ROOT
from tests.probes.target import PART, Target

pytestmark = pytest.mark.docker
# No word of these may leave the host, or stand in what Ansible says.
SECRETS = {
    "file": "s3cr3tOfTheFile",
    "environment": "s3cr3tOfTheContainer",
    "vault": "s3cr3tOfTheVault",
    "header": "s3cr3tBearer",
}
UNIT = f"""[Service]
ExecStart=/bin/sh -c 'echo "job failed, token={SECRETS["file"]}"; exit 3'
"""
SAY = (
    f"echo trying {SECRETS['environment']}; echo 'Authorization: Bearer {SECRETS['header']}';"
    " echo ready; exec sleep 900"
)


@pytest.fixture(scope="module")
def host(target: Target) -> Iterator[Target]:
    """A host that carries a shop: a container, a unit that fails, logs, secrets."""
    target.put("/etc/quai/shop/secrets/web.env", f"TOKEN={SECRETS['file']}\n", 0o600)
    target.put("/var/lib/quai/shop/release.json", '{"version": "1.4.0"}\n')
    target.put("/etc/systemd/system/quai-shop-job.service", UNIT)
    target.sh("systemctl daemon-reload; systemctl start quai-shop-job", check=False)
    target.sh("systemctl start docker")
    target.sh(
        "cd /tmp && mkdir -p box/bin && cp /bin/busybox box/bin/"
        " && for one in sh sleep echo; do ln -sf busybox box/bin/$one; done"
        " && tar -C box -c . | docker import - quai-incident:1 && rm -r box"
    )
    target.sh("docker rm -f shop-web-1", check=False)
    target.sh(
        "docker run -d --name shop-web-1 --label com.docker.compose.project=shop -v shop_logs:/logs --network none"
        ' --env-file /dev/stdin quai-incident:1 /bin/sh -c "$SAY"'.replace("$SAY", SAY.replace('"', '\\"')),
        given=f"DB_PASSWORD={SECRETS['environment']}\n",
    )
    # put() gives files no time, and only logs that were written in the window are taken.
    logs = ("/var/lib/docker/volumes/shop_logs/_data/app.log", "/var/log/nginx/shop-web-access.log")
    target.put(logs[0], f"refused {SECRETS['vault']}\n")
    target.put(logs[1], f"GET /x?code={SECRETS['header']} HTTP/2 502\n")
    target.sh(f"touch {' '.join(logs)}")
    yield target
    clean = "systemctl start docker; docker rm -fv shop-web-1; docker rmi quai-incident:1"
    target.sh(f"{clean}; systemctl stop docker docker.socket", check=False)
    target.sh("systemctl reset-failed quai-shop-job; rm /etc/systemd/system/quai-shop-job.service", check=False)
    target.sh("rm -r /etc/quai/shop /var/lib/quai/shop /var/log/nginx/shop-web-access.log", check=False)


def play(host: Target, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook as an operator does, here over the engine instead of SSH."""
    inventory = place / "hosts.yml"
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": host.lab.container(PART),
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "vault_shop": {"KEYS": [SECRETS["vault"]]},
    }
    inventory.write_text(yaml.safe_dump({"shop": {"hosts": {"vps1": variables}}}), "utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(place),
        "ANSIBLE_PIPELINING": "1",
    }
    options = ["-e", "project=shop", "-e", f"quai_incidents_dir={place}/incidents", "-e", "note=essai", *arguments]
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            inventory,
            ROOT / "playbooks/incident.yml",
            *options,
        ],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def bundle(place: Path) -> dict[str, str]:
    """What is in the one archive there is."""
    (path,) = (place / "incidents").iterdir()
    assert path.name.startswith("shop-vps1-20")
    assert path.name.endswith("Z.tar.gz")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files = {}
    with tarfile.open(path) as archive:
        for entry in archive.getmembers():
            stream = archive.extractfile(entry)
            assert stream
            files[entry.name.partition("/")[2]] = stream.read().decode()
    return files


def told(texts: dict[str, str]) -> list[str]:
    """Every line with a secret."""
    lines = [f"{name}: {line}" for name, text in texts.items() for line in text.splitlines()]
    return [line for line in lines if any(secret in line for secret in SECRETS.values())]


def left(host: Target) -> str:
    """What lies where programs leave things behind."""
    return host.sh("find /tmp /var/tmp /dev/shm /root /run/quai -mindepth 1 2>/dev/null | sort", check=False)


def test_a_host_that_is_well(host: Target, tmp_path: Path) -> None:
    before = left(host)
    done = play(host, tmp_path, "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    files = bundle(tmp_path)
    assert told({**files, "output": done.stdout + done.stderr}) == []
    assert left(host) == before
    assert "trying ***" in files["containers/shop-web-1.log"]
    assert files["containers/shop-web-1.log"].rstrip().endswith("ready")
    assert '"DB_PASSWORD=***"' in files["containers/shop-web-1.json"]
    assert "container start shop-web-1" in files["containers/events.txt"]
    assert "job failed, token=***" in files["logs/journal-units.log"]
    assert "quai-shop-job.service" in files["host/units.txt"]
    assert files["logs/var_lib_docker_volumes_shop_logs__data_app.log"] == "refused ***\n"
    assert "code=***" in files["nginx/shop-web-access.log"]
    assert '"version": "1.4.0"' in files["releases/release.json"]
    assert "LISTEN" in files["host/network.txt"]
    assert "dockerd" in files["host/processes.txt"]
    assert "essai" in files["index.md"]


def test_check_mode_writes_nothing(host: Target, tmp_path: Path) -> None:
    done = play(host, tmp_path, "--check", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none was written, because this was a check" in done.stdout
    assert not (tmp_path / "incidents").exists()


def test_docker_is_down(host: Target, tmp_path: Path) -> None:
    host.sh("systemctl stop docker docker.socket")
    try:
        done = play(host, tmp_path)
    finally:
        host.sh("systemctl start docker")
    assert done.returncode == 0, done.stdout + done.stderr
    files = bundle(tmp_path)
    assert told(files) == []
    assert "trying ***" in files["containers/shop-web-1.log"]
    assert "docker.sock" in files["index.md"].partition("What is missing")[2]


def test_no_room_on_the_disk(host: Target, tmp_path: Path) -> None:
    """Where programs usually write, not a byte is free."""
    places = ("/tmp", "/var/tmp", "/root")
    for place in places:
        host.sh(f"mount -t tmpfs -o size=64k none {place}")
        host.sh(f"dd if=/dev/zero of={place}/full bs=4k 2>/dev/null", check=False)
    try:
        assert not host.succeeds("echo x > /tmp/y")
        done = play(host, tmp_path)
    finally:
        for place in places:
            host.sh(f"umount {place}", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "containers/shop-web-1.log" in bundle(tmp_path)
