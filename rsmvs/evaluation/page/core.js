"use strict";
// What the other parts draw with: the data (D), the times (T), elements, tables, numbers.
const read = id => JSON.parse(document.getElementById(id).textContent);
const T = read("timings"), D = read("data");
const $ = id => document.getElementById(id);
const drop = id => $(id).remove();

const filled = (e, text, attributes) => {
  if (text !== undefined) e.textContent = text;
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
};
const el = (tag, text, attributes = {}) => filled(document.createElement(tag), text, attributes);
const svg = (tag, attributes, text) => filled(document.createElementNS("http://www.w3.org/2000/svg", tag), text, attributes);
const within = (classes, ...parts) => { const box = el("div", undefined, {class: classes}); box.append(...parts); return box; };
const table = (head, rows, textual = []) => {
  const t = el("table"), look = i => textual.includes(i) ? {class: "text"} : {};
  const line = (cells, tag) => { const tr = el("tr"); cells.forEach((c, i) => tr.append(el(tag, c ?? "–", look(i)))); t.append(tr); };
  line(head, "th");
  rows.forEach(r => line(r, "td"));
  return t;
};
const whole = v => Number(v).toLocaleString("en");
const fix = (v, n = 2) => v === null || v === undefined ? "–" : (+Number(v).toFixed(n) || 0).toFixed(n);  // no minus zero
const between = (low, v, high) => Math.max(low, Math.min(high, v));

$("title").textContent = D.title;
document.title = D.title + " – rsmvs";
$("lead").textContent = D.lead;
for (const [label, value] of D.cards) $("cards").append(within("card", el("b", value), el("span", label)));
