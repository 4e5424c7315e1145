# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module compose_stack, against an engine of which the tests keep the books."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._compose import CONFIG_LABEL, Container
from ansible_collections.quai.ops.plugins.module_utils._docker import DockerFailed
from ansible_collections.quai.ops.plugins.modules import compose_stack

Run = Callable[..., dict[str, Any]]
STARTED = "2026-11-21T03:21:45.759356425Z"


class Engine:
    """Images with their digest, containers by name. An image whose name holds C(sick) never becomes healthy."""

    def __init__(self) -> None:
        self.present = True
        self.images = {f"r/{name}:{tag}": f"sha256:{name}{tag}" for name in ("web", "db", "sick") for tag in (1, 2)}
        self.stored: set[str] = set()
        self.running: dict[str, Container] = {}
        self.trials: dict[str, str] = {}
        self.calls: list[str] = []
        self.die = ""
        self.fail = ""
        self.kept_sick: set[str] = set()
        self.sick_secret = "bad"

    def engine_version(self) -> str:
        """As a host with Debian 13 says."""
        return "26.1.5+dfsg1" if self.present else ""

    def compose(self) -> list[str]:
        """The plugin."""
        return ["docker", "compose"]

    def digest(self, reference: str) -> str:
        """From the registry."""
        self.calls.append(f"digest {reference}")
        if reference not in self.images:
            raise DockerFailed(f"image {reference}: registry r answered: manifest unknown")
        return self.images[reference]

    def has_image(self, reference: str) -> bool:
        """Whether it was pulled."""
        return reference in self.stored

    def containers(self, project: str) -> list[Container]:
        """All but trials."""
        return list(self.running.values())

    def rests(self, project: str) -> list[str]:
        """Trials of killed runs."""
        return sorted(self.trials)

    def inspect(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Trials as the engine shows them."""
        return [
            {
                "Id": name,
                "Name": f"/{name}",
                "State": {"Status": "running", "StartedAt": STARTED, "Health": {"Status": self.trials[name]}},
                "Config": {"Labels": {}, "Image": ""},
            }
            for name in names
            if name in self.trials
        ]

    def remove(self, names: Sequence[str], *, volumes: bool = False) -> None:
        """Stop and remove."""
        for name in names:
            if self.trials.pop(name, None) or self.running.pop(name, None):
                self.calls.append(f"remove {name}")

    def last_words(self, name: str) -> str:
        """The log."""
        return f"log of {name}"

    def run(self, arguments: Sequence[str], timeout: float | None = None) -> str:
        """Pull, or run Compose."""
        if arguments[1] == "pull":
            self.calls.append(f"pull {arguments[-1]}")
            self.stored.add(arguments[-1])
            return ""
        assert list(arguments[:4]) == ["docker", "compose", "-p", "shop"]
        file, verb, *rest = arguments[5:]
        definition = json.loads(Path(file).read_text(encoding="utf-8"))
        words = [word for word in rest if not word.startswith("-")]
        self.calls.append(" ".join([verb, Path(file).name, *words]))
        if verb == self.die:
            self.die = ""
            raise KeyboardInterrupt
        if self.fail == " ".join([verb, Path(file).name]):
            raise DockerFailed(f"docker compose {verb} … failed: no space left on device")
        if verb == "run":
            name, service = words
            self.trials[name] = self.health(definition["services"][service], service)
        elif verb == "up":
            assert words, "naming no service would touch all"
            for service in words:
                self.start(service, definition["services"][service])
        elif verb == "stop":
            self.running = {name: replace(one, status="exited") for name, one in self.running.items()}
        return ""

    def health(self, service: dict[str, Any], name: str) -> str:
        """What its check will say."""
        secrets = [Path(volume.split(":")[0]) for volume in service.get("volumes", []) if "quai.env" in volume]
        bad = any(self.sick_secret in path.read_text() for path in secrets) or "sick" in service["image"]
        return "unhealthy" if bad or name in self.kept_sick else "healthy"

    def start(self, name: str, service: dict[str, Any]) -> None:
        """Recreate or start one."""
        config = service["labels"][CONFIG_LABEL]
        former = self.running.get(f"shop_{name}")
        number = f"{name}-{len(self.calls)}" if former is None or former.config != config else former.id
        self.running[f"shop_{name}"] = Container(
            name, f"shop_{name}", config, "running", self.health(service, name), image=service["image"], id=number
        )

    def state(self) -> dict[str, str]:
        """Image and status of each container."""
        return {one.service: f"{one.image} {one.status} {one.health}" for one in self.running.values()}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The module's engine."""
    books = Engine()
    monkeypatch.setattr(compose_stack, "Docker", lambda: books)
    monkeypatch.setattr(compose_stack, "POLL_SECONDS", 0.01)
    return books


@pytest.fixture
def release(run_module: Run, tmp_path: Path) -> Run:
    """Release the stack C(shop) with these services."""

    def run(check: bool = False, services: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        definition = {"services": services or {"web": service("web"), "db": service("db", volumes=["data:/data"])}}
        usual = {"name": "shop", "directory": str(tmp_path / "stack"), "definition": definition, "timeout": 1}
        return run_module(compose_stack, check=check, **{**usual, **options})

    return run


def service(image: str = "web", tag: int = 1, **given: Any) -> dict[str, Any]:
    """A service with a health check."""
    return {"image": f"r/{image}:{tag}", "command": ["run"], "healthcheck": {"test": ["CMD", "true"]}, **given}


def verbs(result: dict[str, Any]) -> dict[str, str]:
    """What happens to each service."""
    return {action["service"]: action["verb"] for action in result["actions"]}


def test_check_run_again_change(engine: Engine, release: Run, tmp_path: Path) -> None:
    predicted = release(check=True)
    assert verbs(predicted) == {"web": "create", "db": "create"}
    assert engine.running == {}
    assert not (tmp_path / "stack").exists()

    done = release()
    assert (verbs(done), done["diff"]) == (verbs(predicted), predicted["diff"])
    assert engine.state() == {"web": "r/web@sha256:web1 running healthy", "db": "r/db@sha256:db1 running healthy"}
    assert [path.name for path in (tmp_path / "stack").iterdir()] == ["compose.json"]

    engine.calls.clear()
    for check in (True, False):
        assert not release(check=check)["changed"]
    assert {call.split()[0] for call in engine.calls} == {"digest"}

    changed = release(services={"web": service("web", 2), "db": service("db", volumes=["data:/data"])})
    assert verbs(changed) == {"web": "recreate"}
    assert engine.state()["web"] == "r/web@sha256:web2 running healthy"


def test_the_order_of_a_release(engine: Engine, release: Run) -> None:
    release()
    engine.calls.clear()
    release(services={"web": service("web", 2), "db": service("db", 2, volumes=["data:/data"])})
    assert [call for call in engine.calls if not call.startswith("digest")] == [
        "config compose.next.json",
        "pull r/db@sha256:db2",
        "pull r/web@sha256:web2",
        "run compose.next.json shop_web_rehearsal web",
        "remove shop_web_rehearsal",
        "up compose.next.json web db",
    ]


def test_a_tag_that_moved_is_a_change(engine: Engine, release: Run) -> None:
    release()
    engine.images["r/web:1"] = "sha256:web1b"
    assert verbs(release()) == {"web": "recreate"}


def test_check_mode_on_a_bare_host(engine: Engine, release: Run) -> None:
    engine.present = False
    assert verbs(release(check=True)) == {"web": "create", "db": "create"}
    refused = release()
    assert "no Docker engine answers on this host; provision it first" in refused["msg"]


def test_a_sick_image_is_found_before_anything_is_touched(engine: Engine, release: Run, tmp_path: Path) -> None:
    release()
    before, accepted = dict(engine.running), (tmp_path / "stack/compose.json").read_text()
    message = release(services={"web": service("sick"), "db": service("db", volumes=["data:/data"])})["msg"]
    assert "service web: its health check fails; its log ends with:\nlog of shop_web_rehearsal" in message
    assert message.endswith("The running services were not touched: they serve as before")
    assert (engine.running, engine.trials) == (before, {})
    assert (tmp_path / "stack/compose.json").read_text() == accepted
    assert not release()["changed"]
    assert (tmp_path / "stack/compose.json").read_text() == accepted, "what failed is never taken for the accepted one"


def test_what_cannot_be_rehearsed_is_brought_back(engine: Engine, release: Run) -> None:
    release()
    engine.calls.clear()
    services = {"web": service("web"), "db": service("sick", volumes=["data:/data"])}
    message = release(services=services)["msg"]
    assert message.endswith("So the former release was brought back, and it serves again")
    assert engine.state()["db"] == "r/db@sha256:db1 running healthy"
    assert [call for call in engine.calls if call.startswith("up")] == ["up compose.next.json db", "up compose.json db"]


@pytest.mark.parametrize(
    ("fail", "end"),
    [
        pytest.param("config compose.next.json", "failed: no space left on device", id="before-anything"),
        pytest.param("run compose.next.json", "they serve as before", id="rehearsal"),
        pytest.param(
            "up compose.next.json", "the former release was brought back, and it serves again", id="replacement"
        ),
    ],
)
def test_an_engine_that_refuses(engine: Engine, release: Run, fail: str, end: str) -> None:
    release()
    before = engine.state()
    engine.fail = fail
    message = release(services={"web": service("web", 2), "db": service("db", volumes=["data:/data"])})["msg"]
    assert "no space left on device" in message
    assert message.endswith(end)
    assert engine.state() == before


def test_an_engine_that_stumbles_after_the_replacement(
    engine: Engine, release: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    release()
    containers = engine.containers
    stumbles = ["once"]

    def stumbling(project: str) -> list[Container]:
        if stumbles and any("web2" in one.image for one in engine.running.values()):
            stumbles.pop()
            raise DockerFailed("docker ps … failed: context deadline exceeded")
        return containers(project)

    monkeypatch.setattr(engine, "containers", stumbling)
    message = release(services={"web": service("web", 2), "db": service("db", volumes=["data:/data"])})["msg"]
    assert message.endswith("So the former release was brought back, and it serves again")
    assert engine.state()["web"] == "r/web@sha256:web1 running healthy"


def test_a_service_that_is_new_goes_again_when_the_release_fails(engine: Engine, release: Run) -> None:
    former = {"web": service("web")}
    release(services=former)
    assert release(services={**former, "new": service("sick")})["failed"]
    assert list(engine.state()) == ["web"]


def test_the_first_release_fails(engine: Engine, release: Run, tmp_path: Path) -> None:
    message = release(services={"web": service("sick")})["msg"]
    assert "Nothing was released before, so the containers were stopped" in message
    assert engine.state() == {"web": "r/sick@sha256:sick1 exited unhealthy"}
    assert not (tmp_path / "stack/compose.json").exists()
    assert verbs(release(services={"web": service("web")})) == {"web": "recreate"}


def test_the_former_release_does_not_come_back(engine: Engine, release: Run) -> None:
    release()
    engine.kept_sick.add("db")
    message = release(services={"web": service("web"), "db": service("db", 2, volumes=["data:/data"])})["msg"]
    assert "And the former release did not come back by itself: service db" in message


def secret(tmp_path: Path, value: str, digest: str) -> dict[str, Any]:
    """Secrets of web, written as the role does."""
    directory = tmp_path / "secrets"
    directory.mkdir(exist_ok=True)
    path = directory / f"web.{digest * 16}.env"
    path.write_text(f"KEY='{value}'\n")
    return {"web": {"environment": str(path), "files": {}}}


def test_a_wrong_secret_is_rolled_back_and_forgotten_with_the_next_good_one(
    engine: Engine, release: Run, tmp_path: Path
) -> None:
    services = {"web": service("web", volumes=["data:/data"])}
    release(services=services, secrets=secret(tmp_path, "good", "a"))
    (tmp_path / "secrets/README").write_text("not ours")
    message = release(services=services, secrets=secret(tmp_path, "bad", "b"))["msg"]
    assert "the former release was brought back" in message
    assert engine.state() == {"web": "r/web@sha256:web1 running healthy"}
    assert release(services=services, secrets=secret(tmp_path, "better", "c"))["changed"]
    assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == ["README", f"web.{'c' * 16}.env"]


def test_secrets_that_are_not_mounted_any_more_are_removed(engine: Engine, release: Run, tmp_path: Path) -> None:
    release(services={"web": service("web")}, secrets=secret(tmp_path, "good", "a"))
    release(services={"web": service("web")})
    assert list((tmp_path / "secrets").iterdir()) == []


@pytest.mark.parametrize("moment", ["config", "run", "up"])
def test_a_killed_release_is_completed_by_the_next(engine: Engine, release: Run, tmp_path: Path, moment: str) -> None:
    release()
    services = {"web": service("web", 2), "db": service("db", 2, volumes=["data:/data"])}
    engine.die = moment
    if moment == "run":
        engine.trials["shop_web_rehearsal"] = "healthy"
    with pytest.raises(KeyboardInterrupt):
        release(services=services)
    result = release(services=services)
    assert result["changed"]
    assert set(engine.state().values()) == {"r/web@sha256:web2 running healthy", "r/db@sha256:db2 running healthy"}
    assert engine.trials == {}
    assert not release(services=services)["changed"]


def test_what_a_killed_release_left_is_removed_even_when_nothing_else_is_to_do(engine: Engine, release: Run) -> None:
    release()
    engine.trials["shop_web_rehearsal"] = "healthy"
    predicted = release(check=True)
    assert (predicted["changed"], predicted["removed_rests"]) == (True, ["shop_web_rehearsal"])
    assert engine.trials
    assert release()["removed_rests"] == ["shop_web_rehearsal"]
    assert engine.trials == {}
    assert not release()["changed"]


def test_what_is_not_in_the_stack_any_more_is_removed(engine: Engine, release: Run) -> None:
    release()
    assert verbs(release(services={"web": service("web")})) == {"db": "remove"}
    assert list(engine.state()) == ["web"]


def test_one_service_alone(engine: Engine, release: Run) -> None:
    release()
    del engine.images["r/db:1"]
    engine.running["shop_db"] = replace(engine.running["shop_db"], health="unhealthy")
    engine.calls.clear()
    services = {"web": service("web", 2), "db": service("db", volumes=["data:/data"])}
    result = release(services=services, only=["web"])
    assert verbs(result) == {"web": "recreate"}
    assert "up compose.next.json web" in engine.calls
    assert engine.state()["db"] == "r/db@sha256:db1 running unhealthy"


def test_a_service_that_others_made_sick_may_recover(
    engine: Engine, release: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was stopped, so web is unhealthy: the release that starts redis waits until web notices."""
    release()
    engine.running["shop_db"] = replace(engine.running["shop_db"], status="exited")
    engine.running["shop_web"] = replace(engine.running["shop_web"], health="unhealthy")
    looks = []
    containers = engine.containers

    def recovering(project: str) -> list[Container]:
        looks.append(project)
        if len(looks) == 5:
            engine.running["shop_web"] = replace(engine.running["shop_web"], health="healthy")
        return containers(project)

    monkeypatch.setattr(engine, "containers", recovering)
    assert verbs(release()) == {"db": "start"}


def test_a_stack_that_is_sick_although_nothing_changed(engine: Engine, release: Run) -> None:
    release()
    engine.running["shop_web"] = replace(engine.running["shop_web"], health="unhealthy")
    message = release()["msg"]
    assert "service web: its health check fails after 1 s" in message
    assert message.endswith("Nothing was to change, so nothing was done")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"name": "../x"}, "name is '../x'; lowercase letters", id="name"),
        pytest.param({"services": {"web": service("gone")}}, "shop: image r/gone:1: registry r answered", id="image"),
        pytest.param({"services": {"web": service("web", ports=["80:80"])}}, "on every address of the host", id="port"),
        pytest.param({"only": ["wbe"]}, "no service wbe in the stack; it has db, web", id="only-unknown"),
        pytest.param({"only": ["web"]}, "nothing was released yet", id="only-too-early"),
    ],
)
@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_bad_input(engine: Engine, release: Run, options: dict[str, Any], words: str, check: bool) -> None:
    result = release(check=check, **options)
    assert result["failed"]
    assert words in result["msg"]
    assert engine.running == {}


def test_an_accepted_definition_that_was_damaged(engine: Engine, release: Run, tmp_path: Path) -> None:
    release()
    (tmp_path / "stack/compose.json").write_text('{"services": ')
    message = release()["msg"]
    assert f"{tmp_path}/stack/compose.json is no JSON any more" in message
    assert "remove it, and the next run makes it again" in message


def test_two_releases_of_one_stack_at_once(engine: Engine, release: Run, host: Path) -> None:
    path = host.parent / "locks" / "stack-shop"
    path.parent.mkdir(parents=True)
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        message = release(timeout=0)["msg"]
    assert "another release of shop is running on this host" in message
    assert engine.calls == []
