"use strict";
/* The loss and norm curves. Epochs are counted from 0 in the data and from 1 on the screen. */

const Charts = (() => {
  const LOSS_STYLES = {
    train: { color: "--first", dash: "solid", symbol: "circle", group: "loss" },
    val: { color: "--second", dash: "solid", symbol: "square", group: "loss" },
    total: { color: "--first", dash: "dash", symbol: "circle-open", group: "total" },
    val_total: { color: "--second", dash: "dash", symbol: "square-open", group: "total" },
    regularization: { color: "--first", dash: "dot", symbol: "circle", group: "regularization" },
    val_regularization: { color: "--second", dash: "dot", symbol: "square", group: "regularization" },
  };
  const NORM_STYLES = {
    total: { color: "--third", dash: "solid", symbol: "diamond" },
    query: { color: "--first", dash: "solid", symbol: "circle" },
    candidate: { color: "--second", dash: "solid", symbol: "square" },
  };
  const OTHER = { color: "--soft", dash: "dashdot", symbol: "x", group: "loss" };
  const CONFIG = { displaylogo: false, displayModeBar: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* What all charts share; an axis gives its own title. */
  function axis(title) {
    return {
      title: { text: title, standoff: 8 }, gridcolor: color("--grid"), linecolor: color("--line"),
      zeroline: false, automargin: true, fixedrange: false,
    };
  }

  function layout(extra) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", size: 12, color: color("--ink") },
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") }, namelength: -1 },
      margin: { l: 56, r: 12, t: 12, b: 44 },
      ...extra,
    };
  }

  /* One cross an epoch at the chart's foot, with everything that is not finite there in its hover. */
  function crosses(marks) {
    const byEpoch = new Map();
    for (const mark of marks) byEpoch.set(mark.epoch, [...(byEpoch.get(mark.epoch) ?? []), mark.label]);
    return {
      name: "not finite", type: "scatter", mode: "markers", yaxis: "y2",
      x: [...byEpoch.keys()], y: [...byEpoch.keys()].map(() => 0.04),
      text: [...byEpoch.values()].map((labels) => labels.join("<br>")), hovertemplate: "%{text}<extra></extra>",
      marker: { symbol: "x", size: 11, color: color("--mark") },
    };
  }

  /* Whole epochs alone have ticks, however few there are. */
  function epochAxis(epochs) {
    const few = epochs.length === 0 || epochs[epochs.length - 1] - epochs[0] < 8;
    return { ...axis("epoch"), tickformat: "d", ...(few ? { tick0: 0, dtick: 1 } : {}) };
  }

  /* A little room on both sides, but no epoch below 0. */
  function reach(epochs) {
    const first = epochs[0] ?? 0;
    const last = epochs[epochs.length - 1] ?? 0;
    const room = Math.max(0.4, (last - first) * 0.02);
    return [first - Math.min(0.9, room), last + room];
  }

  /* Plotly reads a little HTML in every text; a name is only a name. */
  const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const styleOf = (styles, name) => (Object.hasOwn(styles, name) ? styles[name] : OTHER);

  function curves(target, panel, epochs, styles, shown, yTitle, log) {
    const traces = Object.entries(panel.curves)
      .filter(([name]) => shown.has(styleOf(styles, name).group))
      .map(([name, values]) => {
        const style = styleOf(styles, name);
        return {
          name: plain(panel.labels[name]), type: "scatter", mode: "lines+markers", connectgaps: false,
          x: epochs, y: values, hovertemplate: "%{y:.6g}",
          line: { color: color(style.color), dash: style.dash, width: 2 },
          marker: { symbol: style.symbol, size: epochs.length > 60 ? 0.1 : 6, color: color(style.color) },
        };
      });
    if (panel.marks.length) traces.push(crosses(panel.marks));
    const stripes = [...new Set(panel.marks.map((mark) => mark.epoch))].map((epoch) => ({
      type: "line", x0: epoch, x1: epoch, yref: "paper", y0: 0, y1: 1, layer: "below",
      line: { color: color("--mark"), width: 1, dash: "dot" },
    }));
    return Plotly.react(target, traces, layout({
      hovermode: "x unified", showlegend: true, uirevision: log ? "log" : "linear", shapes: stripes,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      xaxis: { ...epochAxis(epochs), range: reach(epochs), hoverformat: "d", unifiedhovertitle: { text: "epoch %{x}" } },
      yaxis: { ...axis(yTitle), type: log ? "log" : "linear", exponentformat: "power" },
      yaxis2: { overlaying: "y", range: [0, 1], fixedrange: true, visible: false },
    }), CONFIG);
  }

  function draw(charts) {
    const shown = new Set(["loss"]);
    if (document.getElementById("show-total").checked) shown.add("total");
    if (document.getElementById("show-regularization").checked) shown.add("regularization");
    const log = document.getElementById("log-scale").checked;
    // A run without losses has its curves among the other series; an empty chart says nothing.
    const has = (panel) => Object.keys(panel.curves).length > 0 || panel.marks.length > 0;
    document.getElementById("loss-card").hidden = !has(charts.loss);
    document.getElementById("norm-card").hidden = !has(charts.norms);
    document.getElementById("main-charts").hidden = !has(charts.loss) && !has(charts.norms);
    return Promise.all([
      curves(document.getElementById("loss-chart"), charts.loss, charts.epochs, LOSS_STYLES, shown, "loss", log),
      curves(document.getElementById("norm-chart"), charts.norms, charts.epochs, NORM_STYLES, new Set([undefined, "loss"]), "L2 norm", false),
    ]);
  }

  return { axis, color, config: CONFIG, crosses, draw, epochAxis, layout, plain, reach };
})();
