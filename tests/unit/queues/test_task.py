# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a clean-up is asked for and told of, without a Redis. What it does is in tests/queues."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _redis_module
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_task import DEFAULTS, difference, table, task
from ansible_collections.quai.ops.plugins.modules import queue_cleanup

RULE = {"state": "completed", "older_than": "24h"}


def test_what_was_asked_for() -> None:
    found = task({"queues": ["mail"], "rules": [RULE], "protected": ["x"], "lock_duration": "1m", "max_remove": 5})
    assert found.rules[0].older_than == 86_400_000
    assert (found.policy.protected, found.policy.lock_ms, found.max_remove) == (("x",), 60_000, "5")
    assert found.policy.max_remove is None, "it is for all queues together, and checked before any of them"
    assert (found.policy.parents, found.policy.active, found.prefix) == ("protect", "skip", "bull")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queues": ["mail"], "rules": [RULE], "parrents": "x"}, ["parrents: not known"]),
        ({"rules": [RULE]}, ["names no queue"]),
        ({"queues": [""], "rules": [RULE]}, ["names no queue"]),
        ({"queues": ["mail"]}, ["rules: none, so there is nothing to do"]),
        ({"queues": ["mail"], "action": "retry"}, ["rules: none; say what is retried"]),
        ({"queues": ["mail"], "action": "flush", "rules": [RULE]}, ["action: 'flush' is none of"]),
        (
            {"queues": ["mail"], "action": "retry", "rules": [{"state": "failed", "keep_last": 1}]},
            ["rules[0].keep_last: has no meaning with action: retry"],
        ),
        (
            {"queues": ["mail"], "action": "retry", "rules": [{"state": "failed", "older_than": 0}], "max_remove": 5},
            ["max_remove: is about what is removed"],
        ),
        (
            {"queues": [], "rules": [{"state": "x", "older_than": 1}], "parents": "no", "max_remove": "x"},
            ["names no queue", "rules[0].state", "parents: 'no' is none of", "max_remove: 'x' is neither"],
        ),
    ],
)
def test_everything_that_is_wrong_is_said_at_once(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(QueueProblem) as caught:
        task(options)
    for one in words:
        assert one in str(caught.value)


@pytest.mark.parametrize("option", ["ghosts", "orphans", "events_maxlen"])
def test_what_needs_no_rule(option: str) -> None:
    assert task({"queues": ["mail"], option: 100 if option == "events_maxlen" else "report"}).rules == ()


def test_the_module_has_the_defaults_of_the_timer() -> None:
    """What was tried by hand is what the timer does."""
    spec: dict[str, Any] = {}

    class Told(Exception):
        pass

    def tell(**given: Any) -> None:
        spec.update(given["argument_spec"])
        raise Told

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Told):
        patch.setattr(_redis_module, "AnsibleModule", tell)
        queue_cleanup.main()
    defaults = {name: spec[name].get("default") for name in DEFAULTS if name != "queues"}
    assert defaults == {name: value for name, value in DEFAULTS.items() if name != "queues"}


def one(name: str, before: dict[str, int], gone: dict[str, int]) -> dict[str, Any]:
    after = {state: count - gone.get(state, 0) for state, count in before.items()}
    return {"name": name, "counts_before": before, "counts_after": after, "removed": gone, "retried": {}}


def test_what_people_and_diffs_show() -> None:
    """States without jobs are left out."""
    done = [one("mail", {"completed": 1200, "failed": 3, "wait": 0}, {"completed": 1000}), one("x", {"wait": 0}, {})]
    assert table(done) == [
        "queue  state      before  gone  left",
        "mail   completed    1200  1000   200",
        "mail   failed          3     0     3",
    ]
    assert difference(done)["before"] == "mail completed: 1200\nmail failed: 3\n"
    assert difference(done)["after"] == "mail completed: 200\nmail failed: 3\n"
    assert table([]) == []
