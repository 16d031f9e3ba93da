"""The report's style and behaviour: a page needs no other file."""

STYLE = """
:root {
  --paper: #f6f7fa; --card: #ffffff; --ink: #1f2430; --soft: #5a6275; --faint: #9aa1b2;
  --line: #e3e6ee; --accent: #3558d4; --good: #1f8a5b; --bad: #c8402f; --warm: #c27a12;
  --add: #e3f6ea; --cut: #fdeaea; --hunk: #eef1fb;
  --tint-s: 62%; --tint-l: 95.5%; --on-s: 80%; --on-l: 86%; --edge-l: 62%;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12141a; --card: #1a1d25; --ink: #dfe3ec; --soft: #9aa3b5; --faint: #646c7e;
    --line: #2b303c; --accent: #8ea6ff; --good: #5fcf9b; --bad: #ff8a7a; --warm: #e8b04f;
    --add: #173324; --cut: #3a1d20; --hunk: #222838;
    --tint-s: 30%; --tint-l: 15%; --on-s: 45%; --on-l: 27%; --edge-l: 45%;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
header { position: sticky; top: 0; z-index: 2; display: flex; gap: 20px; align-items: baseline;
  padding: 10px 28px; background: var(--card); border-bottom: 1px solid var(--line); }
header strong { font-size: 15px; }
header a { color: var(--soft); text-decoration: none; }
header a:hover { color: var(--accent); }
main { padding: 4px 28px 60px; max-width: 1900px; margin: 0 auto; }
h1 { font: 600 22px/1.3 var(--mono); margin: 26px 0 2px; scroll-margin-top: 60px; }
h2 { font-size: 16px; margin: 34px 0 10px; scroll-margin-top: 60px; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin-top: 16px; }
.card, details, .panes > div { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.card { padding: 12px 16px; }
.card .name { color: var(--soft); font-size: 12.5px; }
.card .value { font-size: 24px; font-weight: 600; line-height: 1.3; }
.card .value small { font-size: 13px; font-weight: 400; color: var(--soft); }
.card .more { color: var(--soft); font-size: 12.5px; }
.good { color: var(--good); } .bad { color: var(--bad); } .warm { color: var(--warm); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 12px; }
.note { border-left: 3px solid var(--warm); padding: 4px 12px; margin: 10px 0; color: var(--soft); }
pre, .code { font: 12px/1.55 var(--mono); }
pre { margin: 0; padding: 10px 16px 14px; overflow-x: auto; }
details { margin: 8px 0; }
summary { padding: 9px 16px; cursor: pointer; font-weight: 600; }
summary .soft { font-weight: 400; }
pre .add { background: var(--add); } pre .cut { background: var(--cut); }
pre .hunk { background: var(--hunk); color: var(--soft); }
pre span { display: block; min-width: max-content; margin: 0 -16px; padding: 0 16px; }
.panes { display: grid; grid-template-columns: 5fr 6fr 6fr; gap: 12px; }
.panes.two { grid-template-columns: 5fr 7fr; }
.panes > div { min-width: 0; overflow: hidden; }
.panes h3 { margin: 0; padding: 8px 14px; font-size: 13px; border-bottom: 1px solid var(--line); }
.code { height: 72vh; overflow: auto; padding: 6px 0; counter-reset: none; }
.code div { white-space: pre; min-width: max-content; padding: 0 14px 0 0;
  border-left: 4px solid transparent; }
.code i { display: inline-block; width: 46px; padding-right: 12px; text-align: right;
  font-style: normal; color: var(--faint); user-select: none; }
.code [data-k] { background: hsl(var(--h) var(--tint-s) var(--tint-l));
  border-left-color: hsl(var(--h) 60% var(--edge-l)); cursor: pointer; }
.code [data-k].on { background: hsl(var(--h) var(--on-s) var(--on-l)); }
.code .off { color: var(--faint); }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; font-size: 12.5px; color: var(--soft); }
th, td { padding: 6px 14px; border-bottom: 1px solid var(--line); vertical-align: middle; }
tr:last-child td { border-bottom: 0; }
td.num, th.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 12px var(--mono); }
svg text { font-family: inherit; }
@media (max-width: 1000px) { .panes, .panes.two { grid-template-columns: 1fr; }
  .code { height: 46vh; } }
"""

# Pointing at a line lights up what belongs to the same source line; a click brings it into view.
SCRIPT = """
for (const panes of document.querySelectorAll(".panes")) {
  const at = (key) => panes.querySelectorAll(`[data-k="${key}"]`);
  let lit = null;
  const light = (key) => {
    if (key === lit) return;
    if (lit !== null) for (const line of at(lit)) line.classList.remove("on");
    lit = key;
    if (lit !== null) for (const line of at(lit)) line.classList.add("on");
  };
  panes.addEventListener("mouseover", (event) => {
    const line = event.target.closest("[data-k]");
    light(line ? line.dataset.k : null);
  });
  panes.addEventListener("click", (event) => {
    const line = event.target.closest("[data-k]");
    if (!line) return;
    const own = line.closest(".code");
    for (const code of panes.querySelectorAll(".code")) {
      const first = code.querySelector(`[data-k="${line.dataset.k}"]`);
      if (code !== own && first) code.scrollTo({
        top: first.offsetTop - code.offsetTop - code.clientHeight / 3, behavior: "smooth" });
    }
  });
}
for (const svg of document.querySelectorAll("details svg")) {
  const cells = svg.querySelectorAll("[data-group]");
  svg.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("[data-group]");
    for (const each of cells)
      each.style.opacity = !cell || each.dataset.group === cell.dataset.group ? 1 : 0.25;
  });
  svg.addEventListener("mouseleave", () => { for (const each of cells) each.style.opacity = 1; });
}
"""
