# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the picture of the morning page again: C(python -m tests.browser.picture), once tests/browser has run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "morning-page.png"
WIDTH, HEIGHT = 1060, 1272
MOST_BYTES = 150_000


def main() -> int:
    """Make the page of a made-up morning and photograph its top."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.quai.ops.plugins.module_utils._report_html import html

    from tests.unit.report import world

    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory, "page.html")
        page.write_text(html([world.one("readme")], world.NOW, languages=["en"]), encoding="utf-8")
        case = {"name": "picture", "page": str(page), "picture": str(PICTURE), "clip": True}
        subprocess.run(
            ["node", "look.mjs", shutil.which("chromium") or "chromium"],
            cwd=Path(__file__).parent,
            input=json.dumps([{**case, "width": WIDTH, "height": HEIGHT}]),
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    size = PICTURE.stat().st_size
    print(f"{PICTURE.relative_to(ROOT)}: {size} bytes")
    return 0 if size <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
