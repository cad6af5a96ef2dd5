// Filters by data, model and norm. They live in the address, report.html#data=digits&norm=bn,gn, so that a view can be
// sent; report.html#run-a3b9d4c1 opens one run.
"use strict";
const KEYS = ["data", "model", "norm"];
const chosen = { data: new Set(), model: new Set(), norm: new Set() };
const items = [...document.querySelectorAll("[data-item]")].map((element) => ({
  element,
  data: element.dataset.data.split("\n"),
  model: element.dataset.model.split("\n"),
  norm: element.dataset.norm === "" ? null : element.dataset.norm.split("\n"), // null: it belongs to every norm
}));

function matches(item) {
  return KEYS.every((key) => !chosen[key].size || !item[key] || item[key].some((value) => chosen[key].has(value)));
}

function show() {
  for (const item of items) item.element.hidden = !matches(item);
  for (const group of document.querySelectorAll("[data-group]")) {
    group.hidden = !group.querySelector("[data-item]:not([hidden])");
  }
  for (const chip of document.querySelectorAll("button[data-key]")) {
    chip.setAttribute("aria-pressed", String(chosen[chip.dataset.key].has(chip.dataset.value)));
  }
  const runs = document.querySelectorAll("details.run");
  const shown = [...runs].filter((run) => !run.hidden).length;
  document.getElementById("shown").textContent =
    shown === runs.length ? `all ${shown} runs` : `${shown} of ${runs.length} runs`;
  document.getElementById("reset").hidden = !KEYS.some((key) => chosen[key].size);
}

function read() {
  const hash = location.hash.slice(1);
  if (hash.startsWith("run-")) {
    const run = document.getElementById(hash);
    if (run) {
      run.open = true;
      run.scrollIntoView();
    }
  }
  if (hash === "" || hash.includes("=")) {
    const wanted = new URLSearchParams(hash);
    for (const key of KEYS) chosen[key] = new Set((wanted.get(key) || "").split(",").filter(Boolean));
  }
  show();
}

function write() {
  const parts = KEYS.filter((key) => chosen[key].size).map(
    (key) => `${key}=${[...chosen[key]].map(encodeURIComponent).join(",")}`,
  );
  history.replaceState(null, "", parts.length ? `#${parts.join("&")}` : location.pathname + location.search);
  show();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.id === "reset") for (const key of KEYS) chosen[key].clear();
  else if (button.dataset.key) {
    const set = chosen[button.dataset.key];
    if (!set.delete(button.dataset.value)) set.add(button.dataset.value);
  } else return;
  write();
});
addEventListener("hashchange", read);
document.getElementById("filters").hidden = false; // without scripts there is nothing to press
read();
