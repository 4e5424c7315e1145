# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose stacks as data: what a definition becomes, what must change, and what is not ready yet."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _compose
from ansible_collections.quai.ops.plugins.module_utils._compose import (
    CONFIG_LABEL,
    Action,
    Container,
    SecretMount,
    StackError,
)

WEB: dict[str, Any] = {"image": "registry.example.org/shop/web:1.4", "command": ["node", "server.js"]}
ONCE: dict[str, Any] = {"restart": "no"}
CHECK: dict[str, Any] = {"healthcheck": {"test": ["CMD", "true"]}}
SECRETS = SecretMount("/etc/quai/shop/secrets/web.0123456789abcdef.env")


def stack(**services: Any) -> dict[str, Any]:
    """A definition with these services."""
    return {"services": {name: {**WEB, **given} for name, given in services.items()}}


def prepared(definition: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """A definition as it is written."""
    return _compose.prepare(definition or stack(web={}), **{"secrets": {}, "images": {}, **given})


def label(definition: dict[str, Any], service: str = "web") -> str:
    """The digest of a service."""
    return str(definition["services"][service]["labels"][CONFIG_LABEL])


BASE: dict[str, Any] = {
    **stack(web={"networks": ["inner"], "volumes": ["data:/data"]}, other={}),
    "networks": {"inner": {"driver": "bridge"}, "inner2": {}, "default": {}},
    "volumes": {"data": {}, "data2": {}},
}


def container(service: str = "web", **given: Any) -> Container:
    """A container that is up, healthy and as wanted."""
    usual = {"name": f"shop_{service}", "config": "c", "status": "running", "health": "healthy", "id": f"id-{service}"}
    return Container(service=service, **{**usual, "up_seconds": 99.0, **given})


class TestPrepare:
    """From a definition to the file."""

    def test_images_are_pinned_logs_capped_and_nothing_else_is_touched(self) -> None:
        definition = stack(web={"x-quai": {"stateful": True}}, redis={"image": "redis:7", "restart": "always"})
        before = copy.deepcopy(definition)
        result = prepared(definition, images={WEB["image"]: "r/web@sha256:aa"}, log_max_size="5m", log_max_files=2)
        assert definition == before
        assert result["services"]["web"] == {
            "image": "r/web@sha256:aa",
            "command": ["node", "server.js"],
            "restart": "unless-stopped",
            "logging": {"driver": "json-file", "options": {"max-size": "5m", "max-file": "2"}},
            "labels": {CONFIG_LABEL: label(result)},
        }
        assert result["services"]["redis"]["image"] == "redis:7"
        assert result["services"]["redis"]["restart"] == "always"

    def test_a_log_driver_of_ones_own_stays(self) -> None:
        assert prepared(stack(web={"logging": {"driver": "none"}}))["services"]["web"]["logging"] == {"driver": "none"}

    @pytest.mark.parametrize(
        ("given", "key", "value"),
        [
            pytest.param({"labels": ["a=b", "bare"]}, "labels", {"a": "b", "bare": ""}, id="labels-as-a-list"),
            pytest.param({"labels": None}, "labels", {}, id="labels-of-nothing"),
            pytest.param({"restart": False}, "restart", "no", id="an-unquoted-no"),
        ],
    )
    def test_forms_that_compose_allows(self, given: dict[str, Any], key: str, value: Any) -> None:
        found = prepared(stack(web=given))["services"]["web"][key]
        assert value == ({k: v for k, v in found.items() if k != CONFIG_LABEL} if key == "labels" else found)

    @pytest.mark.parametrize(
        ("definition", "words"),
        [
            pytest.param({}, "the stack has no services", id="empty"),
            pytest.param({"services": {}}, "the stack has no services", id="no-services"),
            pytest.param({"services": {"web": None}}, "service web has no image", id="service-of-nothing"),
            pytest.param({"services": {"web": {"build": "."}}}, "service web has no image", id="no-image"),
            pytest.param(
                stack(web={"volumes": "data:/data"}), "volumes is 'data:/data', a list is right", id="volumes"
            ),
            pytest.param(stack(web={"ports": "80:80"}), "ports is '80:80', a list is right", id="ports"),
        ],
    )
    def test_what_cannot_be_run_is_refused(self, definition: dict[str, Any], words: str) -> None:
        with pytest.raises(StackError, match=words):
            _compose.prepare(definition, secrets={}, images={})

    def test_secrets_of_an_unknown_service_are_refused(self) -> None:
        with pytest.raises(StackError, match="secrets are given for wbe, which the stack does not have"):
            prepared(secrets={"wbe": SECRETS})

    @pytest.mark.parametrize(
        ("check", "early"),
        [
            pytest.param(
                {"test": ["CMD", "x"]}, {"start_period": "30s", "start_interval": "2s"}, id="default-interval"
            ),
            pytest.param({"interval": "5s"}, {"start_period": "5s", "start_interval": "2s"}, id="its-interval"),
            pytest.param(
                {"start_period": "1m", "start_interval": "9s"}, {"start_period": "1m", "start_interval": "9s"}, id="own"
            ),
        ],
    )
    def test_early_probes(self, check: dict[str, Any], early: dict[str, str]) -> None:
        definition = stack(web={"healthcheck": check})
        assert prepared(definition, early_probes=True)["services"]["web"]["healthcheck"] == {**check, **early}
        assert prepared(definition)["services"]["web"]["healthcheck"] == check


class TestPorts:
    """Nothing is published to the world by accident."""

    @pytest.mark.parametrize(
        "port",
        [
            "127.0.0.1:8080:80",
            "127.0.0.1::80",
            "127.0.0.1:8080-8081:80-81/tcp",
            "[::1]:8080:80",
            "8443:443",
            "8443:443/udp",
            {"target": 80, "published": 8080, "host_ip": "127.0.0.1"},
            {"target": 443, "published": "8443"},
        ],
        ids=str,
    )
    def test_allowed(self, port: Any) -> None:
        assert prepared(stack(web={"ports": [port]}), public_ports=[8443])

    @pytest.mark.parametrize(
        "port",
        [
            "8080:80",
            "80",
            80,
            "0.0.0.0:8080:80",
            "10.0.0.5:8080:80",
            "[::]:8080:80",
            "8443-8444:443-444",
            "${PORT}:80",
            "${ADDRESS}:8080:80",
            {"target": 80},
            {"target": 80, "published": 8080},
            {"target": 80, "host_ip": "0.0.0.0"},
            {"published": 8080, "host_ip": "::"},
        ],
        ids=str,
    )
    def test_refused(self, port: Any) -> None:
        with pytest.raises(StackError, match=r"service web publishes port .* on every address"):
            prepared(stack(web={"ports": [port]}), public_ports=[8443])


class TestSecrets:
    """Secrets reach the process, and nothing that can be inspected."""

    def test_a_command_is_run_by_a_shell_that_reads_them(self) -> None:
        web = prepared(secrets={"web": SecretMount("/s/web.env", (("/s/web--key", "/etc/key"),))})["services"]["web"]
        assert web["volumes"] == ["/s/web--key:/etc/key:ro", "/s/web.env:/run/secrets/quai.env:ro"]
        assert web["entrypoint"][:2] == ["/bin/sh", "-c"]
        assert web["command"] == ["node", "server.js"]

    @pytest.mark.parametrize(
        ("given", "command"),
        [
            pytest.param({"entrypoint": ["tini", "--"]}, ["tini", "--", "node", "server.js"], id="entrypoint-first"),
            pytest.param({"entrypoint": ["run"], "command": None}, ["run"], id="entrypoint-alone"),
            pytest.param({"command": "node server.js"}, "node server.js", id="command-as-text"),
        ],
    )
    def test_what_is_run(self, given: dict[str, Any], command: Any) -> None:
        assert prepared(stack(web=given), secrets={"web": SECRETS})["services"]["web"]["command"] == command

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            pytest.param({"command": None}, "its command must be declared", id="no-command"),
            pytest.param({"entrypoint": "run it"}, "give entrypoint and command as lists", id="entrypoint-as-text"),
            pytest.param({"entrypoint": ["a"], "command": "b c"}, "give entrypoint and command as lists", id="mixed"),
        ],
    )
    def test_what_cannot_be_wrapped_is_refused(self, given: dict[str, Any], words: str) -> None:
        with pytest.raises(StackError, match=words):
            prepared(stack(web=given), secrets={"web": SECRETS})

    def test_files_alone_change_no_command(self) -> None:
        mount = SecretMount(files=(("/s/web--key", "/etc/key"),))
        web = prepared(stack(web={"command": None, "volumes": ["data:/data"]}), secrets={"web": mount})["services"][
            "web"
        ]
        assert web["command"] is None
        assert "entrypoint" not in web
        assert web["volumes"] == ["data:/data", "/s/web--key:/etc/key:ro"]

    def test_another_secret_recreates_the_service(self) -> None:
        other = SecretMount(SECRETS.environment.replace("0123", "3210"))
        assert label(prepared(secrets={"web": SECRETS})) != label(prepared(secrets={"web": other}))

    @pytest.mark.parametrize(
        ("test", "works"),
        [
            pytest.param(["CMD", "sh", "-c", 'test "$$KEY" = "it\'s \\$5"'], True, id="list"),
            pytest.param(["CMD-SHELL", 'test "$$KEY" = "it\'s \\$5"'], True, id="shell"),
            pytest.param('test "$$KEY" = "it\'s \\$5"', True, id="text"),
            pytest.param(["CMD", "false"], False, id="fails"),
        ],
    )
    def test_the_wrapped_commands_do_read_them(self, tmp_path: Path, test: Any, works: bool) -> None:
        """Run by a real shell as the engine would, with the variables where they are outside a container."""
        environment = tmp_path / "quai.env"
        environment.write_text("KEY='it'\\''s $5'\n")

        def outside(words: list[str]) -> list[str]:
            # Compose turns $$ into $.
            return [word.replace("$$", "$").replace(_compose.SECRET_ENVIRONMENT, str(environment)) for word in words]

        definition = stack(web={"command": ["sh", "-c", 'echo "$$KEY"'], "healthcheck": {"test": test}})
        web = prepared(definition, secrets={"web": SECRETS})["services"]["web"]
        done = subprocess.run(
            outside([*web["entrypoint"], *web["command"]]), capture_output=True, text=True, check=True
        )
        assert done.stdout == "it's $5\n"
        kind, *words = web["healthcheck"]["test"]
        command = outside(words) if kind == "CMD" else ["/bin/sh", "-c", *outside(words)]
        assert (subprocess.run(command, check=False).returncode == 0) is works

    @pytest.mark.parametrize("test", [["NONE"], None])
    def test_no_health_check_is_made_up(self, test: Any) -> None:
        web = prepared(stack(web={"healthcheck": {"test": test}}), secrets={"web": SECRETS})["services"]["web"]
        assert web["healthcheck"] == {"test": test}

    def test_sources_are_told_from_other_mounts(self) -> None:
        names = ["web.0123456789abcdef.env", "web.0123456789abcdef--etc--key", "web.env", "data", "note.abcdef.env"]
        definition = {"services": {"web": {"volumes": [f"/s/{name}:/x:ro" for name in names] + ["/tmp"]}}}
        assert _compose.secret_sources(definition) == {f"/s/{name}" for name in names[:2]}

    @pytest.mark.parametrize(
        ("name", "secret"),
        [
            ("web.0123456789abcdef.env", True),
            (".web.0123456789abcdef.env.quai-new", True),
            ("my-web_2.0123456789abcdef--a", True),
            ("web.env", False),
            ("web.0123456789abcde.env", False),
            ("web.0123456789abcdef.txt", False),
            ("README", False),
        ],
    )
    def test_names_of_secret_files(self, name: str, secret: bool) -> None:
        assert bool(_compose.SECRET_FILE.search(name)) is secret


class TestDigest:
    """The label changes with everything that the service is, and with nothing else."""

    def changed(self, change: Any) -> bool:
        """Whether a change to the definition changes the label."""
        other = copy.deepcopy(BASE)
        change(other)
        return label(prepared(other)) != label(prepared(BASE))

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda d: d["services"]["web"].update(command=["x"]), id="command"),
            pytest.param(lambda d: d["services"]["web"].update(image="other:1"), id="image"),
            pytest.param(lambda d: d["services"]["web"].update(labels={"a": "b"}), id="label"),
            pytest.param(lambda d: d["networks"]["inner"].update(driver="macvlan"), id="its-network"),
            pytest.param(lambda d: d["volumes"].update(data={"name": "x"}), id="its-volume"),
        ],
    )
    def test_changes(self, change: Any) -> None:
        assert self.changed(change)

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda d: d["services"]["other"].update(command=["x"]), id="another-service"),
            pytest.param(lambda d: d["networks"].update(inner2={"driver": "x"}), id="a-network-of-a-similar-name"),
            pytest.param(lambda d: d["volumes"].update(data2={"name": "x"}), id="a-volume-of-a-similar-name"),
            pytest.param(
                lambda d: d["networks"].update(default={"driver": "x"}), id="the-default-network-it-is-not-in"
            ),
            pytest.param(lambda d: d["services"]["web"].update({"x-quai": {"stateful": True}}), id="traits"),
        ],
    )
    def test_does_not_change(self, change: Any) -> None:
        assert not self.changed(change)

    def test_a_service_without_networks_is_in_the_default_one(self) -> None:
        first, second = ({**stack(web={}), "networks": {"default": {"driver": driver}}} for driver in ("a", "b"))
        assert label(prepared(first)) != label(prepared(second))


class TestNarrow:
    """One service alone."""

    def test_the_others_stay_as_they_are(self) -> None:
        current = {**stack(web={"command": ["1"]}, api={"command": ["1"]}), "volumes": {"a": {}}}
        wanted = {**stack(web={"command": ["2"]}, api={"command": ["2"]}, new={}), "volumes": {"b": {}}}
        result = _compose.narrow(wanted, current, ["api"])
        assert result["services"] == {"web": current["services"]["web"], "api": wanted["services"]["api"]}
        assert result["volumes"] == {"b": {}}

    def test_without_names_it_is_the_whole(self) -> None:
        wanted = stack(web={})
        assert _compose.narrow(wanted, None, []) is wanted

    @pytest.mark.parametrize(
        ("current", "only", "words"),
        [
            pytest.param(stack(web={}), ["ap"], "no service ap in the stack; it has web", id="unknown"),
            pytest.param(None, ["web"], "nothing was released yet", id="before-the-first-release"),
        ],
    )
    def test_refused(self, current: Any, only: list[str], words: str) -> None:
        with pytest.raises(StackError, match=words):
            _compose.narrow(stack(web={}), current, only)


class TestPlan:
    """What must happen."""

    @pytest.mark.parametrize(
        ("service", "found", "verb"),
        [
            pytest.param({}, [], "create", id="missing"),
            pytest.param({}, [{}], "", id="as-wanted"),
            pytest.param({}, [{"health": "unhealthy"}], "", id="unhealthy-is-for-the-engine"),
            pytest.param({}, [{"status": "restarting"}], "", id="restarting"),
            pytest.param({}, [{"config": "other"}], "recreate", id="changed"),
            pytest.param({}, [{"config": ""}], "recreate", id="not-ours"),
            pytest.param({}, [{"config": "other", "status": "exited"}], "recreate", id="changed-and-down"),
            pytest.param({}, [{}, {"config": "other"}], "recreate", id="one-of-two-changed"),
            pytest.param({}, [{"status": "exited"}], "start", id="stopped-by-hand"),
            pytest.param({}, [{"status": "created"}], "start", id="killed-before-the-start"),
            pytest.param(ONCE, [{"status": "exited"}], "", id="did-its-one-task"),
            pytest.param(ONCE, [{"status": "exited", "exit_code": 1}], "start", id="failed-its-one-task"),
            pytest.param(ONCE, [{"status": "created"}], "start", id="one-task-yet-to-do"),
        ],
    )
    def test_verbs(self, service: dict[str, Any], found: list[dict[str, Any]], verb: str) -> None:
        wanted = stack(web={"image": "i", "restart": "always", "labels": {CONFIG_LABEL: "c"}, **service})
        actions = _compose.plan(wanted, [container(**one) for one in found])
        assert actions == ([Action("web", verb, "i")] if verb else [])

    def test_what_is_not_in_the_stack_any_more_goes_last(self) -> None:
        wanted = stack(web={"labels": {CONFIG_LABEL: "c"}})
        actions = _compose.plan(wanted, [container("old"), container("web"), container("older")])
        assert actions == [Action("old", "remove"), Action("older", "remove")]

    def test_a_definition_that_was_edited_by_hand_is_put_right(self) -> None:
        assert [action.verb for action in _compose.plan(stack(web={}), [container()])] == ["recreate"]


class TestVerdict:
    """What is not ready, and what never will be."""

    @pytest.mark.parametrize(
        ("service", "found", "reason"),
        [
            pytest.param({}, [], "has no container yet", id="missing"),
            pytest.param({}, [{}], None, id="healthy"),
            pytest.param({}, [{"health": "", "up_seconds": 5.0}], None, id="without-a-check-and-running"),
            pytest.param(
                {}, [{"health": "", "up_seconds": 4.9}], "has no health check, and has not run for 5 s", id="fresh"
            ),
            pytest.param({}, [{"health": "starting"}], "has not passed its health check yet", id="starting"),
            pytest.param({}, [{"health": "unhealthy"}], "failed: its health check fails", id="unhealthy"),
            pytest.param({}, [{"health": "unhealthy", "id": "old"}], "its health check fails", id="unhealthy-before"),
            pytest.param({}, [{"status": "created", "health": ""}], "is created", id="created"),
            pytest.param({}, [{"status": "paused"}], "is paused", id="paused"),
            pytest.param({}, [{"status": "restarting", "restarts": 2}], "is restarting", id="restarting"),
            pytest.param(
                {},
                [{"status": "restarting", "restarts": 3, "exit_code": 9}],
                "failed: it ended 3 times, last with code 9",
                id="crash-loop",
            ),
            pytest.param({}, [{"restarts": 3}], "failed: it ended 3 times", id="crash-loop-caught-while-up"),
            pytest.param({}, [{"restarts": 7, "id": "old"}], None, id="crashes-of-last-year"),
            pytest.param({}, [{"restarts": 8, "id": "old"}], "failed: it ended 3 times", id="crashes-of-now"),
            pytest.param(
                {}, [{"status": "exited", "exit_code": 1}], "exited with code 1", id="exited-will-be-restarted"
            ),
            pytest.param(
                {"restart": "no"}, [{"status": "exited", "exit_code": 1}], "failed: exited with code 1", id="task"
            ),
            pytest.param({"restart": "no"}, [{"status": "exited"}], None, id="task-done"),
            pytest.param({}, [{"status": "dead", "exit_code": 137}], "failed: exited with code 137", id="dead"),
            pytest.param({}, [{"health": "starting"}, {"health": "unhealthy"}], "failed: its", id="worst-of-two"),
            pytest.param({}, [{}, {"health": "starting"}], "has not passed", id="slowest-of-two"),
        ],
    )
    def test_reasons(self, service: dict[str, Any], found: list[dict[str, Any]], reason: str | None) -> None:
        services = stack(web={"restart": "always", **service})["services"]
        verdict = _compose.verdict(services, [container(**one) for one in found], {"old": 5})
        if reason is None:
            assert verdict == {}
        else:
            assert verdict["web"].startswith(reason)

    def test_only_the_services_asked_for_count(self) -> None:
        assert (
            _compose.verdict(stack(web={})["services"], [container(), container("n8n", health="unhealthy")], {}) == {}
        )


class TestRehearsable:
    """What may run twice."""

    @pytest.mark.parametrize(
        ("service", "verb", "may"),
        [
            pytest.param(CHECK, "recreate", True, id="stateless"),
            pytest.param(CHECK, "create", False, id="nothing-serves-yet"),
            pytest.param(CHECK, "start", False, id="only-started"),
            pytest.param({}, "recreate", False, id="no-health-check"),
            pytest.param({**CHECK, "volumes": ["data:/data"]}, "recreate", False, id="writes-to-a-volume"),
            pytest.param({**CHECK, "volumes": ["/srv/x:/x:rw,z"]}, "recreate", False, id="writes-to-the-host"),
            pytest.param({**CHECK, "volumes": ["/data"]}, "recreate", False, id="anonymous-volume"),
            pytest.param({**CHECK, "volumes": ["/etc/x:/x:ro"]}, "recreate", True, id="reads-from-the-host"),
            pytest.param({**CHECK, "volumes": ["/etc/x:/x:z,ro"]}, "recreate", True, id="reads-with-options"),
            pytest.param(
                {**CHECK, "volumes": [{"type": "volume", "source": "d", "target": "/d"}]},
                "recreate",
                False,
                id="long-form",
            ),
            pytest.param(
                {**CHECK, "volumes": [{"type": "bind", "source": "/d", "target": "/d", "read_only": True}]},
                "recreate",
                True,
                id="long-form-reads",
            ),
            pytest.param({**CHECK, "volumes": [{"type": "tmpfs", "target": "/t"}]}, "recreate", True, id="memory"),
            pytest.param(
                {**CHECK, "volumes": ["data:/data"], "x-quai": {"stateful": False}},
                "recreate",
                True,
                id="says-it-is-safe",
            ),
            pytest.param({**CHECK, "x-quai": {"stateful": True}}, "recreate", False, id="says-it-is-not"),
        ],
    )
    def test_which(self, service: dict[str, Any], verb: str, may: bool) -> None:
        definition = stack(web=service)
        found = _compose.rehearsable(prepared(definition), [Action("web", verb)], definition)
        assert found == (["web"] if may else [])

    def test_a_removed_service_is_not_tried(self) -> None:
        assert _compose.rehearsable(prepared(), [Action("gone", "remove")], stack(web={})) == []


@pytest.mark.parametrize(
    ("reference", "name", "host"),
    [
        pytest.param("redis", "redis", "docker.io", id="bare"),
        pytest.param("redis:7-alpine", "redis", "docker.io", id="tag"),
        pytest.param("library/redis:7", "library/redis", "docker.io", id="user"),
        pytest.param("r.example.org/a/b:1", "r.example.org/a/b", "r.example.org", id="host"),
        pytest.param("r.example.org:5000/a/b", "r.example.org:5000/a/b", "r.example.org:5000", id="port-and-no-tag"),
        pytest.param("localhost:5000/b:1", "localhost:5000/b", "localhost:5000", id="localhost-port"),
        pytest.param("localhost/b", "localhost/b", "localhost", id="localhost"),
        pytest.param("r:5000/b:1@sha256:ff", "r:5000/b", "r:5000", id="tag-and-digest"),
    ],
)
def test_references(reference: str, name: str, host: str) -> None:
    assert _compose.repository(reference) == name
    assert _compose.registry_host(reference) == host
    assert _compose.pinned(reference, "sha256:aa") == f"{name}@sha256:aa"


def test_images_to_resolve() -> None:
    definition = {
        "services": {
            "a": {"image": "x:1"},
            "b": {"image": "x:1"},
            "c": {"image": "y@sha256:aa"},
            "d": {"image": "z"},
            "e": None,
        }
    }
    assert _compose.own_images(definition) == ["x:1", "z"]
    assert _compose.own_images(definition, ["d"]) == ["z"]
    assert _compose.own_images({}) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("26.1.5+dfsg1", (26, 1, 5)), ("v2.26.1-4\n", (2, 26, 1)), ("20.10", (20, 10)), ("", ()), ("dev", ())],
)
def test_version_tuple(text: str, numbers: tuple[int, ...]) -> None:
    assert _compose.version_tuple(text) == numbers


def test_versions_compare_as_numbers() -> None:
    assert _compose.version_tuple("20.10.24") > _compose.version_tuple("20.9")


@pytest.mark.parametrize(
    ("name", "good"), [("shop", True), ("shop-2_a", True), ("Shop", False), ("../x", False), ("", False)]
)
def test_names_of_stacks(name: str, good: bool) -> None:
    assert bool(_compose.NAME.match(name)) is good


def test_what_is_written_is_plain_json() -> None:
    assert json.loads(json.dumps(prepared(secrets={"web": SECRETS}))) == prepared(secrets={"web": SECRETS})
