"""The look of the report: one style sheet, light and dark."""

STYLE = """
:root { color-scheme: light dark; --page:#fbfaf8; --card:#ffffff; --ink:#1c2430; --soft:#5d6775; --line:#dfe2e6;
  --best:#eef4ea;
  --hue-0:#2166ac; --hue-1:#c2581b; --hue-2:#2f7d4f; --hue-3:#8c4a9e; --hue-4:#a67c00; --hue-5:#b5304f; --hue-6:#12808a;
  --hue-7:#6b5a47; }
@media (prefers-color-scheme: dark) { :root { --page:#14181d; --card:#1c2128; --ink:#e6e9ed; --soft:#9aa5b1;
  --line:#343b44; --best:#22332a;
  --hue-0:#6fb1f0; --hue-1:#f2965c; --hue-2:#70c990; --hue-3:#cb96dd; --hue-4:#dfbd52; --hue-5:#f0839b;
  --hue-6:#5cc7d1; --hue-7:#c0aa92; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 0 0 12px; } .soft { color: var(--soft); }
section { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:20px; margin-top:20px;
  overflow-x:auto; }
dl { display:flex; flex-wrap:wrap; gap:8px 32px; margin:16px 0 0; } dt { color:var(--soft); font-size:12px; }
dd { margin:0; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width:100%; font-variant-numeric: tabular-nums; font-size:14px; }
th, td { padding:6px 10px; text-align:right; border-bottom:1px solid var(--line); white-space:nowrap; }
th { color:var(--soft); font-weight:500; font-size:12px; } th:first-child, td:first-child { text-align:left; }
td.best { background:var(--best); font-weight:600; }
svg { max-width:100%; height:auto; display:block; } svg text { font-size:12px; fill:var(--ink); }
svg .name { text-anchor:end; } svg .tick, svg .axis { fill:var(--soft); } svg .axis { text-anchor:middle; }
svg .grid { stroke:var(--line); } svg .whisker { stroke:var(--ink); stroke-width:1.5; } svg .end { font-weight:600; }
table + p { margin-top: 12px; }
.warning { border-left:4px solid var(--hue-1); padding-left:12px; }
"""
