"use strict";
/* What stands around a chart's canvas: the legend's switches, the values under the pointer, keys, and files to keep. */

const ChartParts = (() => {
  const element = (tag, attributes, ...children) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  };

  const key = (line) => line.key ?? line.label;

  /* A switch for each line; its swatch has the line's colour and dashes. A chart of one line needs none. */
  function legend(chart) {
    const { spec, target } = chart;
    target.querySelector(".legend")?.remove();
    const labels = new Map(spec.lines.filter((line) => !line.quiet).map((line) => [key(line), line]));
    if (spec.toggles === false || labels.size < 2) return;
    const list = element("ul", { className: "legend" });
    for (const [name, line] of labels) {
      const { label } = line;
      const swatch = element("span", { className: "swatch" });
      swatch.setAttribute("aria-hidden", "true");
      swatch.style.borderTop = `${spec.points ? 8 : 3}px ${spec.points || !line.dash?.length ? "solid" : line.dash[0] > 4 ? "dashed" : "dotted"} var(${line.color})`;
      const button = element("button", { type: "button", title: label }, swatch, element("span", { className: "cut", textContent: label }));
      button.setAttribute("aria-pressed", String(!chart.hidden.has(name)));
      button.addEventListener("click", () => {
        if (!chart.hidden.delete(name)) chart.hidden.add(name);
        button.setAttribute("aria-pressed", String(!chart.hidden.has(name)));
        chart.made.forEach((one, i) => { if (key(one.line) === name) chart.u.setSeries(i + 1, { show: !chart.hidden.has(name) }); });
      });
      list.append(element("li", {}, button));
    }
    target.prepend(list);
  }

  /* What the chart has at its i-th x, as lines of text. */
  function said(chart, i) {
    const { spec, u } = chart;
    const x = u.data[0][i];
    const rows = chart.made.flatMap(({ line, faint, y }) => {
      const shown = y[i] !== undefined && !chart.hidden.has(key(line)) && (!faint || line.faint);
      const logged = chart.made.find((one) => one.line === line && one.faint && !line.faint);
      return shown ? [{ line, text: `${line.label}: ${ChartData.short(y[i])}${logged ? ` (logged ${ChartData.short(logged.y[i])})` : ""}` }] : [];
    });
    const marks = (spec.marks ?? []).filter((mark) => mark.at === x).map((mark) => ({ line: null, text: mark.label }));
    const name = spec.categories?.[x] ?? ChartData.texts(spec.lines).get(x) ?? ChartData.short(x);
    return { head: `${spec.axis} ${name}`, rows: [...rows, ...marks] };
  }

  /* Shows the values at the cursor beside it. */
  function point(chart) {
    const { plot, u } = chart;
    chart.tip ??= element("div", { className: "tip", hidden: true });
    if (chart.tip.parentNode !== plot) plot.append(chart.tip);
    const i = u.cursor.idx;
    chart.tip.hidden = i === null || i === undefined || !(u.cursor.left >= 0);
    if (chart.tip.hidden) return;
    const { head, rows } = said(chart, i);
    const lines = rows.slice(0, 24).map(({ line, text }) => {
      const made = element("div", { textContent: text });
      made.style.borderLeft = `3px solid var(${line ? line.color : "--mark"})`;
      return made;
    });
    chart.tip.replaceChildren(element("strong", { textContent: head }), ...lines);
    const left = u.over.offsetLeft + u.cursor.left;
    const wide = chart.tip.offsetWidth;
    chart.tip.style.left = `${left + 14 + wide > plot.clientWidth ? Math.max(0, left - 14 - wide) : left + 14}px`;
    chart.tip.style.top = "8px";
  }

  /* A focused chart is read with the arrow keys; each point is said. */
  function listen(chart) {
    const { target } = chart;
    target.tabIndex = 0;
    let at = -1;
    target.addEventListener("keydown", (event) => {
      if (event.target !== target || event.ctrlKey || event.metaKey || event.altKey) return;
      const xs = chart.u.data[0];
      const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? xs.length - 1 : at - 1, Home: 0, End: xs.length - 1, Escape: -1 }[event.key];
      if (to === undefined || !xs.length) return;
      event.preventDefault();
      at = Math.min(xs.length - 1, to);
      if (event.key === "ArrowLeft") at = Math.max(0, at);
      chart.u.setCursor(at < 0 ? { left: -10, top: -10 } : { left: chart.u.valToPos(xs[at], "x"), top: 10 });
      if (at < 0) return;
      const { head, rows } = said(chart, at);
      say(`${head}. ${rows.map((row) => row.text).join(", ")}`);
    });
    target.addEventListener("blur", () => { at = -1; chart.u?.setCursor({ left: -10, top: -10 }); });
  }

  function say(text) {
    let region = document.getElementById("chart-said");
    if (!region) {
      region = element("p", { id: "chart-said", className: "hidden" });
      region.setAttribute("role", "status");
      document.querySelector("main").append(region);
    }
    region.textContent = text;
  }

  /* The canvas with its title and legend, on the card's colour. */
  function png(chart) {
    const { spec } = chart;
    const source = chart.u.ctx.canvas;
    const ratio = uPlot.pxRatio;
    const lines = spec.lines.filter((line) => !line.quiet && !chart.hidden.has(key(line)));
    const canvas = element("canvas", { width: source.width, height: source.height + (34 + 20 * lines.length) * ratio });
    const pen = canvas.getContext("2d");
    pen.fillStyle = Charts.color("--card");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = Charts.color("--ink");
    pen.font = `600 ${15 * ratio}px system-ui, sans-serif`;
    pen.fillText(spec.title.slice(0, 120), 10 * ratio, 22 * ratio);
    pen.drawImage(source, 0, 30 * ratio);
    pen.font = `${12 * ratio}px system-ui, sans-serif`;
    lines.forEach((line, i) => {
      const top = source.height + (42 + 20 * i) * ratio;
      pen.strokeStyle = Charts.color(line.color);
      pen.lineWidth = 3 * ratio;
      pen.setLineDash((line.dash ?? []).map((one) => one * ratio));
      pen.beginPath();
      pen.moveTo(12 * ratio, top);
      pen.lineTo(40 * ratio, top);
      pen.stroke();
      pen.fillText(line.label.slice(0, 120), 48 * ratio, top + 4 * ratio);
    });
    return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  }

  /* A menu of the three files; `read` gives the chart when one is asked for (it may not have been drawn before). */
  function downloads(title, read) {
    const kinds = [
      ["CSV", (chart) => ChartData.save(`${title}.csv`, chart.csv(), "text/csv")],
      ["JSON", (chart) => ChartData.save(`${title}.json`, chart.json(), "application/json")],
      ["PNG", async (chart) => ChartData.save(`${title}.png`, await chart.png())],
    ];
    const summary = element("summary", { textContent: "⤓", title: "Download" });
    summary.setAttribute("aria-label", `Download ${title.slice(0, 80)}`);
    const menu = element("details", { className: "save" }, summary);
    const list = element("div", {});
    for (const [name, write] of kinds) {
      const button = element("button", { type: "button", textContent: name });
      button.addEventListener("click", () => { write(read()); menu.open = false; summary.focus(); });
      list.append(button);
    }
    menu.append(list);
    menu.addEventListener("keydown", (event) => { if (event.key === "Escape" && menu.open) { menu.open = false; summary.focus(); event.stopPropagation(); } });
    menu.addEventListener("focusout", (event) => { if (!menu.contains(event.relatedTarget)) menu.open = false; });
    return menu;
  }

  /* A card for a chart: its title, its files, and the place to draw in. */
  function card(id, title, label, level = "h3") {
    const target = element("div", { className: "chart", id: `${id}-chart` });
    target.setAttribute("role", "figure");
    target.setAttribute("aria-label", label);
    const heading = element(level, { id: `${id}-title`, textContent: title, title });
    const made = element("section", { className: "card" }, element("div", { className: "cardhead" }, heading), target);
    made.setAttribute("aria-labelledby", heading.id);
    return { made, target, heading };
  }

  /* Calls draw when an element comes near the view, and drop when it is far: a page may have thousands of charts. */
  const watched = new WeakMap();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const { draw, drop } = watched.get(entry.target) ?? {};
      if (entry.isIntersecting) draw?.(); else drop?.();
    }
  }, { rootMargin: "300px" });
  function whenNear(made, draw, drop) {
    watched.set(made, { draw, drop });
    near.observe(made);
    return () => near.unobserve(made);
  }

  return { card, downloads, element, key, legend, listen, png, point, said, say, whenNear };
})();
