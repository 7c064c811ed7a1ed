"use strict";
/* Changes a run's name, notes and whether it is archived; only what the reader has changed is sent. */

(() => {
  const form = document.getElementById("edit-form");
  if (!form) return;
  const said = document.getElementById("edit-said");
  const read = () => ({ display_name: form.elements.display_name.value, notes: form.elements.notes.value, archived: form.elements.archived.checked });
  const before = read();

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const changed = Object.fromEntries(Object.entries(read()).filter(([name, value]) => value !== before[name]));
    if (!Object.keys(changed).length) {
      said.textContent = "Nothing was changed.";
      return;
    }
    said.textContent = "Saving ...";
    try {
      const answer = await fetch(`/api/quick-tests/${form.dataset.run}/`, {
        method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(changed),
      });
      if (!answer.ok) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail ?? `the server answers ${answer.status}`);
      }
      location.reload();
    } catch (err) {
      said.textContent = `Not saved: ${err.message}`;
    }
  });
})();
