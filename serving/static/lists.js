"use strict";
/* The list of runs: which are selected, in the address and in every link to another page of the list; how many may be
   compared; and the caret at what is wrong in a filter. */

(() => {
  const LEAST = 2;
  const MOST = 20;
  const form = document.getElementById("compare");
  const byId = (id) => document.getElementById(id);

  /* Fields at their defaults would only make the address long. */
  for (const one of [byId("find"), byId("columns")]) {
    one?.addEventListener("submit", () => {
      for (const input of one.querySelectorAll("input, select")) if (input.value === "") input.disabled = true;
    });
  }
  /* A page that is gone back to must not keep them so. */
  window.addEventListener("pageshow", () => document.querySelectorAll("#find :disabled, #columns :disabled").forEach((input) => { input.disabled = false; }));

  const wrong = document.querySelector("[data-wrong-at]");
  if (wrong) {
    // The server counts characters, a text box UTF-16 units.
    const at = [...wrong.value].slice(0, Number(wrong.dataset.wrongAt)).join("").length;
    wrong.focus();
    wrong.setSelectionRange(at, Math.min(wrong.value.length, at + 1));
  }
  if (!form) { document.body.dataset.ready = "yes"; return; }

  const boxes = [...form.querySelectorAll("input[type=checkbox][name=ids]")];
  const elsewhere = () => [...form.querySelectorAll("input[type=hidden][name=ids]")];
  const selected = () => [...elsewhere(), ...boxes.filter((box) => box.checked)].map((input) => input.value);

  function withSelected(address, ids) {
    const url = new URL(address, location.href);
    url.searchParams.delete("selected");
    if (ids.length) url.searchParams.set("selected", ids.join(","));
    return `${url.pathname}${url.search.replaceAll("%2C", ",")}`;
  }

  function say() {
    const ids = selected();
    const others = elsewhere().length;
    const too = ids.length > MOST;
    const text = !ids.length ? `Select ${LEAST} to ${MOST} runs.`
      : too ? `${ids.length} are selected; ${MOST} at most can be compared. Take ${ids.length - MOST} away.`
      : `${ids.length} selected${others ? `, ${others} on other pages` : ""}.${ids.length < LEAST ? " Select another one." : ""}`;
    byId("picked").textContent = text;
    byId("picked").classList.toggle("too-many", too);
    byId("unpick").hidden = !ids.length;
    for (const box of boxes) box.closest("tr").classList.toggle("picked", box.checked);
    return ids;
  }

  function keep() {
    const ids = say();
    history.replaceState(history.state, "", withSelected(location.href, ids));
    for (const link of document.querySelectorAll("a[data-keep]")) link.setAttribute("href", withSelected(link.href, ids));
    for (const one of [byId("find"), byId("columns")]) {
      const field = one.querySelector("input[name=selected]") ?? one.appendChild(Object.assign(document.createElement("input"), { type: "hidden", name: "selected" }));
      field.value = ids.join(",");
    }
  }

  form.addEventListener("change", keep);
  byId("unpick").addEventListener("click", () => {
    elsewhere().forEach((input) => input.remove());
    boxes.forEach((box) => { box.checked = false; });
    keep();
    byId("picked").focus?.();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const ids = say();
    if (ids.length >= LEAST && ids.length <= MOST) location.assign(`/compare?ids=${ids.join(",")}`);
    else if (ids.length < LEAST) byId("picked").textContent = `Select at least ${LEAST} runs; ${ids.length} ${ids.length === 1 ? "is" : "are"} selected.`;
  });
  window.addEventListener("pageshow", keep);
  document.body.dataset.ready = "yes";
})();
