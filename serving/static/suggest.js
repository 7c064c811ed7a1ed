"use strict";
/* Suggestions of fields under a text box, for mouse and keyboard. An input with data-suggest="filter" gets them for the
   word at the caret, "metrics" for the name of a metric, "field" for one value of a run. The names come from the server. */

(() => {
  const WAIT_MS = 120;
  const SHOWN = 40;
  const WORD = /(?:[\p{L}_][\p{L}\p{N}_./@:-]*|[\p{L}]+\.`(?:[^`]|``)*)$/u;
  const answers = new Map();
  let made = 0;

  async function ask(prefix) {
    if (!answers.has(prefix)) {
      const answer = await fetch(`/api/quick-tests/fields/?${new URLSearchParams({ prefix: prefix.slice(0, 200), limit: String(SHOWN) })}`);
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      answers.set(prefix, (await answer.json()).fields);
    }
    return answers.get(prefix);
  }

  /* An odd number of quotes before the caret: inside a text. */
  const inText = (before) => (before.replace(/`(?:[^`]|``)*`/g, "").match(/'/g) ?? []).length % 2 === 1;

  /* What is being written: where it begins, and what to ask for. */
  function wanted(input) {
    const before = input.value.slice(0, input.selectionStart ?? 0);
    if (input.dataset.suggest === "metrics") return { start: 0, prefix: `metrics.${before}` };
    if (input.dataset.suggest === "field") return { start: 0, prefix: before };
    if (inText(before)) return null;
    const word = before.match(WORD)?.[0] ?? "";
    return { start: before.length - word.length, prefix: word };
  }

  function bare(name) {
    const rest = name.slice("metrics.".length);
    return rest.startsWith("`") ? rest.slice(1, -1).replaceAll("``", "`") : rest;
  }

  function follow(input) {
    const list = Object.assign(document.createElement("ul"), { className: "suggestions", id: `suggestions-${made++}`, hidden: true });
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Suggestions");
    input.parentNode.append(list);
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", "false");
    let at = -1;
    let timer = 0;
    let turn = 0;

    function close() {
      turn += 1;
      clearTimeout(timer);
      list.hidden = true;
      at = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function mark(to) {
      const all = [...list.children];
      at = (to + all.length) % all.length;
      all.forEach((one, i) => one.setAttribute("aria-selected", String(i === at)));
      input.setAttribute("aria-activedescendant", all[at].id);
      all[at].scrollIntoView({ block: "nearest" });
    }

    function take(name) {
      const place = wanted(input);
      const end = input.selectionStart ?? input.value.length;
      if (input.dataset.suggest === "filter" && place) {
        const rest = input.value.slice(end);
        input.setRangeText(name + (rest.startsWith(" ") ? "" : " "), place.start, end, "end");
      } else {
        input.value = input.dataset.suggest === "metrics" ? bare(name) : name;
      }
      close();
      input.focus();
    }

    function show(fields) {
      list.replaceChildren(...fields.map((field, i) => {
        const item = document.createElement("li");
        item.id = `${list.id}-${i}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        const name = document.createElement("span");
        name.textContent = input.dataset.suggest === "metrics" ? bare(field.name) : field.name;
        const type = document.createElement("span");
        type.textContent = field.type;
        item.append(name, type);
        item.addEventListener("mousedown", (event) => { event.preventDefault(); take(field.name); });
        return item;
      }));
      list.hidden = fields.length === 0;
      at = -1;
      input.removeAttribute("aria-activedescendant");
      input.setAttribute("aria-expanded", String(!list.hidden));
    }

    function suggest() {
      const place = wanted(input);
      const mine = ++turn;
      clearTimeout(timer);
      if (!place) { close(); return; }
      timer = setTimeout(async () => {
        try {
          const fields = (await ask(place.prefix)).filter((field) => field.name !== place.prefix && (input.dataset.suggest !== "field" || field.name.includes(".")));
          if (mine === turn && document.activeElement === input) show(fields);
        } catch {
          close(); // without suggestions a filter is written all the same
        }
      }, WAIT_MS);
    }

    input.addEventListener("input", suggest);
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "ArrowDown" && list.hidden) { event.preventDefault(); suggest(); return; }
      if (list.hidden) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); mark(event.key === "ArrowDown" ? at + 1 : Math.max(at, 0) - 1); }
      if (event.key === "Escape") { event.preventDefault(); close(); }
      if (event.key === "Enter" && at >= 0) { event.preventDefault(); list.children[at].dispatchEvent(new MouseEvent("mousedown", { cancelable: true })); }
    });
  }

  document.querySelectorAll("[data-suggest]").forEach(follow);
})();
