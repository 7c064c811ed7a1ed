"use strict";
/* A run's page: draws what it holds, takes its news while the run is alive, and obeys the reader. */

(() => {
  const byId = (id) => document.getElementById(id);
  const say = (text) => { byId("news").textContent = text; };
  let shown = JSON.parse(byId("chart-data").textContent);
  let full = null;
  let histogramsNear = false;
  let histogramsOf = null;

  const look = () => ({ log: byId("log-scale").checked, smooth: byId("smooth").valueAsNumber });

  function draw() {
    const { charts } = shown;
    byId("charts").hidden = !charts;
    byId("tools").hidden = !charts || ![charts.loss, charts.norms].some(Curves.has) && !charts.others.length;
    if (!charts) return;
    charts.full = full;
    Curves.draw(charts, look());
    Series.draw(charts, look());
    byId("histograms").hidden = !charts.histograms;
    loadHistograms();
  }

  /* Four requests, and only for a reader who has come near them. */
  function loadHistograms() {
    if (!shown.charts?.histograms || !histogramsNear || histogramsOf === shown) return;
    histogramsOf = shown;
    Histograms.load(shown.id).catch((err) => say(`The histograms cannot be drawn: ${err.message}`));
  }

  function apply(fresh) {
    const news = fresh.getElementById("chart-data").textContent;
    const before = byId("chart-data").textContent;
    for (const part of fresh.querySelectorAll("[data-fresh]")) {
      const old = byId(part.id);
      if (old.outerHTML !== part.outerHTML) old.replaceWith(document.adoptNode(part));
    }
    if (news === before) return;
    shown = JSON.parse(news);
    full = null;
    byId("full").hidden = false;
    byId("full-said").textContent = "";
    draw();
    if (!shown.live) Evaluation.load(shown.id);
    say(shown.live ? "The charts were updated." : "The run has ended; the charts are up to date.");
  }

  /* Every point of every series, and the towers' statistics, which the published history has not. */
  async function loadFull() {
    const answer = await fetch(`/api/quick-tests/${shown.id}/series/`, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const data = await answer.json();
    full = new Map(Object.entries(data.series ?? {}).map(([name, entry]) => [name, { x: entry.steps ?? data.epochs, y: entry.values }]));
    const drawn = new Set(shown.charts.others.flatMap((chart) => chart.lines.map((line) => line.label)));
    for (const [name, { x, y }] of full) {
      const [kind, tower, ...rest] = name.split(".");
      if (!["weight_stats", "gradient_stats"].includes(kind) || drawn.has(name)) continue;
      shown.charts.others.push({
        title: `${rest.join(".")}, ${tower} tower`, axis: "epoch", group: kind === "weight_stats" ? "Weight statistics" : "Gradient statistics",
        lines: [{ label: name, values: y, steps: x, best: null }], marks: [],
      });
    }
    byId("full-said").textContent = data.complete === false ? "These are the points that are kept: nothing else is left of this run." : "Every point is shown.";
    byId("full").hidden = true;
    draw();
  }

  for (const id of ["show-total", "show-regularization", "log-scale"]) byId(id).addEventListener("change", draw);
  byId("smooth").addEventListener("input", () => {
    byId("smooth-said").textContent = byId("smooth").value;
    draw();
  });
  byId("search").addEventListener("input", (event) => Series.search(event.target.value));
  byId("full").addEventListener("click", () => loadFull().catch((err) => say(`The series cannot be read: ${err.message}`)));
  byId("epoch").addEventListener("input", () => Histograms.draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Histograms.draw());

  /* [ and ] go to the run before and after, where no one is typing. They can be switched off: a person who dictates or
     has a tremor presses what was not meant (WCAG 2.1.4). The browser remembers it, where it may. */
  const keys = byId("beside-keys");
  const remember = (value) => { try { localStorage.setItem("beside-keys", value); } catch { /* not allowed to: until the next page */ } };
  const remembered = () => { try { return localStorage.getItem("beside-keys"); } catch { return null; } };
  function showKeys() {
    for (const hint of document.querySelectorAll(".beside kbd")) hint.hidden = !keys.checked;
  }
  if (keys) {
    keys.checked = remembered() !== "off";
    keys.addEventListener("change", () => { remember(keys.checked ? "on" : "off"); showKeys(); });
    byId("keys").hidden = false;
    showKeys();
  }
  document.addEventListener("keydown", (event) => {
    if (!keys?.checked || event.ctrlKey || event.metaKey || (event.altKey && !event.getModifierState("AltGraph")) || event.target.closest("input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]")) return;
    const link = { "[": byId("run-before"), "]": byId("run-after") }[event.key];
    if (link) link.click();
  });

  const log = document.querySelector(".log pre");
  if (log) log.scrollTop = log.scrollHeight;
  ChartParts.whenNear(byId("histograms"), () => { histogramsNear = true; loadHistograms(); }, () => { histogramsNear = false; });
  function start() {
    try {
      draw();
    } catch (err) {
      say(`The charts cannot be drawn: ${err.message}`);
    }
    performance.mark("drawn");
    document.body.dataset.drawn = "yes";
    if (!shown.live) Evaluation.load(shown.id);
    Live.follow({ alive: () => shown.live, apply, say });
  }

  start();
})();
