"use strict";
/* Asks for a page's news while its run is alive: one conditional request an interval, and none in a hidden tab. */

const Live = (() => {
  const PERIOD_MS = 5000;
  const LONGEST_PERIOD_MS = 60000;

  /* `alive()` says whether to go on; `apply(document)` takes a page that changed; `say(text)` tells the reader. */
  function follow({ alive, apply, say }) {
    let etag = null;
    let period = PERIOD_MS;
    let timer = 0;

    async function refresh() {
      const answer = await fetch(location.href, { cache: "no-cache" });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      if (answer.headers.get("ETag") === etag) return;
      const text = await answer.text();
      etag = answer.headers.get("ETag");
      await apply(new DOMParser().parseFromString(text, "text/html"));
    }

    function schedule() {
      clearTimeout(timer);
      if (!alive() || document.hidden) return;
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

    document.addEventListener("visibilitychange", schedule);
    schedule();
  }

  return { follow };
})();
