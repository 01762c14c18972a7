-- The style of report.html. Colours are variables, so that light and dark differ in one place.
return [[
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --quiet: #59636e; --line: #d9dee4;
  --use: #0b62c4; --idle: #9cc3ee; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1216; --card: #181c22; --ink: #e8ebef; --quiet: #9aa5b1; --line: #2e353d;
    --use: #58a6ff; --idle: #274b73; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 78rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.4rem; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 0 0 1rem; }
.quiet, small, caption { color: var(--quiet); }
p { margin: .25rem 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0 0; }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .8rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: normal; white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; font-size: .85rem; overflow-wrap: normal; }
tbody th { color: var(--ink); font-size: 1em; white-space: nowrap; }
.words { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.tiers th, .tiers td { padding: .3rem .35rem; }
td.bar { width: 30%; min-width: 5rem; vertical-align: middle; }
.histogram th, .histogram td { width: 1%; }
.histogram td.bar, .histogram th.words { width: 98%; }
.bar span { display: inline-block; height: .8rem; min-width: 1px; vertical-align: middle; }
.use { background: var(--use); }
.idle { background: var(--idle); }
.key { display: inline-block; width: .8rem; height: .8rem; vertical-align: -1px; margin: 0 .3rem 0 .6rem; }
svg { display: block; width: 100%; height: 8rem; border: solid var(--line); border-width: 0 0 1px 1px; }
svg path { stroke: var(--use); fill: none; }
details { margin: .5rem 0 0; }
summary { cursor: pointer; color: var(--quiet); }
pre { white-space: pre-wrap; margin: .25rem 0 0; font-size: .85rem; text-align: left; }
.bad { color: var(--bad); font-weight: 600; }
@media (max-width: 60rem) {
  .folds thead { display: none; }
  .folds, .folds tbody, .folds tr { display: block; }
  .folds tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); padding: .5rem 0;
    border-bottom: 1px solid var(--line); }
  .folds th, .folds td { display: block; border: 0; padding: .15rem .25rem; text-align: left;
    white-space: normal; overflow-wrap: anywhere; }
  .folds tbody th, .folds td.bar, .folds td.words { grid-column: 1 / -1; width: 100%; }
  .folds td::before, .folds tbody th::before { content: attr(data-name) " "; display: block; color: var(--quiet);
    font-size: .75rem; font-weight: 400; }
  .folds tbody th::before { display: inline; }
  .folds td.bar::before { content: none; }
}
@media (max-width: 30rem) {
  body { padding: .5rem; }
  section { padding: .75rem; }
}
]]
