"use strict";
/* A small chart for every other series, in groups, drawn when it comes into view: a run may have thousands. */

const Series = (() => {
  const FIRST = 48;
  const STYLES = [["--first", []], ["--second", [8, 4]], ["--third", [2, 3]], ["--run-3", []]];
  const { element } = ChartParts;
  const cards = new Map();
  const groups = new Map();
  let charts = null;
  let look = {};
  let words = [];
  let made = 0;

  const key = (chart) => JSON.stringify([chart.axis, chart.title]);
  const matches = (chart) => words.every((word) => [chart.title, ...chart.lines.map((line) => line.label)].some((text) => text.toLowerCase().includes(word)));

  function toSpec(chart) {
    const lines = chart.lines.map((line, i) => {
      const [color, dash] = STYLES[i % STYLES.length];
      const full = charts.full?.get(line.label);
      const at = full?.x ?? line.steps ?? charts.epochs;
      // Steps beyond 2^53 come as text, drawn as near as a number can be and said as they are.
      return { label: line.label, color, dash, x: at.map(Number), y: full?.y ?? line.values, said: at.some((one) => typeof one === "string") ? at : undefined, best: line.best ?? undefined };
    });
    return { title: chart.title, axis: chart.axis, lines, marks: chart.marks.map((mark) => ({ at: mark.epoch, label: mark.label })), ...look };
  }

  function makeCard(chart) {
    const made_ = ChartParts.card(`series-${made++}`, chart.title, `${chart.title.slice(0, 200)} by ${chart.axis}`, "h4");
    const card = { ...made_, chart, near: false };
    const draw = () => Charts.draw(card.target, toSpec(card.chart));
    card.made.querySelector(".cardhead").append(ChartParts.downloads(chart.title, () => Charts.of(card.target) ?? draw()));
    card.draw = () => { if (card.near) draw(); };
    card.leave = ChartParts.whenNear(card.made, () => { card.near = true; draw(); }, () => { card.near = false; Charts.of(card.target)?.destroy(); });
    return card;
  }

  function makeGroup(name) {
    const id = `group-${groups.size}`;
    const heading = element("h3", { id });
    const grid = element("div", { className: "grid" });
    const more = element("button", { type: "button" });
    const section = element("section", { className: "group" }, heading, grid, element("p", {}, more));
    section.setAttribute("aria-labelledby", id);
    const group = { name, heading, grid, more, section, limit: FIRST };
    more.addEventListener("click", () => { group.limit = Infinity; show(); });
    groups.set(name, group);
    return group;
  }

  function dropCard(name) {
    const card = cards.get(name);
    card.leave();
    Charts.of(card.target)?.destroy();
    card.made.remove();
    cards.delete(name);
  }

  /* Makes the cards that are missing, takes away those that are gone; what is in view is drawn at once. */
  function show() {
    const byGroup = new Map();
    for (const chart of charts.others.filter(matches)) byGroup.set(chart.group, [...(byGroup.get(chart.group) ?? []), chart]);
    const holder = document.getElementById("series-charts");
    const kept = new Set();
    const sections = [];
    for (const [name, all] of byGroup) {
      const group = groups.get(name) ?? makeGroup(name);
      const part = all.slice(0, group.limit);
      group.heading.replaceChildren(element("span", { className: "cut", textContent: name }), element("span", { className: "count", textContent: ` ${all.length}` }));
      group.section.className = `group ${{ 1: "one", 2: "two" }[all.length] ?? ""}`;
      const inside = part.map((chart) => {
        kept.add(key(chart));
        if (!cards.has(key(chart))) cards.set(key(chart), makeCard(chart));
        const card = cards.get(key(chart));
        card.chart = chart;
        return card.made;
      });
      if (inside.length !== group.grid.children.length || inside.some((one, i) => group.grid.children[i] !== one)) group.grid.replaceChildren(...inside);
      group.more.hidden = all.length <= part.length;
      group.more.textContent = `Show the other ${all.length - part.length} series`;
      sections.push(group.section);
    }
    for (const name of [...cards.keys()]) if (!kept.has(name)) dropCard(name);
    if (sections.length !== holder.children.length || sections.some((one, i) => holder.children[i] !== one)) holder.replaceChildren(...sections);
    document.getElementById("series-none").hidden = sections.length > 0;
    cards.forEach((card) => card.draw());
  }

  function draw(of, with_) {
    charts = of;
    look = with_;
    document.getElementById("series").hidden = charts.others.length === 0;
    show();
  }

  function search(text) {
    words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (charts) show();
  }

  return { draw, search };
})();
