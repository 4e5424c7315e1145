# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what is made from schemas, tables and argument specs: `python tools/generate.py [--check]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from ansible_collections.quai.ops.plugins.plugin_utils._reference import json_schema, markdown  # noqa: E402
from ansible_collections.quai.ops.plugins.plugin_utils._schema import PROJECT  # noqa: E402

from tools.probe_reference import probe_reference  # noqa: E402
from tools.role_tables import readme  # noqa: E402


def generated() -> dict[Path, str]:
    """Return what each file must hold."""
    return {
        ROOT / "projects" / "project.schema.json": json.dumps(json_schema(PROJECT), indent=1, ensure_ascii=False)
        + "\n",
        ROOT / "docs" / "declaration.md": markdown(PROJECT),
        ROOT / "docs" / "probes.md": probe_reference(),
        **{role / "README.md": readme(role) for role in sorted((ROOT / "roles").iterdir())},
    }


def main() -> int:
    """Write what differs, or with --check only say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args().check
    stale = [
        (path, content)
        for path, content in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    for path, content in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date, run python tools/generate.py' if check else 'written'}")
        if not check:
            path.write_text(content, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
