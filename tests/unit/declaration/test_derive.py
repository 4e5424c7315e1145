# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declaration to role variables: the whole of masstock against a kept result, and each rule by itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quai.ops.plugins.plugin_utils._derive import (
    UNRELEASED,
    Environment,
    compose_duration,
    derive,
    image,
    merge,
    merge_host,
)
from ansible_collections.quai.ops.plugins.plugin_utils._load import load_file, load_text
from ansible_collections.quai.ops.plugins.plugin_utils._validate import OVERRIDABLE, validate
from ansible_collections.quai.ops.plugins.plugin_utils._values import seconds

ROOT = Path(__file__).parents[3]
FIXTURES = Path(__file__).parent / "fixtures"
GOLDEN = Path(__file__).parent / "golden" / "masstock.json"
LAB = Environment(registry="registry.lab:5000", registry_mirror="registry.lab:5000/mirror")


def project(text: str) -> dict[str, Any]:
    declarations, problems = validate([load_text("name: demo\ntitle: Demo\n" + text, "projects/demo.yml")])
    assert problems == []
    return declarations["demo"].data


def demo(text: str, environment: Environment = LAB, version: str = "1.0.0") -> dict[str, Any]:
    return derive(project(text), environment, version)


def real(name: str) -> dict[str, Any]:
    path = ROOT / "projects" / f"{name}.yml"
    path = path if path.exists() else FIXTURES / f"{name}.yml"
    declarations, _problems = validate([load_file(path, f"projects/{path.name}")])
    return derive(declarations[name].data, LAB, "1.0.0")


def yaml_of(name: str) -> dict[str, Any]:
    data: dict[str, Any] = load_file(ROOT / "projects" / f"{name}.yml", name).data
    return data


def test_masstock_becomes_what_is_kept() -> None:
    """Run with UPDATE_GOLDEN=1 to accept a change, and read the difference before committing it."""
    written = json.dumps(real("masstock"), indent=1) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(written, encoding="utf-8")
    assert json.loads(written) == json.loads(GOLDEN.read_text(encoding="utf-8"))


# ---- the guide's figures, said a second time on purpose --------------------------------------------------------

GUIDE_HEALTH = {  # interval, timeout, retries, start period
    "redis": ("10s", "3s", 5, "0s"),
    "api": ("30s", "10s", 3, "40s"),
    "worker": ("30s", "10s", 3, "40s"),
    "app": ("30s", "10s", 3, "0s"),
    "vitrine": ("30s", "10s", 3, "0s"),
}


@pytest.mark.parametrize(("service", "figures"), GUIDE_HEALTH.items(), ids=GUIDE_HEALTH)
def test_masstock_health_checks_are_the_guide_s(service: str, figures: tuple[Any, ...]) -> None:
    health = real("masstock")["docker_stack_compose"]["services"][service]["healthcheck"]
    assert (health["interval"], health["timeout"], health["retries"], health["start_period"]) == figures


def test_masstock_publishes_on_loopback_only_what_the_guide_says() -> None:
    services = real("masstock")["docker_stack_compose"]["services"]
    assert {name: service.get("ports") for name, service in services.items()} == {
        "redis": None,
        "worker": None,
        "api": ["127.0.0.1:3000:3000"],
        "app": ["127.0.0.1:8080:80"],
        "vitrine": ["127.0.0.1:8081:80"],
        "n8n": ["127.0.0.1:5678:5678"],
    }


def test_masstock_names_are_the_guide_s() -> None:
    compose = real("masstock")["docker_stack_compose"]
    assert {name: service["container_name"] for name, service in compose["services"].items()} == {
        name: f"masstock_{name}" for name in ("redis", "api", "worker", "app", "vitrine", "n8n")
    }
    assert compose["networks"] == {"masstock_network": {"name": "masstock_network", "driver": "bridge"}}
    assert compose["volumes"]["redis_data"] == {"name": "masstock_redis_data"}
    assert all(service["restart"] == "unless-stopped" for service in compose["services"].values())


def test_masstock_dependencies_are_the_guide_s() -> None:
    services = real("masstock")["docker_stack_compose"]["services"]
    assert {name: service.get("depends_on") for name, service in services.items() if "depends_on" in service} == {
        "api": {"redis": {"condition": "service_healthy"}},
        "worker": {"redis": {"condition": "service_healthy"}, "api": {"condition": "service_healthy"}},
        "app": {"api": {"condition": "service_started"}},
    }


def test_masstock_sites_are_the_guide_s() -> None:
    sites = {site["domains"][0]: site for site in real("masstock")["nginx_tls_sites"]}
    assert {name: site["upstreams"] for name, site in sites.items()} == {
        "masstock.fr": ["127.0.0.1:8081"],
        "app.masstock.fr": ["127.0.0.1:8080"],
        "api.masstock.fr": ["127.0.0.1:3000"],
        "n8n.masstock.fr": ["127.0.0.1:5678"],
    }
    assert [name for name, site in sites.items() if site["websocket"]] == ["n8n.masstock.fr"]
    assert sites["api.masstock.fr"]["cors"] == {
        "allowed_origins": ["https://app.masstock.fr"],
        "allowed_methods": ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
        "allowed_headers": ["Content-Type", "Authorization", "X-Requested-With"],
        "allow_credentials": True,
        "max_age": 86400,
    }


def test_masstock_secrets_reach_who_needs_them_and_nobody_else() -> None:
    secrets = real("masstock")["docker_stack_secrets"]
    assert {name: (item["owner"], sorted(item["environment"])) for name, item in secrets.items()} == {
        "redis": (999, ["REDISCLI_AUTH"]),
        "api": (1000, ["DATABASE_URL", "DEMO_PASSWORD", "ENCRYPTION_KEY", "JWT_SECRET", "REDIS_PASSWORD"]),
        "worker": (1000, ["DATABASE_URL", "ENCRYPTION_KEY", "GEMINI_API_KEY", "JWT_SECRET", "REDIS_PASSWORD"]),
        "n8n": (1000, ["N8N_ENCRYPTION_KEY"]),
    }
    assert 'requirepass "${REDIS_PASSWORD}"' in secrets["redis"]["files"]["/etc/redis/redis.conf"]


def test_masstock_images_are_there_for_the_lab() -> None:
    """Every image that the declaration names has a stand-in of the same name and tag."""
    stand_ins = yaml.safe_load((ROOT / "tests" / "apps" / "masstock" / "images.yml").read_text(encoding="utf-8"))
    own = {item["name"] for item in stand_ins if not item.get("mirror")}
    public = {f"{item['name']}:{tag['tag']}" for item in stand_ins if item.get("mirror") for tag in item["tags"]}
    declared = {service["image"] for service in yaml_of("masstock")["services"].values()}
    assert {name for name in declared if ":" in name} <= public
    assert {name for name in declared if ":" not in name} <= own


# ---- containers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["masstock", "moverz", "niasotac", "techplus", "check-du-matin"])
def test_no_secret_in_what_docker_shows(name: str) -> None:
    compose = yaml.safe_dump(real(name)["docker_stack_compose"])
    # A dollar that Compose would interpret is doubled; a lone one would be a place for a value.
    assert "${" not in compose.replace("$$", "")


@pytest.mark.parametrize("name", ["masstock", "moverz", "niasotac", "techplus", "check-du-matin"])
def test_every_derived_variable_can_be_overridden_and_no_other(name: str) -> None:
    assert set(real(name)) - {"name", "title", "version"} == set(OVERRIDABLE)


def test_dollars_are_doubled_for_compose_everywhere() -> None:
    derived = demo(
        "services:\n  a:\n    image: demo/a\n    command: [sh, -c, 'echo $HOME']\n    port: 8000\n"
        "    environment: {PRICE: 5$, TEXT: 'is $${NOT} one'}\n    health: {shell: 'test \"$(id -u)\" = 0'}\n"
    )
    service = derived["docker_stack_compose"]["services"]["a"]
    assert service["command"] == ["sh", "-c", "echo $$HOME"]
    assert service["environment"] == {"PRICE": "5$$", "TEXT": "is $${NOT} one"}
    assert service["healthcheck"]["test"] == ["CMD-SHELL", 'test "$$(id -u)" = 0']


def test_environment_is_text_as_a_process_sees_it() -> None:
    derived = demo("services:\n  a: {image: demo/a, environment: {A: true, B: 1, C: 0.5, D: x, E: ''}}\n")
    assert derived["docker_stack_compose"]["services"]["a"]["environment"] == {
        "A": "true",
        "B": "1",
        "C": "0.5",
        "D": "x",
        "E": "",
    }


def test_a_value_with_a_secret_in_it_leaves_the_open_environment() -> None:
    derived = demo(
        "services:\n  a: {image: demo/a, command: [a], uid: 7, secrets: [K],"
        " environment: {URL: 'redis://:${PW}@redis', PLAIN: x}}\n"
        "secrets: {PW: {description: x, generate: {}}, K: {description: x, generate: {}}}\n"
    )
    assert derived["docker_stack_compose"]["services"]["a"]["environment"] == {"PLAIN": "x"}
    assert derived["docker_stack_secrets"] == {
        "a": {"owner": 7, "environment": {"URL": "redis://:${PW}@redis", "K": "${K}"}, "files": {}}
    }


def test_what_is_not_said_is_not_in_the_compose_file() -> None:
    service = demo("services:\n  a: {image: demo/a}\n")["docker_stack_compose"]["services"]["a"]
    assert not {"ports", "volumes", "depends_on", "healthcheck", "user", "command", "mem_limit", "tmpfs"} & set(service)


def test_everything_that_can_be_said_of_a_container() -> None:
    service = demo(
        "services:\n  a: {image: demo/a, user: '1000:1000', entrypoint: [tini], memory: 512m, cpus: '0.5',"
        " read_only: true,"
        " tmpfs: [/tmp], stop_signal: SIGQUIT, stop_grace_period: 30s, init: false, port: 53, public: true,"
        " log_max_size: 1m, log_max_files: 2, depends_on: {b: completed}}\n  b: {image: demo/b}\n"
    )["docker_stack_compose"]["services"]["a"]
    assert service == {
        "image": "registry.lab:5000/demo/a:1.0.0",
        "container_name": "demo_a",
        "restart": "unless-stopped",
        "init": False,
        "environment": {},
        "networks": ["demo_network"],
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": "30s",
        "logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "2"}},
        "labels": {"quai.project": "demo", "quai.service": "a"},
        "x-quai": {"stateful": False},
        "entrypoint": ["tini"],
        "user": "1000:1000",
        "stop_signal": "SIGQUIT",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "mem_limit": "512m",
        "cpus": 0.5,
        "ports": ["53:53"],
        "depends_on": {"b": {"condition": "service_completed_successfully"}},
    }


def test_a_public_port_is_opened_in_the_firewall_too() -> None:
    derived = demo("services:\n  a: {image: demo/a, port: 53, public: true}\n  b: {image: demo/b, port: 54}\n")
    assert derived["docker_stack_public_ports"] == [53]
    assert derived["host_base_public_tcp"] == [53]
    assert derived["host_base_public_udp"] == []


def test_settings_reach_their_services_and_the_environment_may_change_them() -> None:
    text = (
        "services:\n  a: {image: demo/a}\n  b: {image: demo/b}\n"
        "settings: {N: {description: x, value: 1, services: [a]}, M: {description: x, value: 2, services: [a, b]}}\n"
    )
    services = demo(text, Environment(settings={"M": 3}))["docker_stack_compose"]["services"]
    assert [services[name]["environment"] for name in ("a", "b")] == [{"N": "1", "M": "3"}, {"M": "3"}]


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("masstock/api", "registry.lab:5000/masstock/api:1.0.0"),
        ("api", "registry.lab:5000/api:1.0.0"),
        ("redis:7-alpine", "registry.lab:5000/mirror/redis:7-alpine"),
        ("n8nio/n8n:1.70.0", "registry.lab:5000/mirror/n8nio/n8n:1.70.0"),
        ("redis@sha256:" + "0" * 64, "registry.lab:5000/mirror/redis@sha256:" + "0" * 64),
        ("ghcr.io/x/y:1", "ghcr.io/x/y:1"),
        ("ghcr.io/x/y", "ghcr.io/x/y:1.0.0"),
        ("localhost:5000/y:1", "localhost:5000/y:1"),
        ("localhost/y", "localhost/y:1.0.0"),
    ],
)
def test_images(name: str, full: str) -> None:
    assert image(name, LAB, "1.0.0") == full


def test_images_without_registries() -> None:
    assert image("demo/a", Environment(), "1") == "demo/a:1"
    assert image("redis:7", Environment(), "1") == "redis:7"
    assert image("demo/a", Environment(registry="r.fr/team/"), "1") == "r.fr/team/demo/a:1"


def test_without_a_version_own_images_say_so() -> None:
    derived = demo("services:\n  a: {image: demo/a}\n", Environment(), "")
    assert derived["docker_stack_compose"]["services"]["a"]["image"] == f"demo/a:{UNRELEASED}"


@pytest.mark.parametrize(
    ("text", "value"), [("0s", 0), ("500ms", 1), ("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)]
)
def test_durations_in_seconds(text: str, value: int) -> None:
    assert seconds(text) == value


def test_durations_for_compose_have_no_days() -> None:
    assert [compose_duration(text) for text in ("30s", "2d")] == ["30s", "48h"]


# ---- sites -----------------------------------------------------------------------------------------------------

WEB = "services:\n  web: {image: demo/web, port: 8000}\n"


def site(domain: str, services: str = WEB, environment: Environment = LAB) -> tuple[dict[str, Any], dict[str, Any]]:
    derived = demo(f"{services}domains:\n  d: {domain}\n", environment)
    return derived["nginx_tls_sites"][0], derived["nginx_tls_certificates"][0]


def test_a_proxied_site() -> None:
    made, certificate = site("{names: [a.fr, b.a.fr], redirect_names: [www.a.fr], service: web}")
    assert (made["name"], made["kind"], made["upstreams"]) == ("demo-d", "proxy", ["127.0.0.1:8000"])
    assert (made["domains"], made["redirect_domains"]) == (["a.fr", "b.a.fr"], ["www.a.fr"])
    assert made["certificate"] == certificate["name"] == "a.fr"
    assert certificate["domains"] == ["a.fr", "b.a.fr", "www.a.fr"]


def test_a_redirecting_site() -> None:
    made, _certificate = site("{names: [a.fr], redirect_to: 'https://b.fr'}")
    assert (made["kind"], made["redirect_to"], made["upstreams"]) == ("redirect", "https://b.fr", [])


@pytest.mark.parametrize(
    ("directory", "root"), [("frontend", "/srv/demo/current/frontend/dist"), (".", "/srv/demo/current/dist")]
)
def test_a_static_site(directory: str, root: str) -> None:
    web = f"{{runtime: static, directory: {directory}, root: dist, spa: true}}"
    services = f"source: {{repository: x}}\nservices:\n  web: {web}\n"
    made, _certificate = site("{names: [a.fr], service: web}", services)
    assert (made["kind"], made["root"], made["spa"], made["upstreams"]) == ("static", root, True, [])


def test_blocked_paths_are_not_there() -> None:
    made, _certificate = site("{names: [a.fr], service: web, blocked_paths: [/metrics, /admin/]}")
    assert made["extra_config"] == "location ^~ /metrics { return 404; }\nlocation ^~ /admin/ { return 404; }\n"


@pytest.mark.parametrize(
    ("domain", "environment", "expected"),
    [
        pytest.param("", {}, {"provider": "acme", "challenge": "http-01"}, id="acme"),
        pytest.param("", {"provider": "selfsigned"}, {"provider": "selfsigned"}, id="environment"),
        pytest.param(
            "provider: acme", {"provider": "selfsigned"}, {"provider": "acme", "challenge": "http-01"}, id="own-wins"
        ),
        pytest.param(
            "", {"challenge": "dns-01"}, {"provider": "acme", "challenge": "dns-01"}, id="environment-challenge"
        ),
        pytest.param("challenge: dns-01", {}, {"provider": "acme", "challenge": "dns-01"}, id="dns"),
        pytest.param(
            "provider: provided, certificate_file: /c, key_file: /k",
            {},
            {"provider": "provided", "certificate_file": "/c", "key_file": "/k"},
            id="provided",
        ),
    ],
)
def test_certificates(domain: str, environment: dict[str, str], expected: dict[str, str]) -> None:
    _site, made = site(
        f"{{names: [a.fr], service: web, certificate: {{{domain}}}}}", environment=Environment(certificate=environment)
    )
    assert made == {"name": "a.fr", "domains": ["a.fr"], **expected}


def test_a_wildcard_certificate_has_a_name_that_can_be_a_file() -> None:
    made, certificate = site("{names: ['*.a.fr'], service: web, certificate: {challenge: dns-01}}")
    assert made["certificate"] == certificate["name"] == "wildcard.a.fr"


def test_http3_opens_udp_only_where_it_is_wanted() -> None:
    assert demo(WEB + "domains: {d: {names: [a.fr], service: web}}\n")["host_base_public_udp"] == [443]
    assert demo(WEB + "domains: {d: {names: [a.fr], service: web, http3: false}}\n")["host_base_public_udp"] == []


def test_zones_carry_the_project_s_name() -> None:
    derived = demo(
        WEB + "rate_zones: {api: {rate: 10r/s, burst: 20}}\n"
        "domains: {d: {names: [a.fr], service: web, rate_limits: [{zone: api}]}}\n"
    )
    assert derived["nginx_tls_rate_zones"] == {"demo-api": {"rate": "10r/s", "burst": 20, "size": "10m"}}
    assert derived["nginx_tls_sites"][0]["rate_limits"] == [{"path": "/", "zone": "demo-api"}]


def test_only_probes_from_outside_verify_a_release() -> None:
    derived = demo(
        WEB + "domains: {d: {names: [a.fr], service: web}}\n"
        "probes: {out: {domain: d, path: /x}, url: {url: 'https://b.fr/y'}, in: {service: web}, disk: {type: disk}}\n"
        "release: {verify: [out, url, in, disk]}\n"
    )
    assert [(item["name"], item["url"]) for item in derived["release_verify"]] == [
        ("demo.out", "https://a.fr/x"),
        ("demo.url", "https://b.fr/y"),
    ]


# ---- overriding and joining ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}, id="deep"),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="plain-list-is-replaced"),
        pytest.param(
            [{"name": "x", "p": 1, "q": 1}, {"name": "y"}],
            [{"name": "x", "p": 2}, {"name": "z"}],
            [{"name": "x", "p": 2, "q": 1}, {"name": "y"}, {"name": "z"}],
            id="named-items",
        ),
        pytest.param({"a": {"b": 1}}, {"a": None}, {"a": None}, id="null-replaces"),
        pytest.param([{"name": "x"}], [], [], id="empty-list-empties"),
        pytest.param({}, {"a": 1}, {"a": 1}, id="new-key"),
    ],
)
def test_merge(base: Any, over: Any, result: Any) -> None:
    assert merge(base, over) == result


def test_the_declaration_s_own_overrides_then_the_environment_s() -> None:
    text = WEB + (
        "domains: {d: {names: [a.fr], service: web}}\n"
        "overrides:\n  docker_stack_ready_timeout: 10\n"
        "  nginx_tls_sites: [{name: demo-d, spa: true, websocket: true}]\n"
    )
    derived = demo(text, Environment(overrides={"nginx_tls_sites": [{"name": "demo-d", "websocket": False}]}))
    assert derived["docker_stack_ready_timeout"] == 10
    [made] = derived["nginx_tls_sites"]
    assert (made["spa"], made["websocket"], made["domains"]) == (True, False, ["a.fr"])


def test_five_projects_on_one_host() -> None:
    derived = [real(name) for name in ("check-du-matin", "masstock", "moverz", "niasotac", "techplus")]
    host = merge_host(derived)
    assert host["projects"] == ["check-du-matin", "masstock", "moverz", "niasotac", "techplus"]
    names = [item["name"] for item in host["nginx_tls_sites"]]
    assert len(names) == len(set(names)) == sum(len(item["nginx_tls_sites"]) for item in derived)
    assert host["host_base_public_tcp"] == [80, 443]
    assert host["docker_stack_requirements"] == {
        "docker": "20.10",
        "compose": "2.0",
        "memory_mb": 5400,
        "disk_gb": 60,
        "cpus": 2,
        "ports": [3000, 3001, 3010, 3307, 5678, 8001, 8080, 8081],
    }


def test_versions_are_compared_as_versions() -> None:
    a = demo("services:\n  a: {image: demo/a}\nrequirements: {docker: '9.1'}\n")
    b = demo("services:\n  a: {image: demo/a}\nrequirements: {docker: '20.10'}\n")
    assert merge_host([a, b])["docker_stack_requirements"]["docker"] == "20.10"


def test_a_host_without_containers_needs_no_docker() -> None:
    assert "docker_stack_requirements" not in merge_host([real("techplus")])


def test_an_empty_host() -> None:
    assert merge_host([])["nginx_tls_sites"] == []
