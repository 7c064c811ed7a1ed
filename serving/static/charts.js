"use strict";
/* Charts of lines, drawn by uPlot on a canvas, in the page's colours, for mouse, touch and keyboard.

   Charts.draw(target, spec) draws into an element, or draws again what has changed there. The spec:
     title, axis ("epoch", "step", a parameter), lines [{label, key? (where labels repeat), x, y, said?, color ("--first"), dash?, best?: [x, y], faint?}],
     and where they are wanted: log, logX, smooth (0 to 0.99), yTitle, marks [{at, label}] (points that no line can show),
     at (a rule at this x), bands [[upper line, lower line, color]], points (no lines between: a scatter),
     categories (texts of x = 0, 1, ...), height, toggles (false: no legend).
   The answer has target, spec, csv(), json(), png() -> Promise<Blob>, destroy(). */

const Charts = (() => {
  const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";
  const WHOLE = [1, 2, 5].flatMap((step) => [...Array(16).keys()].map((ten) => step * 10 ** ten)).sort((a, b) => a - b);
  const RUN_COLORS = 8;
  const RUN_DASHES = [[], [8, 4], [2, 3]];
  const drawn = new Map();

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const { short } = ChartData;

  /* The look of the i-th run of a comparison, the same in every chart. */
  const runStyle = (i) => ({ color: `--run-${i % RUN_COLORS}`, dash: RUN_DASHES[Math.floor(i / RUN_COLORS) % RUN_DASHES.length] });

  function axes(spec) {
    const common = {
      font: FONT, labelFont: FONT, labelSize: 18, stroke: () => color("--soft"), ticks: { show: false },
      grid: { stroke: () => color("--grid"), width: 1 },
    };
    const categories = spec.categories && { splits: () => spec.categories.map((_, i) => i), values: (u, all) => all.map((i) => spec.categories[i] ?? "") };
    const whole = spec.axis === "epoch" || spec.axis === "step";
    const x = {
      ...common, label: spec.axis, size: 26, space: 44, values: (u, all) => all.map((one) => (one === null ? "" : steps(one))),
      ...(whole ? { incrs: WHOLE } : {}), ...(categories || {}),
    };
    const y = {
      ...common, size: (u, values) => 14 + Math.max(20, ...(values ?? []).map((text) => width(u, text))), gap: 6, space: 32,
      values: (u, all) => all.map((one) => (one === null ? "" : short(one))),
      ...(spec.yTitle ? { label: spec.yTitle } : {}),
    };
    return [x, y];
  }

  const steps = (value) => (Math.abs(value) >= 1e4 && value % 100 === 0 ? (Math.abs(value) >= 1e6 ? `${short(value / 1e6)}M` : `${value / 1000}k`) : short(value));

  function width(u, text) {
    u.ctx.font = FONT;
    return Math.ceil(u.ctx.measureText(text ?? "").width);
  }

  function range(u, low, high) {
    if (low === null || high === null) return [0, 1];
    const room = low === high ? Math.max(0.5, Math.abs(low) * 0.1) : (high - low) * 0.02;
    return [low - room, high + room];
  }

  /* Each line as the library has it, a smoothed one over its own faint trace. */
  function columns(spec) {
    const [at, ...values] = ChartData.join(spec.lines, spec.marks);
    const made = [];
    spec.lines.forEach((line, i) => {
      const y = spec.log ? values[i].map((value) => (value !== null && value <= 0 ? null : value)) : values[i];
      const smoothed = spec.smooth > 0 && !spec.points && !line.faint;
      if (smoothed) made.push({ line, y, faint: true });
      made.push({ line, y: smoothed ? ChartData.smooth(y, spec.smooth) : y, faint: Boolean(line.faint) });
    });
    return { at, made };
  }

  function series(spec, made) {
    return made.map(({ line, faint }) => ({
      label: line.label, stroke: () => color(line.color), width: faint ? 1 : 2, alpha: faint ? 0.35 : 1, dash: line.dash ?? [],
      ...(spec.points ? { paths: () => null } : {}),
      points: spec.points
        ? { show: true, size: 11, fill: () => color(line.color), stroke: () => color("--card"), width: 1.5 }
        : { show: faint ? false : undefined, size: 6, space: 14, fill: () => color(line.color) },
    }));
  }

  function overlay(chart) {
    return (u) => {
      const { ctx, bbox } = u;
      const ratio = uPlot.pxRatio;
      const { spec } = chart;
      ctx.save();
      const rule = (x, name, dash) => {
        const at = u.valToPos(x, "x", true);
        if (!(at >= bbox.left && at <= bbox.left + bbox.width)) return null;
        ctx.strokeStyle = color(name);
        ctx.lineWidth = ratio;
        ctx.setLineDash(dash.map((one) => one * ratio));
        ctx.beginPath();
        ctx.moveTo(at, bbox.top);
        ctx.lineTo(at, bbox.top + bbox.height);
        ctx.stroke();
        ctx.setLineDash([]);
        return at;
      };
      if (spec.at !== undefined && spec.at !== null) rule(spec.at, "--second", []);
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      for (const x of new Set((spec.marks ?? []).map((mark) => mark.at))) {
        const at = rule(x, "--mark", [2, 3]);
        ctx.fillStyle = color("--mark");
        ctx.font = `bold ${15 * ratio}px sans-serif`;
        if (at !== null) ctx.fillText("×", at, bbox.top + bbox.height - 8 * ratio);
      }
      for (const { line } of chart.made.filter((one) => one.line.best && !chart.hidden.has(ChartParts.key(one.line)))) {
        const [x, y] = line.best;
        const [left, top] = [u.valToPos(Number(x), "x", true), u.valToPos(y, "y", true)];
        if (!(left >= bbox.left - 1 && left <= bbox.left + bbox.width + 1) || !Number.isFinite(top)) continue;
        ctx.font = `${17 * ratio}px sans-serif`;
        ctx.lineWidth = 3 * ratio;
        ctx.strokeStyle = color("--card");
        ctx.fillStyle = color("--third");
        ctx.strokeText("★", left, top);
        ctx.fillText("★", left, top);
      }
      ctx.restore();
    };
  }

  function make(chart) {
    const { spec, plot } = chart;
    const { at, made } = columns(spec);
    chart.made = made;
    const log = spec.log && made.some(({ y }) => y.some((value) => value > 0));
    const options = {
      width: Math.max(120, plot.clientWidth), height: plot.clientHeight || spec.height || 240, padding: [10, 12, 0, 0],
      legend: { show: false }, cursor: { drag: { x: true, y: false }, focus: { prox: 24 }, points: { size: 7 }, y: false },
      scales: {
        x: { time: false, distr: spec.logX ? 3 : 1, ...(spec.logX ? {} : { range }) },
        y: log ? { distr: 3, range: (u, low, high) => (low === null ? [0.1, 1] : uPlot.rangeLog(low, high, 10, false)) } : {},
      },
      axes: axes(spec),
      series: [{}, ...series(spec, made)],
      bands: (spec.bands ?? []).map(([upper, lower, name]) => ({ series: [upper + 1, lower + 1], fill: () => `${color(name)}38` })),
      hooks: { draw: [overlay(chart)], setCursor: [() => ChartParts.point(chart)], setSelect: [(u) => { chart.zoomed = u.select.width > 0; }] },
    };
    const kept = chart.zoomed && chart.u ? { min: chart.u.scales.x.min, max: chart.u.scales.x.max } : null;
    chart.u?.destroy();
    plot.replaceChildren();
    chart.u = new uPlot(options, [at, ...made.map(({ y }) => y)], plot);
    made.forEach(({ line }, i) => { if (chart.hidden.has(ChartParts.key(line))) chart.u.setSeries(i + 1, { show: false }); });
    if (kept) chart.u.setScale("x", kept);
  }

  /* Draws; a second call for one target draws the new spec, and keeps what the reader has hidden. */
  function draw(target, spec) {
    let chart = drawn.get(target);
    if (!chart) {
      const plot = Object.assign(document.createElement("div"), { className: "plot" });
      chart = { target, plot, hidden: new Set(), u: null, made: [] };
      if (spec.height) plot.style.height = `${spec.height}px`;
      target.replaceChildren(plot);
      ChartParts.listen(chart);
      plot.addEventListener("dblclick", () => { chart.zoomed = false; });
      chart.csv = () => ChartData.toCsv(chart.spec.axis, chart.spec.lines);
      chart.json = () => ChartData.toJson(chart.spec.title, chart.spec.axis, chart.spec.lines);
      chart.png = () => ChartParts.png(chart);
      chart.destroy = () => { chart.u?.destroy(); chart.resizing.disconnect(); drawn.delete(target); target.replaceChildren(); };
      chart.resizing = new ResizeObserver(() => {
        if (chart.u && plot.clientWidth > 0 && Math.abs(chart.u.width - plot.clientWidth) > 1) chart.u.setSize({ width: plot.clientWidth, height: chart.u.height });
      });
      chart.resizing.observe(plot);
      drawn.set(target, chart);
    }
    chart.spec = spec;
    ChartParts.legend(chart);
    make(chart);
    return chart;
  }

  const redrawAll = () => drawn.forEach((chart) => chart.u.redraw(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);

  return { color, draw, of: (target) => drawn.get(target), redrawAll, runStyle, short };
})();
