// How the tiles ended, how long it took, and what was made from what.
if (T.length) {
  const most = Math.max(...T.map(s => s.cpu_seconds)), sum = k => T.reduce((a, s) => a + s[k], 0);
  const t = table(["stage", "jobs", "seconds", "CPU seconds", "peak MB", ""], T.map(s => [s.stage, s.jobs, fix(s.seconds, 1), fix(s.cpu_seconds, 1), fix(s.peak_mb, 0), ""]));
  [...t.rows].slice(1).forEach((r, i) => r.cells[5].append(el("div", undefined, {class: "share", style: `width:${120 * T[i].cpu_seconds / most}px`})));
  $("stages").append(t);
  $("time-text").textContent = `${fix(sum("cpu_seconds"), 0)} CPU seconds in ${sum("jobs")} jobs. Jobs run side by side: their seconds add up to more than the run took. This section alone differs between runs of the same data.`;
} else drop("time");

{
  const SHOWN = 200, L = D.ledger, box = $("ledger"), c = L.counts, lost = D.tiles.filter(t => t.status !== "ok" || t.notes.length), rows = lost.length ? lost : D.tiles;
  box.append(el("p", `${c.ok} with heights, ${c.empty} empty, ${c.failed} failed; ${fix(L.completeness, 1)} % of the cells have a height.`));
  box.append(within("scroll low", table(["tile", "status", "reason", "notes", "valid cells", "height range m", "from"],
    rows.slice(0, SHOWN).map(t => [t.tile, t.status, t.reason, t.notes.join("; "), whole(t.valid_cells), t.range, t.source]), [2, 3, 6])));
  if (rows.length > SHOWN) box.append(el("p", `The first ${SHOWN}; all are in ledger.json.`, {class: "soft"}));
  const size = b => b > 1e6 ? fix(b / 1e6, 1) + " MB" : fix(b / 1e3, 0) + " kB";
  $("products").append(table(["file", "size", "what it is"], D.products.map(p => [p.file, size(p.bytes), p.meaning]), [2]));
  $("manifest").textContent = JSON.stringify(D.manifest, null, 1);
}
