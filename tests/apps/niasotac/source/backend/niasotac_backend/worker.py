# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gunicorn's worker with threads, but one that stops listening when it is told to end."""

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):
    """gthread listens until its last request has ended: who connects meanwhile waits, and is cut off at the end."""

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            # Those that the kernel has let in already are answered.
            before = -1
            while before != self.nr_conns:
                before = self.nr_conns
                self.accept(listener)
            listener.close()
