"use strict";
/* Runs side by side: a chart for each series with a line for each run, all with the same switches, search and look. */

(() => {
  const FIRST = 12;
  const { element } = ChartParts;
  const byId = (id) => document.getElementById(id);
  const say = (text) => { byId("news").textContent = text; };
  const data = JSON.parse(byId("compare-data").textContent);
  const styles = new Map(data.runs.map((run, i) => [run.id, { name: run.name, ...Charts.runStyle(i) }]));
  const hiddenRuns = new Set();
  const cards = new Map();
  let epochs = new Map();
  let curves = [];
  let limit = FIRST;

  function toSpec(curve) {
    const own = curve.runs.some((run) => run.steps);
    const lines = curve.runs.filter((run) => !hiddenRuns.has(run.id)).map((run) => {
      const { name, color, dash } = styles.get(run.id);
      const at = run.steps ?? epochs.get(run.id);
      return { key: String(run.id), label: `${name.slice(0, 200)} (${run.id})`, color, dash, x: at.map(Number), y: run.values };
    });
    return { title: curve.name, axis: own ? "step" : "epoch", lines, toggles: false, log: byId("log-scale").checked, smooth: byId("smooth").valueAsNumber };
  }

  function makeCard(curve) {
    const there = [...document.querySelectorAll("#curves [data-curve]")].find((one) => one.dataset.curve === curve.name);
    const made = there ?? ChartParts.card(`curve-${cards.size}`, curve.name, `${curve.name.slice(0, 200)} of each run`).made;
    const target = made.querySelector(".chart");
    const card = { made, target, near: false };
    const draw = () => Charts.draw(target, toSpec(curve));
    made.querySelector(".cardhead").append(ChartParts.downloads(curve.name, () => Charts.of(target) ?? draw()));
    card.draw = () => { if (card.near) draw(); };
    ChartParts.whenNear(made, () => { card.near = true; draw(); }, () => { card.near = false; });
    cards.set(curve.name, card);
    return card;
  }

  const place = (curve) => { const at = ["val_loss", "loss"].indexOf(curve.name); return at < 0 ? 2 + Number(curve.direction === null) : at; };
  const words = () => byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);

  /* The cards of the series that are searched for, in their order. */
  function show() {
    const wanted = words();
    const found = curves.filter((curve) => wanted.every((word) => curve.name.toLowerCase().includes(word)));
    const made = found.slice(0, limit).map((curve) => (cards.get(curve.name) ?? makeCard(curve)).made);
    const holder = byId("curves");
    if (made.length !== holder.children.length || made.some((one, i) => holder.children[i] !== one)) holder.replaceChildren(...made);
    byId("curves-none").hidden = found.length > 0;
    byId("curves-more").hidden = found.length <= limit;
    byId("curves-more").textContent = `Show ${Math.min(FIRST * 4, found.length - limit)} more of ${found.length} curves`;
    for (const row of document.querySelectorAll("tr[data-name]")) row.hidden = !wanted.every((word) => row.dataset.name.toLowerCase().includes(word));
    cards.forEach((card) => { if (card.made.isConnected) card.draw(); });
    return found.length;
  }

  function toggle(button) {
    const id = Number(button.dataset.run);
    if (!hiddenRuns.delete(id)) hiddenRuns.add(id);
    button.setAttribute("aria-pressed", String(!hiddenRuns.has(id)));
    for (const point of document.querySelectorAll(`.point[data-run="${id}"]`)) point.toggleAttribute("hidden", hiddenRuns.has(id));
    show();
  }

  async function load() {
    const answer = await fetch(data.address, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const found = await answer.json();
    epochs = new Map(found.runs.map((run) => [run.id, run.epochs ?? []]));
    curves = found.curves.map((curve, i) => [place(curve), i, curve]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((one) => one[2]);
    show();
  }

  for (const button of document.querySelectorAll("#runs .toggle")) {
    button.hidden = false;
    button.nextElementSibling.hidden = true;
    button.addEventListener("click", () => toggle(button));
  }
  for (const one of document.querySelectorAll(".scripted")) one.hidden = false;
  byId("search").addEventListener("input", () => { limit = FIRST; const count = show(); say(`${count} curves.`); });
  byId("curves-more").addEventListener("click", () => { limit += FIRST * 4; show(); });
  byId("log-scale").addEventListener("change", show);
  byId("smooth").addEventListener("input", () => { byId("smooth-said").textContent = byId("smooth").value; show(); });

  load().catch((err) => say(`The curves cannot be drawn: ${err.message}`)).finally(() => { document.body.dataset.drawn = "yes"; });
})();
