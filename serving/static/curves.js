"use strict";
/* A run's loss curves and weight norms: the two charts at the top of its page. */

const Curves = (() => {
  const LOSSES = {
    train: { color: "--first", dash: [], group: "loss" },
    val: { color: "--second", dash: [], group: "loss" },
    total: { color: "--first", dash: [8, 4], group: "total" },
    val_total: { color: "--second", dash: [8, 4], group: "total" },
    regularization: { color: "--first", dash: [2, 3], group: "regularization" },
    val_regularization: { color: "--second", dash: [2, 3], group: "regularization" },
  };
  const NORMS = { total: { color: "--third", dash: [] }, query: { color: "--first", dash: [] }, candidate: { color: "--second", dash: [8, 4] } };
  const OTHER = { color: "--soft", dash: [2, 3], group: "loss" };
  /* What the full series call the losses. */
  const FULL_LOSS = {
    train: "loss", val: "val_loss", total: "total_loss", val_total: "val_total_loss",
    regularization: "regularization_loss", val_regularization: "val_regularization_loss",
  };
  const checked = (id) => document.getElementById(id).checked;

  function lines(panel, charts, styles, nameOf) {
    return Object.entries(panel.curves).map(([name, y]) => {
      const style = Object.hasOwn(styles, name) ? styles[name] : OTHER;
      const full = charts.full?.get(nameOf(name));
      const best = charts.best?.[nameOf(name)];
      return { key: name, label: panel.labels[name], x: full?.x ?? charts.epochs, y: full?.y ?? y, color: style.color, dash: style.dash, group: style.group, best };
    });
  }

  const marks = (panel) => panel.marks.map((mark) => ({ at: mark.epoch, label: mark.label }));
  const has = (panel) => Object.keys(panel.curves).length > 0 || panel.marks.length > 0;

  function draw(charts, look) {
    const shown = new Set(["loss", ...(checked("show-total") ? ["total"] : []), ...(checked("show-regularization") ? ["regularization"] : [])]);
    // A run without losses has its curves among the other series; an empty chart says nothing.
    document.getElementById("loss-card").hidden = !has(charts.loss);
    document.getElementById("norm-card").hidden = !has(charts.norms);
    document.getElementById("main-charts").hidden = !has(charts.loss) && !has(charts.norms);
    const common = { axis: "epoch", ...look };
    if (has(charts.loss)) {
      const shownLines = lines(charts.loss, charts, LOSSES, (name) => FULL_LOSS[name] ?? name).filter((line) => shown.has(line.group));
      Charts.draw(document.getElementById("loss-chart"), { ...common, title: "Loss", lines: shownLines, marks: marks(charts.loss) });
    }
    if (has(charts.norms)) {
      Charts.draw(document.getElementById("norm-chart"), { ...common, title: "Weight norms", lines: lines(charts.norms, charts, NORMS, (name) => `gradient.${name}`), marks: marks(charts.norms) });
    }
  }

  for (const [card, title, chart] of [["loss-card", "Loss", "loss-chart"], ["norm-card", "Weight norms", "norm-chart"]]) {
    document.querySelector(`#${card} .cardhead`).append(ChartParts.downloads(title, () => Charts.of(document.getElementById(chart))));
  }

  return { draw, has };
})();
