# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a page as a browser does, as far as its structure goes."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """A page that must be closed properly: everything that is wrong with it is in C(problems)."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.names: list[str] = []  # of all tags, in order
        self.attributes: list[tuple[str, str, str]] = []  # tag, attribute, value
        self.headings: list[int] = []
        self.texts: dict[str, list[str]] = {"fr": [], "en": [], "": []}
        self._open: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        if self._open:
            self.problems.append(f"not closed: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.names.append(tag)
        self.attributes += [(tag, key, value) for key, value in given.items()]
        if "id" in given:
            self.ids.append(given["id"])
        if "href" in given:
            self.links.append(given["href"])
        if tag in {"h1", "h2", "h3", "h4", "h5"}:
            self.headings.append(int(tag[1]))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            language = given.get("lang", "") if tag in {"span", "g"} else ""
            self._open.append((tag, language))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]} at {self.getpos()}")
            return
        self._open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] in {"style"}:
            return
        language = next((said for _tag, said in reversed(self._open) if said), "")
        if data.strip():
            self.texts[language].append(data.strip())

    def seen(self, language: str) -> str:
        """What is read in one language."""
        return " ".join([*self.texts[""], *self.texts[language]])
