// A choice of two settings: their paired difference, which was computed beforehand, is looked up.
"use strict";
const signed = (text, turn) => {
  const value = turn * Number(text);
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
};

function compare(box) {
  const pairs = new Map();
  for (const text of box.dataset.pairs.split(";")) {
    const [one, other, ...numbers] = text.split(",");
    pairs.set(`${one},${other}`, numbers);
  }
  const [left, right] = box.querySelectorAll("select");
  const [difference, note] = box.querySelectorAll("output");
  const means = box.querySelectorAll(".mean");
  right.selectedIndex = Math.min(1, right.length - 1);

  function show() {
    const [one, other] = [left.selectedIndex, right.selectedIndex];
    [left, right].forEach((side, place) => (means[place].textContent = side.selectedOptions[0].dataset.mean));
    const turn = one < other ? 1 : -1; // each pair is there once
    const found = pairs.get(turn > 0 ? `${one},${other}` : `${other},${one}`);
    if (!found) {
      difference.textContent = "";
      note.textContent = one === other ? "One setting: choose two." : "No seed in common.";
      return;
    }
    const [mean, low, high, n, lost, lostRight] = found;
    const ends = turn > 0 ? [low, high] : [high, low];
    const interval = low === "" ? "" : ` [${ends.map((end) => signed(end, turn)).join(", ")}]`;
    const diverged = turn > 0 ? [lost, lostRight] : [lostRight, lost];
    const notes = ["left", "right"].flatMap((side, i) => (Number(diverged[i]) ? `The ${side} diverged on ${diverged[i]}.` : []));
    if (Number(n) < 3) notes.push("Fewer than 3 seeds decide nothing.");
    if (Number(n) === 2) notes.push("No interval at n = 2: it would reach 9 sd to either side (t = 12.7).");
    difference.textContent = `${mean === "" ? "no mean" : signed(mean, turn)}${interval}, n = ${n}`;
    note.textContent = notes.join(" ");
  }

  for (const side of [left, right]) side.addEventListener("change", show);
  box.hidden = false; // without scripts there is nothing to choose
  show();
}

document.querySelectorAll(".choice").forEach(compare);
