// How good it is: figures against the reference.
const bars = (edges, counts, label) => {
  const p = svg("svg", {viewBox: "0 0 560 200", class: "plot small", role: "img", "aria-label": label}), most = Math.max(...counts, 1), n = counts.length, w = 540 / n;
  counts.forEach((c, i) => p.append(svg("rect", {x: 10 + i * w, y: 172 - 160 * c / most, width: Math.max(w - .5, .5), height: 160 * c / most, fill: "var(--plot)"})));
  [0, .25, .5, .75, 1].forEach(t => p.append(svg("text", {x: 10 + 540 * t, y: 190, "text-anchor": t === 0 ? "start" : t === 1 ? "end" : "middle"}, fix(edges[0] + (edges[n] - edges[0]) * t, 1) + " m")));
  return p;
};

const calibration = U => {
  const p = svg("svg", {viewBox: "0 0 560 260", class: "plot small", role: "img", "aria-label": "uncertainty against errors"});
  const top = Math.max(...U.bins.map(q => Math.max(q.sigma, Math.min(q.rmse, 8))), .5), X = v => 40 + 500 * v / top, Y = v => 230 - 215 * Math.min(v, top) / top;
  p.append(svg("line", {x1: X(0), y1: Y(0), x2: X(top), y2: Y(top), class: "axis"}), svg("text", {x: 300, y: 254, "text-anchor": "middle"}, "sigma said (m)"),
    svg("text", {x: 64, y: 12}, "RMSE found (m); the line: as large as said"));
  [0, .5, 1].forEach(t => p.append(svg("text", {x: X(top * t), y: 243, "text-anchor": "middle"}, fix(top * t, 1)), svg("text", {x: 36, y: Y(top * t) + 4, "text-anchor": "end"}, fix(top * t, 1))));
  U.bins.forEach(q => p.append(svg("circle", {cx: X(q.sigma), cy: Y(q.rmse), r: 3 + 6 * Math.sqrt(q.cells / U.cells), fill: "var(--plot2)", "fill-opacity": .8})));
  return p;
};

const heightScores = (M, box) => {
  const names = ["completeness", "pag_1.0", "pag_2.5", "pag_7.5", "mae", "rmse", "nmad", "median", "le90"], unit = n => n === "completeness" || n.startsWith("pag") ? "%" : "m";
  const called = n => n === "completeness" || n === "median" ? n : n.startsWith("pag_") ? `PAG ${+n.slice(4)} m` : n.toUpperCase();
  const columns = ["raw", "aligned"].filter(c => M[c]), shift = M.shift;
  const figures = within("scroll", table(["figure", ...columns, ""], names.map(n => [called(n), ...columns.map(c => fix(M[c][n])), unit(n)])));
  if (shift) figures.append(el("p", `Aligned: the surface moved by ${fix(shift.dx)} m east, ${fix(shift.dy)} m north, ${fix(shift.dz)} m up.`, {class: "soft"}));
  box.append(within("two", figures, within("", el("h3", "Errors"), bars(M.histogram.edges, M.histogram.counts, "histogram of errors"))));
  const first = s => parseFloat(s) || 0, head = ["", "cells", "completeness %", "PAG 1 m %", "PAG 2.5 m %", "RMSE m", "NMAD m", "median m", "LE90 m"];
  const row = ([n, f]) => [n, whole(f.truth_cells), fix(f.completeness, 1), fix(f["pag_1.0"], 1), fix(f["pag_2.5"], 1), fix(f.rmse), fix(f.nmad), fix(f.median), fix(f.le90)];
  for (const [key, title] of [["by_class", "By class"], ["by_slope", "By slope in degrees"]])
    if (M[key]) box.append(within("scroll", el("h3", title), table(head, Object.entries(M[key]).sort((a, b) => first(a[0]) - first(b[0])).map(row))));
  if (M.standing) box.append(within("scroll", el("h3", "What stands on the ground"), table(["", "completeness %", "correctness %", "IoU %"],
    Object.entries(M.standing).map(([n, f]) => [n, fix(f.completeness, 1), fix(f.correctness, 1), fix(f.iou, 1)]))));
};

const classScores = (C, box) => {
  const heights = Object.keys(C).filter(k => k.startsWith("miou3_")), occurs = C.names.map((_, i) => C.confusion[i].some(v => v) || C.confusion.some(r => r[i]));
  box.append(el("h3", "Classes"), el("p", [`mIoU ${fix(C.miou, 1)} %`, `mean F1 ${fix(C.mean_f1, 1)} %`, `accuracy ${fix(C.accuracy, 1)} %`,
    ...heights.map(k => `mIoU3 within ${+k.slice(6)} m ${fix(C[k].lenient, 1)} % lenient, ${fix(C[k].strict, 1)} % strict`)].join(" · ")));
  const shown = C.names.map((_, i) => i).filter(i => occurs[i]), share = (v, r) => r ? 100 * v / r : 0;
  const matrix = table(["reference \\ found", ...shown.map(i => C.names[i]), "none", "cells"], []);
  for (const i of shown) {
    const row = C.confusion[i], total = row.reduce((a, b) => a + b, 0), tr = el("tr");
    tr.append(el("td", C.names[i]));
    for (const j of [...shown, C.names.length]) { const s = share(row[j], total);
      tr.append(el("td", fix(s, 1) + " %", {style: `background: color-mix(in srgb, var(--${i === j ? "ok" : "failed"}) ${(s * .6).toFixed(0)}%, transparent)`, title: `${whole(row[j])} cells`})); }
    tr.append(el("td", whole(total)));
    matrix.append(tr);
  }
  matrix.id = "confusion";
  const scores = table(["class", "IoU %", "F1 %"], shown.map(i => [C.names[i], fix(C.iou[i], 1), fix(C.f1[i], 1)]));
  box.append(within("two", within("scroll", scores), within("scroll", matrix)));
};

if (D.metrics) {
  const M = D.metrics, box = $("scores"), U = M.uncertainty;
  heightScores(M, box);
  if (M.classes) classScores(M.classes, box);
  if (U && U.cells) box.append(el("h3", "Uncertainty"),
    el("p", `${fix(U.within_1, 1)} % of the errors lie within one sigma, ${fix(U.within_2, 1)} % within two (normal errors: 68 and 95).`), calibration(U));
} else drop("accuracy");
