"use strict";
/* A small chart for every other series, drawn when it comes into view: a run may have thousands. */

const Series = (() => {
  const FIRST = 48;
  const STYLES = [["--first", "circle", "solid"], ["--second", "square", "dash"]];
  const cards = new Map();
  let shown = [];
  let epochs = [];
  let limit = FIRST;

  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards.get(entry.target.dataset.key);
      if (!card) continue;
      card.visible = entry.isIntersecting;
      if (card.visible && card.stale) plot(card);
    }
  }, { rootMargin: "200px" });

  const key = (chart) => `${chart.axis} ${chart.title}`;

  function make(chart, number) {
    const made = document.createElement("section");
    const title = document.createElement("h3");
    const target = document.createElement("div");
    title.id = `series-${number}-title`;
    title.textContent = chart.title;
    target.id = `series-${number}-chart`;
    target.className = "chart";
    target.setAttribute("role", "figure");
    target.setAttribute("aria-label", `${chart.title} by ${chart.axis}`);
    made.className = "card";
    made.dataset.key = key(chart);
    made.setAttribute("aria-labelledby", title.id);
    made.append(title, target);
    observer.observe(made);
    return { made, target, visible: false, stale: true, chart };
  }

  function plot(card) {
    const { chart, target } = card;
    card.stale = false;
    const ofEpochs = chart.axis === "epoch";
    const traces = chart.lines.map((line, i) => {
      const [color, symbol, dash] = STYLES[i % STYLES.length];
      // Steps beyond 2^53 come as text, drawn as near as a number can be and said as they are.
      const at = ofEpochs ? epochs : line.steps;
      return {
        name: Charts.plain(line.label), type: "scatter", mode: "lines+markers", connectgaps: false,
        x: at.map(Number), y: line.values, customdata: at.map(String),
        hovertemplate: `${chart.axis} %{customdata}: %{y:.6g}`,
        line: { color: Charts.color(color), dash, width: 2 },
        marker: { symbol, size: at.length > 60 ? 0.1 : 5, color: Charts.color(color) },
      };
    });
    const best = chart.lines.flatMap((line) => (line.best ? [line.best] : []));
    if (best.length) {
      traces.push({
        name: "best", type: "scatter", mode: "markers", showlegend: false,
        x: best.map(([at]) => Number(at)), y: best.map(([, value]) => value), customdata: best.map(([at]) => String(at)),
        hovertemplate: `best: %{y:.6g} at ${chart.axis} %{customdata}<extra></extra>`,
        marker: { symbol: "star", size: 12, color: Charts.color("--third"), line: { width: 1, color: Charts.color("--card") } },
      });
    }
    if (chart.marks.length) traces.push({ ...Charts.crosses(chart.marks), showlegend: false });
    const xaxis = ofEpochs ? { ...Charts.epochAxis(epochs), range: Charts.reach(epochs) } : { ...Charts.axis("step"), tickformat: "~s", nticks: 5 };
    return Plotly.react(target, traces, Charts.layout({
      showlegend: chart.lines.length > 1, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, uirevision: "kept",
      margin: { l: 44, r: 10, t: 8, b: 36 }, hovermode: "closest",
      xaxis, yaxis: { ...Charts.axis(""), nticks: 5, exponentformat: "power" },
      yaxis2: { overlaying: "y", range: [0, 1], fixedrange: true, visible: false },
    }), Charts.config);
  }

  /* Makes the cards that are missing, takes away those that are gone; what is in view is drawn at once. */
  function draw(charts) {
    shown = charts.others;
    epochs = charts.epochs;
    document.getElementById("series").hidden = shown.length === 0;
    const part = shown.slice(0, limit);
    const kept = new Set(part.map(key));
    for (const [name, card] of cards) {
      if (kept.has(name)) continue;
      observer.unobserve(card.made);
      Plotly.purge(card.target);
      card.made.remove();
      cards.delete(name);
    }
    const holder = document.getElementById("series-charts");
    part.forEach((chart, number) => {
      const name = key(chart);
      if (!cards.has(name)) cards.set(name, make(chart, number));
      const card = cards.get(name);
      Object.assign(card, { chart, stale: true });
      if (holder.children[number] !== card.made) holder.insertBefore(card.made, holder.children[number] ?? null);
    });
    const more = document.getElementById("more-series");
    more.hidden = shown.length <= limit;
    more.textContent = `Show the other ${shown.length - part.length} series`;
    return Promise.all([...cards.values()].filter((card) => card.visible).map(plot));
  }

  function showAll(charts) {
    limit = Infinity;
    return draw(charts);
  }

  return { draw, showAll };
})();
