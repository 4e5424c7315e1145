# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Visitors who keep coming: each asks for one page on a fresh connection, and every answer is remembered."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from tests.whole_host import web
from tests.whole_host.subject import DOMAINS, Subject

# What each site is asked for, and how often. The API's own rate limit is 100 a minute from one address.
PAGES = {"vitrine": ("/", 0.1), "app": ("/", 0.1), "api": ("/health", 0.75), "n8n": ("/healthz", 0.1)}


@dataclass
class Prober:
    """Asks the sites in the background while its body runs."""

    subject: Subject
    pages: dict[str, tuple[str, float]] = field(default_factory=lambda: dict(PAGES))
    asked: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Prober:
        self._threads = [threading.Thread(target=self._visit, args=(site,), daemon=True) for site in self.pages]
        address, authority = self.subject.address, self.subject.authority
        self._target = (address, authority)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, site: str) -> None:
        path, pause = self.pages[site]
        address, authority = self._target
        self.asked[site], self.failures[site] = 0, []
        while not self._stop.is_set():
            began = time.time()
            try:
                answer = web.ask(address, DOMAINS[site], path, authority=authority, timeout=10)
                problem = "" if answer.status == 200 else f"status {answer.status}"
            except OSError as error:
                problem = f"{type(error).__name__}: {error}"
            self.asked[site] += 1
            if problem:
                self.failures[site].append(f"{time.strftime('%H:%M:%S', time.localtime(began))} {problem}")
            self._stop.wait(pause)

    def summary(self) -> str:
        """Counts for a report."""
        return ", ".join(f"{site} {len(self.failures[site])}/{self.asked[site]}" for site in sorted(self.asked))

    def nothing_failed(self, *but: str) -> None:
        """Assert that every visitor was served, apart from those of the sites named."""
        asleep = [site for site in self.pages if not self.asked.get(site)]
        assert not asleep, f"nobody asked {asleep}, so this proves nothing"
        bad = {site: found[:5] for site, found in self.failures.items() if found and site not in but}
        assert not bad, f"visitors were not served ({self.summary()}): {bad}"
