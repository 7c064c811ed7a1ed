"use strict";
/* The evaluation report of a run that has ended: the model beside baselines, and who wins. A report that cannot be read
   is told here, and costs the rest of the page nothing. */

const Evaluation = (() => {
  const COLUMNS = [["all", "recall_at_10"], ["new", "recall_at_10"], ["all", "ndcg_at_10"], ["light", "recall_at_10"], ["heavy", "recall_at_10"]];
  const SLICES = { all: "all pairs", new: "new to the buyer", light: "light buyers", heavy: "heavy buyers" };
  const WORDS = { baseline: "wins", level: "level", model: "loses", too_few: "too few buyers" };
  const { element } = ChartParts;
  const byId = (id) => document.getElementById(id);
  let asked = null;

  const metric = (name) => name.replace("_at_", "@").replace("ndcg", "NDCG");
  const said = (value) => value.toFixed(4);
  const list = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0]);
  const known = (report, columns) => columns.filter(([slice, name]) => report.contenders[0].figures[slice]?.[name]);

  function cell(contender, slice, name) {
    const made = element("td", { className: "number" });
    const figure = contender.figures[slice]?.[name];
    if (!figure) {
      made.textContent = "–";
      return made;
    }
    const lead = contender.leads[slice]?.[name];
    made.append(element("span", { textContent: said(figure.value) }), element("small", { textContent: `${said(figure.low)} to ${said(figure.high)}` }));
    if (lead) made.append(element("span", { className: `verdict ${lead.verdict}`, textContent: WORDS[lead.verdict] ?? lead.verdict }));
    return made;
  }

  function table(report, columns, { caption, coverage }) {
    const made = element("table", { className: "evaluation" });
    const head = element("tr");
    head.append(element("th", { scope: "col", textContent: "Answered by" }));
    for (const [slice, name] of columns) {
      const title = element("th", { scope: "col", className: "number", textContent: metric(name) });
      title.append(element("small", { textContent: SLICES[slice] ?? slice }));
      head.append(title);
    }
    if (coverage) head.append(element("th", { scope: "col", className: "number", textContent: "coverage@10" }));
    const body = element("tbody");
    for (const contender of report.contenders) {
      const row = element("tr");
      row.append(element("th", { scope: "row", textContent: report.titles[contender.name] ?? contender.name }));
      for (const [slice, name] of columns) row.append(cell(contender, slice, name));
      if (coverage) row.append(element("td", { className: "number", textContent: contender.coverage === null ? "–" : contender.coverage.toFixed(3) }));
      body.append(row);
    }
    const top = element("thead");
    top.append(head);
    made.append(element("caption", {}, element("span", { textContent: caption })), top, body);
    const scroll = element("div", { className: "scroll", tabIndex: 0 });
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    scroll.append(made);
    return scroll;
  }

  /* Plain sentences first: a baseline that wins is said to win. */
  function verdicts(report) {
    return known(report, COLUMNS.slice(0, 3)).map(([slice, name]) => {
      const leads = report.contenders.slice(1).map((one) => [report.titles[one.name] ?? one.name, one.leads[slice]?.[name]?.verdict]);
      const of = (verdict) => leads.filter(([, found]) => found === verdict).map(([title]) => title);
      const [better, level] = [of("baseline"), of("level")];
      const what = `${metric(name)}, ${SLICES[slice]}`;
      if (of("too_few").length) return [what, "there are too few buyers to say who wins.", false];
      if (better.length) return [what, `${list(better)} ${better.length > 1 ? "win" : "wins"} over the model.`, true];
      if (level.length) return [what, `no baseline wins; the model is level with ${list(level)}.`, false];
      return [what, "the model wins over all baselines.", false];
    });
  }

  function draw(report) {
    const { measured, bootstrap } = report;
    const made = [];
    const count = (number) => number.toLocaleString("en");
    const drawn = measured.pairs === measured.of_pairs ? "" : ` of ${count(measured.of_pairs)}`;
    made.push(element("p", { className: "hint", textContent: `${count(measured.pairs)}${drawn} held-out pairs of ${count(measured.buyers)} buyers, ${count(measured.new_pairs)} of them new to the buyer; ${count(measured.products)} products. Below each figure: the middle ${Math.round(bootstrap.confidence * 100)} % of ${count(bootstrap.draws)} draws of the buyers.` }));
    const sentences = element("ul", { className: "verdicts" });
    for (const [what, text, baselineWins] of verdicts(report)) {
      const line = element("li", { className: baselineWins ? "baseline" : "" });
      line.append(element("b", { textContent: `${what}: ` }), text);
      sentences.append(line);
    }
    made.push(sentences, table(report, known(report, COLUMNS), { caption: "The model and what could answer in its place", coverage: true }));
    for (const left of report.left_out) made.push(element("p", { className: "hint", textContent: `${report.titles[left.name] ?? left.name} was left out: ${left.reason}` }));
    const details = element("details");
    details.append(element("summary", { textContent: "Every figure, and the baselines' settings" }));
    for (const [slice, title] of Object.entries(SLICES)) {
      const columns = Object.keys(report.contenders[0].figures[slice] ?? {}).map((name) => [slice, name]);
      const group = measured.groups[slice];
      const of = group ? ` (${count(group.buyers)}, with ${count(group.least)} to ${count(group.most)} train purchases)` : "";
      if (columns.length) details.append(table(report, columns, { caption: `On ${slice === "new" ? "pairs " : ""}${title}${of}`, coverage: false }));
    }
    for (const one of report.contenders) {
      const settings = Object.entries(one.settings).map(([name, value]) => `${name} ${value}`).join(", ");
      if (settings) details.append(element("p", { className: "hint", textContent: `${report.titles[one.name] ?? one.name}: ${settings}${one.about ? ` (${one.about})` : ""}` }));
    }
    made.push(details);
    return made;
  }

  async function load(id) {
    if (asked === id) return;
    asked = id;
    const [section, body] = [byId("evaluation"), byId("evaluation-body")];
    try {
      const answer = await fetch(`/api/quick-tests/${id}/evaluation/`, { cache: "no-cache" });
      const report = await answer.json();
      if (!answer.ok) throw new Error(report.detail ?? `the server answers ${answer.status}`);
      if (!report.available) return;
      body.replaceChildren(...draw(report));
    } catch (err) {
      body.replaceChildren(element("p", { className: "note warning", textContent: `The evaluation report cannot be read: ${err.message}` }));
    }
    section.hidden = false;
  }

  return { load };
})();
