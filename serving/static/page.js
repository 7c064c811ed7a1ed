"use strict";
/* Draws what the page holds, and while the run is alive asks the server for news: the page's ETag makes that cheap. */

(() => {
  const PERIOD_MS = 5000;
  const LONGEST_PERIOD_MS = 60000;
  let shown = JSON.parse(document.getElementById("chart-data").textContent);
  let etag = null;
  let period = PERIOD_MS;
  let timer = 0;

  const say = (text) => { document.getElementById("news").textContent = text; };

  async function draw() {
    const { charts, id } = shown;
    document.getElementById("charts").hidden = !charts;
    if (!charts) return;
    await Promise.all([Charts.draw(charts), Series.draw(charts)]);
    if (charts.histograms) await Histograms.load(id);
  }

  async function refresh() {
    const answer = await fetch(location.href, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    if (answer.headers.get("ETag") === etag) return;
    etag = answer.headers.get("ETag");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const news = fresh.getElementById("chart-data").textContent;
    const before = document.getElementById("chart-data").textContent;
    for (const part of fresh.querySelectorAll("[data-fresh]")) {
      const old = document.getElementById(part.id);
      if (old.outerHTML !== part.outerHTML) old.replaceWith(document.adoptNode(part));
    }
    if (news === before) return;
    shown = JSON.parse(news);
    await draw();
    say(shown.live ? "The charts were updated." : "The run has ended; the charts are up to date.");
  }

  /* Pauses in a hidden tab; asks less and less often where the server does not answer. */
  function schedule() {
    clearTimeout(timer);
    if (!shown.live || document.hidden) return;
    timer = setTimeout(async () => {
      try {
        await refresh();
        period = PERIOD_MS;
      } catch (err) {
        period = Math.min(LONGEST_PERIOD_MS, period * 2);
        say(`No news: ${err.message}. Asking again in ${period / 1000} seconds.`);
      }
      schedule();
    }, period);
  }

  for (const id of ["show-total", "show-regularization", "log-scale"]) {
    document.getElementById(id).addEventListener("change", () => Charts.draw(shown.charts));
  }
  document.getElementById("more-series").addEventListener("click", () => Series.showAll(shown.charts));
  document.getElementById("epoch").addEventListener("input", () => Histograms.draw());
  document.addEventListener("visibilitychange", schedule);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (shown.charts) { Charts.draw(shown.charts); Series.draw(shown.charts); Histograms.draw(); }
  });

  draw()
    .catch((err) => say(`The charts cannot be drawn: ${err.message}`))
    .finally(() => { document.body.dataset.drawn = "yes"; schedule(); });
})();
