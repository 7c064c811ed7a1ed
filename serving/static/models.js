"use strict";
/* The pages of models: how long ago something happened, and digests that can be copied. */

(() => {
  const UNITS = [["year", 31556952], ["month", 2629746], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const news = document.getElementById("news");

  function sayAgo(seconds) {
    const [unit, length] = UNITS.find((one) => Math.abs(seconds) >= one[1]) ?? ["second", 1];
    return unit === "second" ? "just now" : words.format(Math.round(seconds / length), unit);
  }

  function sayAll() {
    for (const time of document.querySelectorAll("time.ago")) {
      const seconds = (new Date(time.dateTime) - Date.now()) / 1000;
      if (Number.isNaN(seconds)) continue;
      const hint = time.querySelector("small") ?? time.appendChild(document.createElement("small"));
      hint.textContent = ` ${sayAgo(seconds)}`;
    }
  }

  /* Where the page is not from this machine and not by HTTPS, a browser has no clipboard for it. */
  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text, className: "hidden" }));
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("the browser does not allow it");
  }

  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await copy(button.dataset.copy);
        news.textContent = `Copied ${button.dataset.copy.slice(0, 19)}`;
        button.classList.add("done");
        setTimeout(() => button.classList.remove("done"), 1500);
      } catch (err) {
        news.textContent = `Not copied: ${err.message}. The full text is in the tooltip and in the JSON.`;
      }
      button.focus();
    });
  }

  sayAll();
  setInterval(sayAll, 60000);
  document.body.dataset.ready = "yes";
})();
