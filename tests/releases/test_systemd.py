# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of a service that systemd runs, switched by nginx, on a real host."""

from __future__ import annotations

from tests.releases.host import GATE, PORT, Shop


def test_releases_one_after_the_other(shop: Shop) -> None:
    first = shop.release("1.0.0")
    assert first.code == 0, first.said
    assert shop.serves() == {**shop.serves(), "version": "1.0.0", "secret": True}
    assert shop.serves(PORT)["version"] == "1.0.0", "the declared port reaches what is live"
    assert shop.units() == ["quai-shop-web-blue.service"]
    second = shop.release("1.1.0")
    assert second.code == 0, second.said
    assert shop.serves()["version"] == shop.serves(PORT)["version"] == "1.1.0"
    assert shop.units() == ["quai-shop-web-green.service"]
    # The plain name means what is live, and that is what starts with the host.
    assert shop.target.sh("systemctl show --value -p Id quai-shop-web.service") == "quai-shop-web-green.service"
    assert shop.target.sh("systemctl is-enabled quai-shop-web-green.service") == "enabled"
    third = shop.release("1.2.0")
    assert third.code == 0, third.said
    assert shop.units() == ["quai-shop-web-blue.service"]
    assert shop.target.sh("systemctl show --value -p Id quai-shop-web.service") == "quai-shop-web-blue.service"
    assert shop.results() == ["good", "good", "good"]
    assert "very-secret-9" not in first.said + shop.target.sh("cat /etc/systemd/system/quai-shop-web-blue.service")


def test_a_release_that_is_never_healthy(shop: Shop) -> None:
    shop.release("1.0.0")
    bad = shop.release("1.3.0", gate={**GATE, "wait": 15})
    assert bad.code == 1
    assert "503" in bad.said and "What served before was not touched" in bad.said
    assert shop.serves()["version"] == "1.0.0"
    assert shop.units() == ["quai-shop-web-blue.service"]
    assert shop.results() == ["good", "failed"]
    assert shop.release("1.1.0").code == 0


def test_a_release_whose_process_ends(shop: Shop) -> None:
    shop.release("1.0.0")
    bad = shop.release("1.4.0")
    assert bad.code == 1 and "told to exit" in bad.said, bad.said
    assert shop.serves()["version"] == "1.0.0"
    assert shop.results() == ["good", "failed"]


def test_a_release_that_is_refused_from_outside(shop: Shop) -> None:
    shop.release("1.0.0")
    wrong = {"name": "site", "type": "http", "url": "http://127.0.0.1:8080/", "expect": ["body ~ 'wanted'"]}
    bad = shop.release("1.1.0", verify=[wrong], gate={**GATE, "wait": 15})
    assert bad.code == 1 and "What served before serves again" in bad.said, bad.said
    assert shop.serves()["version"] == "1.0.0"
    assert shop.units() == ["quai-shop-web-blue.service"]
    assert shop.results() == ["good", "returned"]


def test_no_request_is_lost(shop: Shop) -> None:
    """Under constant load, slow requests among it, through a good release, a bad one and a second good one."""
    shop.release("1.0.0")
    with shop.load() as seen:
        for version, code in (("1.1.0", 0), ("1.4.0", 1), ("1.2.0", 0)):
            done = shop.release(version)
            assert done.code == code, done.said
    assert seen["failed"] == {}, seen
    assert seen["requests"] >= 1000 and set(seen["versions"]) == {"1.0.0", "1.1.0", "1.2.0"}, seen


def test_a_killed_release_is_undone_by_the_next_run(shop: Shop) -> None:
    """Killed while the new copy runs and nobody has seen it good."""
    shop.release("1.0.0")
    plan = shop.plan("1.1.0", verdict=60)
    with shop.running(plan, until_said="waits for word from outside"):
        assert shop.serves()["version"] == "1.1.0"
        shop.kill(plan)
    assert shop.ledger()[-1]["event"] == "step", "nobody could note its end"
    found = shop.run("recover", plan)
    assert found.code == 1 and "was broken off after: serving" in found.said, found.said
    assert shop.serves()["version"] == "1.0.0"
    assert shop.units() == ["quai-shop-web-blue.service"]
    assert shop.results() == ["good", "returned"]
    assert shop.release("1.2.0").code == 0
    assert shop.serves()["version"] == "1.2.0"


def test_word_from_outside(shop: Shop) -> None:
    shop.release("1.0.0")
    for verb, code, version in (("refuse", 1, "1.0.0"), ("confirm", 0, "1.1.0")):
        plan = shop.plan("1.1.0", verdict=60)
        with shop.running(plan, until_said="waits for word from outside") as process:
            assert shop.serves()["version"] == "1.1.0"
            shop.run(verb, plan, "the login does not work")
            process.wait(timeout=60)
        assert process.returncode == code
        assert shop.serves()["version"] == version
    assert shop.results() == ["good", "returned", "good"]
    assert (
        "the login does not work" in next(line for line in shop.ledger() if line.get("result") == "returned")["message"]
    )


def test_two_at_once(shop: Shop) -> None:
    """The second one is told who holds the lock, and changes nothing."""
    shop.release("1.0.0")
    plan = shop.plan("1.1.0", verdict=60)
    with shop.running(plan, until_said="waits for word from outside") as process:
        second = shop.release("1.2.0")
        assert second.code == 3 and "release of 1.1.0 by ann@desk" in second.said, second.said
        shop.run("confirm", plan)
        process.wait(timeout=60)
    assert shop.results() == ["good", "good"]
    assert shop.serves()["version"] == "1.1.0"


def test_a_migration_that_fails_ends_the_release(shop: Shop) -> None:
    """With what it said, before anything was started."""
    shop.release("1.0.0")
    failing = {"service": "web", "command": ["/bin/sh", "-c", "echo column price is missing; exit 7"], "seconds": 30}
    bad = shop.release("1.1.0", migrations=[failing])
    assert bad.code == 1 and "ended with 7" in bad.said and "column price is missing" in bad.said
    hanging = {"service": "web", "command": ["/bin/sleep", "600"], "seconds": 2}
    late = shop.release("1.1.0", migrations=[hanging])
    assert late.code == 1 and "migration /bin/sleep 600 ended with" in late.said
    assert shop.results() == ["good", "failed", "failed"]
    assert shop.serves()["version"] == "1.0.0"
    good = {"service": "web", "command": ["/bin/sh", "-c", 'test "$TOKEN" && cat VERSION'], "seconds": 30}
    done = shop.release("1.1.0", migrations=[good])
    assert done.code == 0, done.said


def test_a_version_that_is_not_there(shop: Shop) -> None:
    bad = shop.release("9.9.9")
    assert bad.code == 1 and "/srv/shop.git has no tag, branch or commit '9.9.9'" in bad.said, bad.said
    assert shop.results() == ["failed"]
