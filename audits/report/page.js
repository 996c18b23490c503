"use strict";
(() => {
  // Colours: as the system, light, dark; a browser that keeps nothing for local files forgets the choice, no more.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const remember = (value) => { try { localStorage.setItem("specref-theme", value); } catch (error) { /* not kept */ } };
  const recall = () => { try { return localStorage.getItem("specref-theme"); } catch (error) { return null; } };
  const paint = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme; else delete root.dataset.theme;
    button.textContent = "colours: " + (root.dataset.theme || "system");
    button.setAttribute("aria-label", button.textContent);
  };
  paint(recall());
  button.addEventListener("click", () => {
    const order = ["system", "light", "dark"];
    const next = order[(order.indexOf(root.dataset.theme || "system") + 1) % order.length];
    remember(next);
    paint(next);
  });

  // The filter hides verdicts, then rows, columns and tables that are left without any.
  const form = document.getElementById("filter");
  const chosen = (name) => new Set([...form.querySelectorAll(`input[name="${name}"]:checked`)].map((box) => box.value));
  const filter = () => {
    const outcomes = chosen("outcome"), sources = chosen("source");
    const hazards = form.elements.hazard.checked;
    const text = form.elements.text.value.trim().toLowerCase();
    const named = (...parts) => !text || parts.some((part) => (part || "").toLowerCase().includes(text));
    let shown = 0, all = 0;
    for (const matrix of document.querySelectorAll(".matrix")) {
      const heads = [...matrix.querySelectorAll("thead th")].slice(1);
      const used = heads.map(() => false);
      let rows = 0;
      for (const row of matrix.querySelectorAll("tbody tr")) {
        let any = false;
        [...row.querySelectorAll("td")].forEach((cell, column) => {
          for (const chip of cell.querySelectorAll(".chip")) {
            chip.hidden = !(outcomes.has(chip.dataset.outcome) && (!hazards || row.dataset.hazard === "yes")
              && named(row.dataset.text, cell.dataset.text, chip.dataset.text));
            if (!chip.hidden) { any = true; used[column] = true; }
          }
        });
        row.hidden = !any;
        rows += any ? 1 : 0;
      }
      for (const row of matrix.querySelectorAll("tr")) {
        [...row.children].slice(1).forEach((cell, column) => { cell.hidden = !used[column]; });
      }
      matrix.hidden = !rows || !sources.has(matrix.dataset.source);
    }
    for (const claim of document.querySelectorAll(".claim")) {
      let any = false;
      for (const row of claim.querySelectorAll("tr[data-outcome]")) {
        all += 1;
        row.hidden = !(outcomes.has(row.dataset.outcome) && sources.has(row.dataset.source)
          && (!hazards || claim.dataset.hazard === "yes") && named(row.dataset.text));
        any = any || !row.hidden;
        shown += row.hidden ? 0 : 1;
      }
      claim.hidden = !any;
    }
    document.getElementById("filtered").textContent =
      shown === all ? "" : `${shown} of ${all} verdicts shown; figures show all of a claim.`;
  };
  if (form) {
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();  // a browser may have kept the boxes of the last visit
  }
  // A link to a claim that the filter hides shows it.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.hidden) { target.hidden = false; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);

  // The token view: every position shows its cover until its step.
  for (const view of document.querySelectorAll(".example")) {
    const slider = view.querySelector("input[type=range]"), canvas = view.querySelector(".canvas");
    const state = view.querySelector(".state"), info = view.querySelector(".info"), play = view.querySelector(".play");
    const tokens = [...canvas.querySelectorAll(".tok")];
    const last = Number(slider.max);
    const draw = () => {
      const step = Number(slider.value);
      let written = 0;
      for (const token of tokens) {
        const at = Number(token.dataset.step), covered = at > step;
        token.textContent = covered ? token.dataset.cover : token.dataset.text;
        token.classList.toggle("covered", covered);
        token.classList.toggle("now", at > 0 && at === step);
        written += at > 0 && !covered ? 1 : 0;
      }
      const done = step === last;
      canvas.classList.toggle("done", done);
      state.textContent = `step ${step} of ${last}: ${written} of ${state.dataset.hidden} hidden positions written`
        + (done ? `; ${state.dataset.verdict}` : "");
    };
    let timer = null;
    const halt = () => { clearInterval(timer); timer = null; play.textContent = "play"; };
    slider.addEventListener("input", () => { halt(); draw(); });
    play.addEventListener("click", () => {
      if (timer) { halt(); return; }
      if (Number(slider.value) === last) slider.value = 0;
      draw();
      play.textContent = "pause";
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        draw();
        if (Number(slider.value) === last) halt();
      }, 350);
    });
    let lit = null;
    view.addEventListener("click", (event) => {
      const token = event.target.closest(".tok");
      if (!token) return;
      if (lit) lit.classList.remove("lit");
      lit = token;
      token.classList.add("lit");
      info.textContent = token.dataset.hint;
    });
    draw();
  }
})();
