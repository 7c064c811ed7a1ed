"use strict";
/* Weight and gradient histograms over epochs: bands between percentiles, beside the bars of one epoch; a heat map of
   each epoch's shares where a reader asks for it. */

const Histograms = (() => {
  const KINDS = [["weights", "Weights"], ["gradients", "Gradients"]];
  const TOWERS = [["query", "query tower"], ["candidate", "candidate tower"]];
  const PERCENTILES = [5, 25, 50, 75, 95];
  const LEAST_SHARE = 0.001;
  const WARNINGS = {
    first_epoch: ["Not comparable across epochs", "each epoch has bins of its own, and only the first epoch's edges are known: the axis holds for that epoch alone."],
    none: ["Not comparable across epochs", "the bins' edges are not known: bins are numbered, and may lie elsewhere in every epoch."],
  };
  const { element } = ChartParts;
  const { short } = ChartData;
  const SVG = "http://www.w3.org/2000/svg";
  let all = [];

  const slider = () => document.getElementById("epoch");
  const chosen = () => all[0].data.epochs[slider().valueAsNumber];
  const percent = (share) => `${Number((share * 100).toPrecision(3))} %`;

  /* The value below which `share` of the counted ones lie: even within a bin. Bins without edges count as one wide. */
  function percentile(counts, edges, share) {
    const sum = counts.reduce((total, count) => total + (count ?? 0), 0);
    if (!sum) return null;
    let left = sum * share;
    for (let bin = 0; bin < counts.length; bin += 1) {
      const count = counts[bin] ?? 0;
      if (count > 0 && left <= count) {
        const [low, high] = edges ? [edges[bin], edges[bin + 1]] : [bin + 0.5, bin + 1.5];
        return low + (high - low) * (left / count);
      }
      left -= count;
    }
    return edges ? edges.at(-1) : counts.length + 0.5;
  }

  function shares(row) {
    if (!row) return null;
    const sum = row.reduce((total, count) => total + (count ?? 0), 0);
    return row.map((count) => (count === null || sum === 0 ? null : count / sum));
  }

  const edge = (value) => short(Number(value.toPrecision(2)));
  const binName = (data, bin) => (data.bin_edges ? `${edge(data.bin_edges[bin])} to ${edge(data.bin_edges[bin + 1])}` : `bin ${bin + 1}`);

  function toSpec(histogram) {
    const { data, title } = histogram;
    const lines = [...PERCENTILES].reverse().map((rank) => ({
      label: rank === 50 ? "median" : `${rank} %`, x: data.epochs, y: data.counts.map((row) => (row ? percentile(row, data.bin_edges, rank / 100) : null)),
      color: "--first", dash: rank === 50 ? [] : [2, 3], faint: rank !== 50, quiet: true,
    }));
    return { title: `${title}: percentiles`, axis: "epoch", yTitle: data.bin_edges ? "value" : "bin", lines, bands: [[0, 4, "--first"], [1, 3, "--first"]], at: chosen() };
  }

  /* The chosen epoch's bins, the smallest value below, as wide as their shares. */
  function bars(histogram) {
    const { data, side } = histogram;
    const row = shares(data.counts[data.epochs.indexOf(chosen())]);
    const first = data.edges_known === "all" && slider().valueAsNumber > 0 ? shares(data.counts[0]) : null;
    const shown = (row ?? []).map((share, bin) => ({ share: share ?? 0, was: first?.[bin] ?? 0, bin })).filter((one) => one.share >= LEAST_SHARE || one.was >= LEAST_SHARE);
    const most = Math.max(0, ...shown.map((one) => Math.max(one.share, one.was))) || 1;
    const list = element("ul", { className: "bars" });
    for (const { share, was, bin } of shown.reverse()) {
      const bar = document.createElementNS(SVG, "svg");
      bar.setAttribute("viewBox", "0 0 100 10");
      bar.setAttribute("preserveAspectRatio", "none");
      bar.setAttribute("aria-hidden", "true");
      const rectangle = document.createElementNS(SVG, "rect");
      rectangle.setAttribute("width", String((share / most) * 100));
      rectangle.setAttribute("height", "10");
      bar.append(rectangle);
      if (first) {
        const mark = document.createElementNS(SVG, "path");
        mark.setAttribute("d", `M${(was / most) * 99.5} 0V10`);
        bar.append(mark);
      }
      list.append(element("li", {}, element("span", { textContent: binName(data, bin) }), bar, element("span", { className: "number", textContent: percent(share) })));
    }
    const head = element("p", { className: "hint", textContent: row ? `Epoch ${chosen()}${first ? `; the mark is epoch ${data.epochs[0]}` : ""}` : `Epoch ${chosen()}: not recorded` });
    side.replaceChildren(head, list);
  }

  /* Each epoch's shares as colours, without what is below 0.1 %. */
  function heat(histogram) {
    const { data, map } = histogram;
    map.hidden = !histogram.button.checked;
    if (map.hidden) return;
    const rows = data.counts.map(shares);
    const bins = Math.max(1, ...data.counts.map((row) => row?.length ?? 0));
    const used = [...Array(bins).keys()].filter((bin) => rows.some((row) => (row?.[bin] ?? 0) >= LEAST_SHARE));
    const low = used[0] ?? 0;
    const high = used.at(-1) ?? bins - 1;
    const ratio = window.devicePixelRatio || 1;
    const canvas = map.querySelector("canvas");
    const [wide, tall] = [Math.max(200, map.clientWidth), 220];
    const [left, bottom] = [104, 34];
    Object.assign(canvas, { width: wide * ratio, height: tall * ratio });
    canvas.style.width = "100%";
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const cell = [(wide - left - 8) / rows.length, (tall - bottom) / (high - low + 1)];
    pen.fillStyle = Charts.color("--first");
    rows.forEach((row, at) => {
      for (let bin = low; bin <= high; bin += 1) {
        const share = row?.[bin] ?? 0;
        if (share < LEAST_SHARE) continue;
        pen.globalAlpha = 0.12 + 0.88 * (1 + Math.log10(share) / 3);
        pen.fillRect(left + at * cell[0], (high - bin) * cell[1], Math.ceil(cell[0]), Math.ceil(cell[1]));
      }
    });
    pen.globalAlpha = 1;
    pen.fillStyle = Charts.color("--soft");
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "right";
    const every = Math.max(1, Math.ceil((high - low + 1) / 9));
    for (let bin = low; bin <= high; bin += every) pen.fillText(data.bin_edges ? `from ${edge(data.bin_edges[bin])}` : `bin ${bin + 1}`, left - 6, (high - bin + 0.5) * cell[1] + 4);
    pen.textAlign = "center";
    const step = Math.max(1, Math.ceil(rows.length / 8));
    data.epochs.forEach((epoch, at) => { if (at % step === 0) pen.fillText(short(epoch), left + (at + 0.5) * cell[0], tall - 16); });
    pen.fillText("epoch", left + (wide - left) / 2, tall - 2);
    const at = data.epochs.indexOf(chosen());
    pen.strokeStyle = Charts.color("--second");
    pen.lineWidth = 2;
    if (at >= 0) pen.strokeRect(left + at * cell[0], 1, cell[0], tall - bottom - 2);
  }

  function plot(histogram) {
    Charts.draw(histogram.target, toSpec(histogram));
    bars(histogram);
    heat(histogram);
  }

  function card(kind, kindLabel, tower, towerLabel, data) {
    const title = `${kindLabel}, ${towerLabel}`;
    const { made, target } = ChartParts.card(`${kind}-${tower}`, title, `${kindLabel} of the ${towerLabel}: percentiles 5, 25, 50, 75 and 95 by epoch`);
    made.querySelector(".cardhead").append(ChartParts.downloads(title, () => Charts.of(target)));
    const warning = WARNINGS[data.edges_known];
    const notes = [];
    if (warning) notes.push(note("warning", ...warning));
    if (data.edges_assumed) notes.push(note("warning", "Edges assumed", "the bins' edges were not logged: these are the legacy trainer's fixed range, −1 to 1. A run of another trainer may have other ones."));
    if (data.sampled) notes.push(note("info", "Estimate", "counted on a sample of the values."));
    target.before(...notes);
    const side = element("div", { className: "side" });
    const both = element("div", { className: "both" });
    target.replaceWith(both);
    both.append(target, side);
    const button = element("input", { type: "checkbox" });
    const map = element("div", { className: "heat", hidden: true }, element("canvas", {}));
    map.setAttribute("role", "img");
    map.setAttribute("aria-label", `${title}: share of the values in each bin, by epoch; the bars have the numbers of one epoch`);
    made.append(element("p", { className: "controls" }, element("label", {}, button, " heat map, without what is below 0.1 %")), map);
    const histogram = { data, made, target, side, map, button, title };
    button.addEventListener("change", () => heat(histogram));
    return histogram;
  }

  function note(kind, title, text) {
    const made = element("div", { className: `note ${kind}` }, element("strong", { textContent: `${title}: ` }), element("p", { textContent: text }));
    made.setAttribute("role", "note");
    return made;
  }

  async function read(id, kind, tower) {
    const answer = await fetch(`/api/quick-tests/${id}/histogram-data/?type=${kind}&tower=${tower}`, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the ${kind} histogram of the ${tower} tower cannot be read (${answer.status})`);
    return answer.json();
  }

  /* Fetches and draws what there is; a second call draws what has come since, at the epoch that the reader picked. */
  async function load(id) {
    const wanted = KINDS.flatMap(([kind, kindLabel]) => TOWERS.map(([tower, towerLabel]) => [kind, kindLabel, tower, towerLabel]));
    const answers = await Promise.all(wanted.map(([kind, , tower]) => read(id, kind, tower)));
    const found = wanted.flatMap((one, i) => (answers[i].available && answers[i].epochs.length ? [card(...one, answers[i])] : []));
    document.getElementById("histograms").hidden = found.length === 0;
    if (!found.length) return;
    const atEnd = !all.length || slider().value === slider().max;
    const mapped = new Set(all.filter((histogram) => histogram.button.checked).map((histogram) => histogram.title));
    all.forEach((histogram) => Charts.of(histogram.target)?.destroy());
    all = found;
    for (const histogram of all) histogram.button.checked = mapped.has(histogram.title);
    document.getElementById("histogram-charts").replaceChildren(...all.map((histogram) => histogram.made));
    slider().max = String(all[0].data.epochs.length - 1);
    if (atEnd) slider().value = slider().max;
    draw();
  }

  function draw() {
    if (!all.length) return;
    document.getElementById("epoch-said").textContent = chosen();
    slider().setAttribute("aria-valuetext", `epoch ${chosen()}`);
    all.forEach(plot);
  }

  return { draw, load, percentile };
})();
