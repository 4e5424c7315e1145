# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which queues modules are asked about."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the options in module_utils/_queue_options.py."""

    DOCUMENTATION = r"""
options:
  queues:
    description: Names of queues, and patterns of names with V(*) and V(?). A pattern that no queue fits is a warning.
    type: list
    elements: str
    required: true
  prefix:
    description: Prefix of the queues' keys. On a cluster it holds a tag in braces, unless the names do.
    type: str
    default: bull
  library:
    description:
      - Which library writes the queues. Told from their keys unless said. When they contradict it, nothing is done.
    type: str
    choices: [auto, bull, bullmq]
    default: auto
  version:
    description:
      - Version of O(library), for example V(5.81.5). BullMQ 3 and later write it into their keys.
      - It has to be said where what is written differs between versions and the keys do not say it. These are queues of
        BullMQ 1 and 2, and paused queues that only a FlowProducer of BullMQ 5 or later has filled so far.
    type: str
    default: ""
"""

    # Of the modules that change queues.
    MISSING = r"""
options:
  missing:
    description:
      - What to do when no queue has a name that is not a pattern, or nothing was ever put into it. V(fail) fails before
        anything is done, and says which names are near. V(skip) goes on with the others, as for a project that was not
        released yet.
    type: str
    choices: [fail, skip]
    default: fail
"""
