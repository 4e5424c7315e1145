# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the morning page looks: its one style sheet, and the marks of the states.

Letters stand for levels everywhere: k ok, w warning, c critical, u unknown or without data, z waiting or silenced.
Each has a colour, a mark and a height of its own, so that no colour alone says anything.
"""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root{color-scheme:light dark;--bg:#f6f6f3;--card:#fff;--text:#1b2026;--soft:#545e68;--line:#dfdfd9;--fine:#ecece7;
--k:#3f8f63;--kt:#22683f;--w:#b86e00;--wt:#874f00;--c:#c62f2a;--ct:#b0221d;--u:#78828c;--ut:#545e68;--kb:#eaf4ee;
--wb:#fdf3e1;--cb:#fdeceb;--ub:#efefec;--gl:#fff;--blue:#3a6ea5;--area:#dbe6f2;--link:#1f5a96}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1b1f24;--text:#e6e9ec;--soft:#a3adb7;--line:#343b43;
--fine:#272d33;--k:#4fa877;--kt:#7fcfa2;--w:#dd9a35;--wt:#efb961;--c:#f0625a;--ct:#ff8f88;--u:#7d8893;--ut:#a3adb7;
--kb:#182a21;--wb:#2e2413;--cb:#341c1b;--ub:#22272c;--gl:#14171a;--blue:#7eaede;--area:#22374d;--link:#8bbcf0}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--bg);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Liberation Sans",Arial,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
header,main,footer{max-width:70rem;margin:0 auto;padding:0 1.25rem}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:.15em}
a.q{color:inherit;text-decoration:none}a.q:hover{text-decoration:underline}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:3px}
h1,h2,h3,p,ul,ol,dl,dd,figure,fieldset{margin:0;padding:0;border:0}
h1{font-size:clamp(2rem,1.4rem + 3vw,3.25rem);line-height:1.08;letter-spacing:-.025em;font-weight:700}
h2{font-size:1.15rem;line-height:1.3;letter-spacing:-.01em;font-weight:650}
h3{font-size:1rem;line-height:1.35;font-weight:600}
ul,ol{list-style:none}
code,.mono{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
small,.s{font-size:.8125rem;line-height:1.45}
.soft{color:var(--soft)}
.vh{position:absolute!important;width:1px;height:1px;margin:-1px;padding:0;border:0;overflow:hidden;
clip-path:inset(50%);
white-space:nowrap}
.nw{white-space:nowrap}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.5rem 1rem;
z-index:9}
.m{width:1.1em;height:1.1em;flex:none;vertical-align:-.19em;fill:var(--u)}
.g{fill:none;stroke:var(--gl);stroke-width:1.9;stroke-linecap:round;stroke-linejoin:round}
.k{--l:var(--k);--lt:var(--kt);--lb:var(--kb)}.w{--l:var(--w);--lt:var(--wt);--lb:var(--wb)}
.c{--l:var(--c);--lt:var(--ct);--lb:var(--cb)}.u,.z{--l:var(--u);--lt:var(--ut);--lb:var(--ub)}
.m.k,.m.w,.m.c,.m.u,.m.z{fill:var(--l)}
.b{color:var(--lt);font-weight:600;white-space:nowrap;display:inline-flex;align-items:center;gap:.4em}
.b.k,.b.z{font-weight:400;color:var(--soft)}
header{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:center;padding-top:1.25rem;color:var(--soft);
font-size:.875rem}
header b{color:var(--text);font-size:1rem}
header .t{flex:1 1 12rem}
.lang{display:flex;border:1px solid var(--line);border-radius:99px;background:var(--card);overflow:hidden}
.lang label{padding:.3rem .85rem;cursor:pointer;border-radius:99px}
.lang input{position:absolute;opacity:0;width:1px;height:1px}
.lang input:checked+label{background:var(--text);color:var(--bg)}
.lang:has(:focus-visible){outline:3px solid var(--link);outline-offset:2px}
.verdict{display:grid;grid-template-columns:auto 1fr;gap:.4rem 1.1rem;padding:2.25rem 0 2rem;align-items:center}
.verdict>.m{width:3.4rem;height:3.4rem}
.verdict h1{color:var(--lt)}.verdict.k h1,.verdict.z h1{color:var(--text)}
.verdict .more{grid-column:2}
.chips{display:flex;flex-wrap:wrap;gap:.25rem 1.15rem;margin-top:.45rem}
.chips li{display:flex;align-items:center;gap:.4em;color:var(--soft)}
.chips li.c,.chips li.w{color:var(--lt);font-weight:600}
.banner{background:var(--cb);color:var(--ct);border-left:4px solid var(--c);padding:.75rem 1rem;border-radius:4px;
margin-top:1.25rem;font-weight:600}
.reload{visibility:hidden;height:0;overflow:hidden;animation:late 1s 600s forwards;color:var(--wt);font-weight:600}
@keyframes late{to{visibility:visible;height:auto}}
section,.panel{scroll-margin-top:1rem}
main>section{padding:1.75rem 0;border-top:1px solid var(--line)}
main>section.verdict{border:0}
main>section>h2,.panel>h2{margin-bottom:.9rem}
h2 .b{margin-left:.5rem;font-size:.875rem}
.calm{color:var(--soft)}
.cards{display:grid;gap:.85rem}
.card{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--l);border-radius:8px;
padding:.95rem 1.15rem 1.05rem}
.card .top{display:flex;flex-wrap:wrap;gap:.15rem .9rem;align-items:center}
.card h3{font-size:1.1rem}
.card .since{margin-left:auto;color:var(--soft)}
.card .msg{margin:.2rem 0 .75rem}.card .msg:last-child{margin-bottom:0}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.6rem,1fr));gap:.55rem 1.25rem}
.facts dt{font-size:.8125rem;color:var(--soft)}
.facts dd{line-height:1.4}
.facts .wide{grid-column:1/-1}
.notes{margin-top:1rem;display:grid;gap:.55rem}
.notes>li{display:grid;grid-template-columns:auto 1fr;gap:.15rem .6rem;align-items:baseline}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(12.2rem,1fr));gap:.85rem;margin-bottom:1.6rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem .95rem .9rem}
.tile h3{display:flex;flex-wrap:wrap;gap:0 .45em;align-items:center}.tile .v .soft{font-size:1rem;font-weight:400}
.tile .v{font-size:1.35rem;font-weight:650;letter-spacing:-.01em;line-height:1.3}
.tile dl{margin-top:.55rem;display:grid;gap:.1rem;font-size:.8125rem}
.tile dl div{display:flex;justify-content:space-between;gap:.6rem}.tile dt{color:var(--soft);white-space:nowrap}
.tile dd{text-align:right}
.hero{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.9rem 1.1rem .7rem;
margin-bottom:1.6rem}
.hero .st{height:30px}.hero .ln{height:52px;margin-top:.5rem}
.hero .head{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;margin-bottom:.6rem;align-items:baseline}
.hero .head span.n{color:var(--soft);font-size:.875rem}.hero .head span.n b{color:var(--text);font-weight:600}
.axis{display:flex;justify-content:space-between;color:var(--soft);font-size:.75rem;margin-top:.15rem}
svg.st,svg.ln,svg.bar,svg.mo{display:block;width:100%;overflow:hidden}
.st{height:18px;min-width:6rem}.ln{height:22px;min-width:4rem}
.st path{fill:none;stroke:var(--l)}
.st .k{stroke-width:8;stroke-opacity:.75}.st .w{stroke-width:14}.st .c{stroke-width:20}
.st .u{stroke-width:14;stroke-dasharray:1.2 1.2}.st .n{--l:var(--u);stroke-width:8;stroke-dasharray:1.2 2;
stroke-opacity:.8}
.st rect,.ln rect,.mo rect,.bar rect{fill:none;pointer-events:all}
.ln path,.mo path{fill:none;stroke:var(--blue);stroke-width:1.5;vector-effect:non-scaling-stroke;
stroke-linejoin:round}
.ln .a,.mo .a{fill:var(--area);stroke:none}
.bar{height:8px}.bar path{stroke:var(--l);stroke-width:8}.bar .t{stroke:var(--fine)}.bar .x{stroke:var(--text);
stroke-width:8}
.mo{height:26px}.mo path{stroke:var(--l)}.mo .a{fill:var(--l);fill-opacity:.16}.mo .lim{stroke:var(--soft);
stroke-width:1;stroke-dasharray:3 3}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
th{font-weight:400;font-size:.8125rem;color:var(--soft);text-align:left;padding:0 .5rem .35rem 0;
vertical-align:bottom}
td{padding:.42rem .5rem .42rem 0;border-top:1px solid var(--fine);vertical-align:middle}
th.r,td.r{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
td.r .soft{white-space:normal}
.bare thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.bare tr:first-child td{border-top:0}
td .sub .b{white-space:normal}
td .sub{display:block;font-size:.8125rem;color:var(--soft);line-height:1.35}
tr:target td,.card:target,details:target>summary{background:var(--lb,var(--ub))}
.group{border-top:1px solid var(--line);margin:0}
.group>summary{display:grid;grid-template-columns:1.2rem minmax(0,1fr) 31% calc(12% + 9.5rem) 5.5rem 4.8rem;
align-items:center;
padding:.7rem 0;list-style:none}
.group>summary::before{content:"▸";color:var(--soft)}.group[open]>summary::before{content:"▾"}
.group>summary h3,.group>summary h4{display:flex;gap:.5em;align-items:baseline;font-weight:600;margin:0;
font-size:1rem}
.group>summary .st+.r{grid-column:5}.group>summary .r{text-align:right;font-size:.9375rem}
.group>table{margin:.2rem 0 1.4rem}
.pr{table-layout:fixed}.pr th:nth-child(1){width:8.6rem}.pr td:first-child .b{white-space:normal}
.pr th:nth-child(3){width:31%}.pr th:nth-child(4){width:12%}
.pr th:nth-child(5){width:9.5rem}.pr th:nth-child(6){width:5.5rem}.pr th:nth-child(7){width:4.8rem}
.pr td:nth-child(3),.pr td:nth-child(4),.group>summary .st{padding-right:1.2rem}
.ev td:nth-child(1){width:12rem}.ev{margin-top:.7rem}.ev th:last-child{text-align:right}
.tile h3 .b{flex-basis:100%}
.pr td:nth-child(5){white-space:nowrap}
.ho td:nth-child(3){width:30%}.ho td:nth-child(4){width:14%}
.scroll{overflow-x:auto}
details>summary{cursor:pointer;padding:.35rem 0}
details.host{border-top:1px solid var(--line)}details.host>summary{padding:.6rem 0;display:flex;gap:.7rem;
align-items:baseline;
flex-wrap:wrap}
details.host>summary::before,details.more>summary::before{content:"▸";color:var(--soft);display:inline-block;
width:1em}
details[open].host>summary::before,details[open].more>summary::before{content:"▾"}
details.more>summary{list-style:none;color:var(--link)}summary::-webkit-details-marker{display:none}
details.host>summary{list-style:none}
.panels{display:grid;gap:0 3rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));
border-top:1px solid var(--line)}
.panel{padding:1.75rem 0;min-width:0;border-bottom:1px solid var(--line)}
.panels>.panel:last-child,.panels>.panel:nth-last-child(2):nth-child(odd){border-bottom:0}
.panel.full{grid-column:1/-1}
.kv{display:grid;grid-template-columns:minmax(8rem,auto) 1fr;gap:.5rem 1rem;align-items:baseline;font-size:.9375rem}
.kv dt{color:var(--soft)}.kv .bar{display:inline-block;width:min(9rem,45%);margin-right:.7rem;vertical-align:middle}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;color:var(--soft);font-size:.8125rem;align-items:center}
.legend .st{width:1.6rem;min-width:0;height:14px;display:inline-block;vertical-align:-.15em;margin-right:.35em}
footer{color:var(--soft);font-size:.8125rem;padding-bottom:2.5rem;border-top:1px solid var(--line);padding-top:1rem}
@media (max-width:58rem){
.panel .b,.panel td.nw,.panel td.r{white-space:normal}.panel td{overflow-wrap:anywhere}
header,main,footer{padding-left:1rem;padding-right:1rem}
.verdict{gap:.4rem .8rem;padding:1.5rem 0}.verdict>.m{width:2.5rem;height:2.5rem}
.verdict .more{grid-column:1/-1}
.card .since{margin-left:0;width:100%}
.tiles{grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr))}
.group>summary{grid-template-columns:1.2rem 1fr auto;gap:.3rem 0}.group>summary .st{grid-column:1/-1;order:9;
padding:0}
.group>summary .st+.r{grid-column:3}.group>summary .r+.r{display:none}.pr td:nth-child(3){padding-right:0}
.cardy thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cardy,.cardy tbody{display:block}
.cardy tr{display:grid;grid-template-columns:auto 1fr auto;gap:.1rem .75rem;padding:.6rem 0;
border-top:1px solid var(--fine)}
.cardy td{display:block;border:0;padding:0;width:auto!important;min-width:0}
.pr td:nth-child(3),.ho td:nth-child(3){grid-column:1/-1;order:9;padding-top:.25rem}
.pr td:nth-child(4),.ho td:nth-child(4),.pr td:nth-child(6),.pr td:nth-child(7){display:none}
.ho td:nth-child(5),.ho td:nth-child(7){display:none}
.ev td:nth-child(1){grid-column:1/3;color:var(--soft);font-size:.875rem}.ev td:nth-child(2){grid-column:1/-1;order:9}
.facts{grid-template-columns:repeat(auto-fill,minmax(min(100%,7.6rem),1fr))}
.kv{grid-template-columns:minmax(6.5rem,auto) 1fr}}
@media print{:root{--bg:#fff;--fine:#ddd}body{font-size:11pt}.lang,.skip,.reload{display:none}
.card,.tile,tr{break-inside:avoid}main>section{padding:.8rem 0}
path,.m{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
@media (forced-colors:active){.m{fill:CanvasText}.g{stroke:Canvas}.st path,.bar path{stroke:CanvasText;
forced-color-adjust:none}.lang input:checked+label{outline:2px solid}}
@media (prefers-reduced-motion:reduce){.reload{animation-duration:1ms}}
"""

# One mark per level, drawn on 16 × 16: a circle with a tick, a triangle, an octagon, a square with a question mark, a
# circle with a dash. Shapes alone tell them apart.
MARKS: Final = {
    "k": '<circle cx="8" cy="8" r="8"/><path class="g" d="M4.4 8.3 7 10.8 11.6 5.6"/>',
    "w": '<path d="M8 .6 16 15H0z"/><path class="g" d="M8 6v4M8 12.6v.1"/>',
    "c": '<path d="M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7z"/>'
    '<path class="g" d="M5.2 5.2l5.6 5.6M10.8 5.2 5.2 10.8"/>',
    "u": '<rect width="16" height="16" rx="2"/>'
    '<path class="g" d="M5.6 6.2C5.6 3.4 10.4 3.4 10.4 6.2 10.4 8 8 8 8 9.6M8 12.4v.1"/>',
    "z": '<circle cx="8" cy="8" r="8"/><path class="g" d="M4.8 8h6.4"/>',
}
COLOURS: Final = {"k": "3f8f63", "w": "b86e00", "c": "c62f2a", "u": "78828c", "z": "78828c"}


def sprite() -> str:
    """Return the marks, once for the whole page."""
    symbols = "".join(f'<symbol id="{name}" viewBox="0 0 16 16">{shape}</symbol>' for name, shape in MARKS.items())
    return f'<svg width="0" height="0" style="position:absolute" aria-hidden="true">{symbols}</svg>'


def icon(level: str) -> str:
    """Return the mark of a level as the address of a picture, for the tab of the browser."""
    shape = MARKS[level].replace('class="g"', 'fill="none" stroke="%23fff" stroke-width="1.9"')
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="%23{COLOURS[level]}">{shape}</svg>'
    return "data:image/svg+xml," + svg.replace('"', "'").replace("<", "%3C").replace(">", "%3E")


__all__ = ["CSS", "MARKS", "icon", "sprite"]
