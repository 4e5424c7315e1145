# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What quai does to keys, with nothing but the engine: C(keys.py {"port": ..., "rules": [...]}).

Prints C({"seconds": of the action alone, "result": ..., "rss_kib": ...}), as ours.py does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ansible_collections.quai.ops.plugins.module_utils import _redis_keys
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Server


def main() -> None:
    """Do it."""
    given = json.loads(sys.argv[1])
    with Server({"port": given["port"], "client": "builtin"}) as server:
        began = time.perf_counter()
        wanted = _redis_keys.rules(given["rules"])
        result = _redis_keys.clean(server, wanted, _redis_keys.KeyPolicy(), dry=False).done
        seconds = time.perf_counter() - began
    memory = Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]
    print(json.dumps({"seconds": seconds, "result": result, "rss_kib": int(memory)}))


main()
