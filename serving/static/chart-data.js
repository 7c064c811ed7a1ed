"use strict";
/* What charts need of their data, without a page: one axis for lines on different steps, smoothing, numbers as people
   read them, and files to keep. A line is {label, x: [numbers], y: [numbers or null], said?: [texts of x]}. */

const ChartData = (() => {
  /* Four digits; a power of ten where zeros would hide them. */
  function short(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e").replace("-", "−").replace("e-", "e−");
    const text = size >= 1000 && !Number.isInteger(value) ? String(Math.round(value)) : String(Number.isInteger(value) ? value : Number(value.toPrecision(4)));
    return text.replace("-", "−");
  }

  /* One x for all lines: a value that a line lacks there is undefined (the line goes on), a null of its own is a gap. */
  function join(lines, marks = []) {
    const at = [...new Set([...lines.flatMap((line) => line.x), ...marks.map((mark) => mark.at)])].sort((a, b) => a - b);
    const place = new Map(at.map((x, i) => [x, i]));
    const columns = lines.map((line) => {
      const column = new Array(at.length).fill(undefined);
      line.x.forEach((x, i) => { column[place.get(x)] = line.y[i] ?? null; });
      return column;
    });
    return [at, ...columns];
  }

  /* An exponential moving average without its start's bias, as TensorBoard has it; gaps stay gaps. */
  function smooth(values, weight) {
    let last = 0;
    let count = 0;
    return values.map((value) => {
      if (value === null || value === undefined) return value;
      last = last * weight + (1 - weight) * value;
      count += 1;
      return last / (1 - weight ** count);
    });
  }

  /* A text that a spreadsheet would run as a formula gets an apostrophe. */
  function cell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  const texts = (lines) => new Map(lines.flatMap((line) => (line.said ?? []).map((text, i) => [line.x[i], text])));

  function toCsv(axis, lines) {
    const [at, ...columns] = join(lines);
    const said = texts(lines);
    const head = [axis, ...lines.map((line) => line.label)];
    const rows = at.map((x, i) => [said.get(x) ?? x, ...columns.map((column) => column[i])]);
    return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  function toJson(title, axis, lines) {
    const series = Object.fromEntries(lines.map((line) => [line.label, { [`${axis}s`]: line.said ?? line.x, values: line.y }]));
    return `${JSON.stringify({ title, axis, series }, null, 1)}\n`;
  }

  function save(name, content, type) {
    const link = document.createElement("a");
    const blob = content instanceof Blob ? content : new Blob([content], { type });
    link.href = URL.createObjectURL(blob);
    link.download = name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(-120);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  return { join, save, short, smooth, texts, toCsv, toJson };
})();
