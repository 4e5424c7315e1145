// Copyright (c) quai contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Opens pages in Chromium and says what it saw, one JSON line per case on standard output.
//
//     node look.mjs CHROMIUM < cases.json
//
// A case: {name, page (path), scheme, width, language, keyboard, open, axe, picture, height, media}

import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import axe from "axe-core";

const read = async () => {
  let text = "";
  for await (const part of process.stdin) text += part;
  return JSON.parse(text);
};

// What is wider than the document, so that one sees what to mend. What scrolls in a region of its own is well.
const tooWide = () =>
  [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .filter((one) => !one.closest(".scroll") && getComputedStyle(one).position !== "absolute" && one.checkVisibility())
    .filter((one) => !one.closest(".vh, svg, thead"))
    .map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 30)}`)
    .slice(0, 5);

const visibleLanguages = () => {
  const seen = { fr: 0, en: 0 };
  for (const one of document.querySelectorAll("body span[lang], body g[lang]")) {
    if (getComputedStyle(one).display !== "none") seen[one.getAttribute("lang")] += 1;
  }
  return seen;
};

const look = async (browser, one) => {
  const context = await browser.newContext({
    colorScheme: one.scheme ?? "light",
    viewport: { width: one.width ?? 1200, height: one.height ?? 900 },
    reducedMotion: "reduce",
  });
  const seen = { name: one.name, requests: [], console: [], errors: [] };
  const page = await context.newPage();
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  try {
    const started = Date.now();
    await page.goto(pathToFileURL(one.page).href, { waitUntil: "load" });
    seen.milliseconds = Date.now() - started;
    if (one.media) await page.emulateMedia({ media: one.media, colorScheme: one.scheme ?? "light" });
    if (one.keyboard) {
      // From the top with the Tab key to the choice of the language, then with an arrow to the other one.
      const other = (await page.getAttribute("html", "lang")) === "fr" ? "en" : "fr";
      seen.tabs = 0;
      do {
        await page.keyboard.press("Tab");
        seen.tabs += 1;
      } while (seen.tabs < 10 && (await page.evaluate(() => document.activeElement?.name)) !== "language");
      seen.outline = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement.closest("fieldset"));
        return `${style.outlineStyle} ${style.outlineWidth}`;
      });
      await page.keyboard.press("ArrowRight");
      seen.chosen = await page.evaluate(() => document.querySelector("input[name=language]:checked").id);
      seen.expected = other;
    } else if (one.language) {
      await page.locator(`label[for=${one.language}]`).click();
    }
    if (one.open) await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
    Object.assign(seen, {
      languages: await page.evaluate(visibleLanguages),
      document: await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]),
      tooWide: await page.evaluate(tooWide),
      headline: await page.evaluate(() => document.querySelector("h1").innerText),
      background: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
      sections: await page.evaluate(() => [...document.querySelectorAll("main section")].map((each) => each.id)),
      marks: await page.evaluate(() => {
        const found = {};
        for (const mark of document.querySelectorAll("main svg.m")) {
          const level = mark.classList[1];
          if (mark.checkVisibility()) found[level] = (found[level] ?? 0) + 1;
        }
        return found;
      }),
    });
    if (one.axe) {
      // Chromium lets the debugger evaluate what the page's policy would refuse to a script of its own.
      await page.evaluate(axe.source);
      const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      seen.violations = result.violations.map((each) => ({
        id: each.id,
        impact: each.impact,
        nodes: each.nodes.slice(0, 4).map((node) => `${node.html.slice(0, 160)} :: ${node.failureSummary?.slice(0, 300)}`),
      }));
      seen.passes = result.passes.length;
    }
    if (one.picture) {
      const clip = one.clip ? { clip: { x: 0, y: 0, width: one.width, height: one.height } } : { fullPage: true };
      await page.screenshot({ path: one.picture, ...clip });
    }
  } finally {
    await context.close();
  }
  return seen;
};

const browser = await chromium.launch({ executablePath: process.argv[2], args: ["--no-sandbox", "--disable-gpu"] });
try {
  for (const one of await read()) console.log(JSON.stringify(await look(browser, one)));
} finally {
  await browser.close();
}
