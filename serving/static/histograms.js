"use strict";
/* Weight and gradient histograms over epochs: a heat map of each epoch's shares, beside the bars of one epoch. */

const Histograms = (() => {
  const KINDS = [["weights", "Weights"], ["gradients", "Gradients"]];
  const TOWERS = [["query", "query tower"], ["candidate", "candidate tower"]];
  const WARNINGS = {
    first_epoch: ["Not comparable across epochs", "bins were made anew in every epoch, and only the first epoch's edges are known: the axis holds for that epoch alone."],
    none: ["Not comparable across epochs", "the bins' edges are not known: bins are numbered, and may lie elsewhere in every epoch."],
  };
  let all = [];

  const slider = () => document.getElementById("epoch");
  const element = (tag, attributes, ...children) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  };
  const power = (exponent) => (exponent === 0 ? "1" : exponent >= -2 ? String(10 ** exponent) : `10<sup>−${-exponent}</sup>`);
  const short = (value) => Number(value.toPrecision(3)).toString().replace("-", "−");
  const percent = (share) => `${Number((share * 100).toPrecision(3))} %`;

  /* Ticks at bin edges. Bins are drawn equally wide, so that signed logarithmic bins read as a signed logarithmic axis. */
  function ticks(edges, bins) {
    if (!edges) {
      const numbers = [...Array(bins).keys()].filter((bin) => bin % 6 === 0);
      return { tickvals: numbers, ticktext: numbers.map((bin) => `bin ${bin + 1}`) };
    }
    const exponent = (edge) => Math.log10(Math.abs(edge));
    const decades = edges.map((edge, i) => [edge, i]).filter(([edge]) => edge !== 0 && Math.abs(exponent(edge) - Math.round(exponent(edge))) < 1e-6);
    const steps = edges.slice(1).map((edge, i) => edge - edges[i]);
    const linear = Math.max(...steps) < 1.5 * Math.min(...steps);
    if (linear || decades.length < 4) {
      const some = edges.map((edge, i) => [edge, i]).filter(([, i]) => i % 5 === 0);
      return { tickvals: some.map(([, i]) => i - 0.5), ticktext: some.map(([edge]) => short(edge)) };
    }
    const zero = edges.findIndex((edge, i) => edge < 0 && edges[i + 1] > 0);
    const kept = decades.filter(([, i]) => i !== zero && i !== zero + 1);
    const labels = kept.map(([edge, i]) => [i - 0.5, (edge < 0 ? "−" : "") + power(Math.round(exponent(edge)))]);
    if (zero >= 0) labels.push([zero, "0"]);
    return { tickvals: labels.map(([at]) => at), ticktext: labels.map(([, text]) => text) };
  }

  function toShares(row) {
    if (!row) return null;
    const sum = row.reduce((total, count) => total + (count ?? 0), 0);
    return row.map((count) => (count === null || sum === 0 ? null : count / sum));
  }

  function plot(histogram) {
    const { data, target } = histogram;
    const at = slider().valueAsNumber;
    const epoch = all[0].data.epochs[at];
    const shares = data.counts.map(toShares);
    const bins = Math.max(0, ...data.counts.map((row) => row?.length ?? 0));
    const numbers = [...Array(bins).keys()];
    const said = numbers.map((bin) => (data.bin_edges ? `${short(data.bin_edges[bin])} to ${short(data.bin_edges[bin + 1])}` : `bin ${bin + 1}`));
    const present = shares.flatMap((row) => row ?? []).filter((share) => share > 0);
    const least = Math.max(-6, Math.floor(Math.log10(Math.min(1, ...present))));
    const tens = [...Array(1 - least).keys()].map((i) => least + i);
    const narrow = target.clientWidth < 480;
    const heat = {
      type: "heatmap", name: "share", x: data.epochs, y: numbers, hoverongaps: false,
      z: numbers.map((bin) => shares.map((row) => (row?.[bin] > 0 ? Math.max(least, Math.log10(row[bin])) : null))),
      customdata: numbers.map((bin) => shares.map((row) => [said[bin], row?.[bin] == null ? "" : percent(row[bin])])),
      hovertemplate: "epoch %{x}<br>%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
      zmin: least, zmax: 0, colorscale: "Cividis", showscale: !narrow,
      colorbar: { thickness: 10, outlinewidth: 0, tickvals: tens, ticktext: tens.map((ten) => percent(10 ** ten)), title: { text: "share", side: "right" } },
    };
    const chosen = shares[data.epochs.indexOf(epoch)];
    const bars = {
      type: "bar", name: `epoch ${epoch}`, orientation: "h", xaxis: "x2", yaxis: "y", y: numbers, x: chosen ?? [],
      customdata: said, hovertemplate: "%{customdata}<br>%{x:.3p}<extra></extra>", marker: { color: Charts.color("--first") },
    };
    const traces = [heat, bars];
    if (data.edges_known === "all" && at > 0 && shares[0]) {
      traces.push({
        type: "scatter", mode: "lines", name: `epoch ${data.epochs[0]}`, xaxis: "x2", yaxis: "y", y: numbers, x: shares[0],
        line: { color: Charts.color("--second"), width: 1.5, shape: "vhv" }, customdata: said, hovertemplate: "%{customdata}<br>%{x:.3p}<extra></extra>",
      });
    }
    return Plotly.react(target, traces, Charts.layout({
      showlegend: true, legend: { orientation: "h", x: 0.66, xanchor: "right", y: 1.01, yanchor: "bottom" }, bargap: 0.1, uirevision: "kept",
      xaxis: { ...Charts.epochAxis(data.epochs), domain: [0, 0.66], showgrid: false },
      xaxis2: { ...Charts.axis("share"), domain: [0.71, 1], tickformat: ".0%", rangemode: "tozero", nticks: 3, tickangle: 0 },
      yaxis: { ...Charts.axis(data.edges_known === "none" ? "" : "value"), ...ticks(data.bin_edges, bins), range: [-0.5, bins - 0.5], showgrid: false },
      shapes: [{ type: "line", x0: epoch, x1: epoch, yref: "paper", y0: 0, y1: 1, line: { color: Charts.color("--second"), width: 2 } }],
    }), Charts.config);
  }

  function card(kind, kindLabel, tower, towerLabel, data) {
    const id = `${kind}-${tower}`;
    const target = element("div", { className: "chart", id: `${id}-chart` });
    target.setAttribute("role", "figure");
    target.setAttribute("aria-label", `${kindLabel} of the ${towerLabel}: share of values in each bin, by epoch`);
    const made = element("section", { className: "card" }, element("h3", { id: `${id}-title`, textContent: `${kindLabel}, ${towerLabel}` }));
    made.setAttribute("aria-labelledby", `${id}-title`);
    const warning = WARNINGS[data.edges_known];
    if (warning) made.append(note("warning", ...warning));
    if (data.edges_assumed) made.append(note("warning", "Edges assumed", "the bins' edges were not logged: these are the legacy trainer's fixed range, −1 to 1. A run of another trainer may have other ones."));
    if (data.sampled) made.append(note("info", "Estimate", "counted on a sample of the values."));
    made.append(target);
    return { data, made, target };
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
    const found = wanted.flatMap((one, i) => (answers[i].available ? [card(...one, answers[i])] : []));
    document.getElementById("histograms").hidden = found.length === 0;
    if (!found.length) return;
    const atEnd = !all.length || slider().value === slider().max;
    all.forEach((histogram) => Plotly.purge(histogram.target));
    all = found;
    document.getElementById("histogram-charts").replaceChildren(...all.map((histogram) => histogram.made));
    slider().max = String(all[0].data.epochs.length - 1);
    if (atEnd) slider().value = slider().max;
    await draw();
  }

  function draw() {
    if (!all.length) return Promise.resolve();
    const epochs = all[0].data.epochs;
    const said = epochs[slider().valueAsNumber];
    document.getElementById("epoch-said").textContent = said;
    slider().setAttribute("aria-valuetext", `epoch ${said}`);
    return Promise.all(all.map(plot));
  }

  return { draw, load };
})();
