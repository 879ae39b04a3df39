// Where the views and tiles lie, which view serves which tile, and what the adjustment did to the views.
{
  const SHOWN = 200, ids = D.views.map(v => v.id), hue = i => `hsl(${(i * 137.5) % 360} 65% 50%)`;
  const all = D.tiles.flatMap(t => [[t.bounds[0], t.bounds[1]], [t.bounds[2], t.bounds[3]]]).concat(D.views.flatMap(v => v.footprint));
  const xs = all.map(p => p[0]), ys = all.map(p => p[1]), most = (a, f) => a.reduce((x, y) => f(x, y));
  const x0 = most(xs, Math.min), x1 = most(xs, Math.max), y0 = most(ys, Math.min), y1 = most(ys, Math.max), m = 480 / Math.max(x1 - x0, y1 - y0);
  const X = x => 10 + (x - x0) * m, Y = y => 10 + (y1 - y) * m, map = $("map");
  map.setAttribute("viewBox", `0 0 ${20 + (x1 - x0) * m} ${20 + (y1 - y0) * m}`);
  const rects = D.tiles.map(t => {
    const r = svg("rect", {x: X(t.bounds[0]), y: Y(t.bounds[3]), width: (t.bounds[2] - t.bounds[0]) * m, height: (t.bounds[3] - t.bounds[1]) * m,
      fill: `var(--${t.status})`, "fill-opacity": .35, stroke: "var(--card)", "stroke-width": .8});
    r.append(svg("title", {}, `${t.tile}: ${t.status} ${t.reason}`));
    map.append(r);
    return r;
  });
  D.views.forEach((v, i) => {
    const points = v.footprint.map(q => X(q[0]).toFixed(1) + "," + Y(q[1]).toFixed(1)).join(" ");
    const p = svg("polygon", {points, fill: "none", stroke: hue(i), "stroke-width": 1.8, "pointer-events": "none"});
    p.append(svg("title", {}, v.id));
    map.append(p);
  });

  // which view serves which tile: sets are [reference, [sources]], best first
  const served = t => {
    const cells = ids.map(() => []);
    t.sets.forEach(([reference, sources], rank) => {
      cells[reference].unshift(el("b", rank + 1, {class: "rank", title: `reference; sources ${sources.map(s => ids[s]).join(", ")}`}));
      sources.forEach(s => { if (!cells[s].some(e => e.className === "source")) cells[s].push(el("b", "●", {class: "source", title: "source"})); });
    });
    return cells;
  };
  const grid = table(["tile", ...ids], []), rows = D.tiles.slice(0, SHOWN).map(t => {
    const tr = el("tr");
    tr.append(el("td", t.tile));
    served(t).forEach(parts => { const td = el("td"); parts.forEach((p, i) => td.append(i ? " " : "", p)); tr.append(td); });
    grid.append(tr);
    return tr;
  });
  $("selection").append(grid);
  if (D.tiles.length > SHOWN) $("selection-text").textContent = `The first ${SHOWN} tiles; click one on the map for any other, or see plan.json.`;
  const choose = i => {
    const t = D.tiles[i];
    [...rects, ...rows].forEach(e => e.classList.remove("chosen"));
    rects[i].classList.add("chosen");
    if (rows[i]) { rows[i].classList.add("chosen"); $("selection").scrollTop = rows[i].offsetTop - 120; }
    const sets = t.sets.map(([r, s]) => `${ids[r]} with ${s.map(k => ids[k]).join(", ")}`).join("; ");
    $("tile-text").textContent = `${t.tile}: ${t.status}${t.reason ? ", " + t.reason : ""}. ` + (sets ? `References: ${sets}.` : "No view serves it.");
  };
  rects.forEach((r, i) => r.onclick = () => choose(i));

  const times = (i, serves) => D.tiles.filter(t => t.sets.some(s => serves(s, i))).length;
  const t = table(["view", "date", "GSD m", "incidence °", "azimuth °", "reference in", "source in", "camera"], D.views.map((v, i) => [v.id, v.date, fix(v.gsd),
    fix(v.incidence, 1), fix(v.azimuth, 0), times(i, (s, k) => s[0] === k), times(i, (s, k) => s[1].includes(k)), v.camera]), [7]);
  [...t.rows].slice(1).forEach((r, i) => r.cells[0].prepend(el("span", undefined, {class: "dot", style: `background:${hue(i)}`})));
  $("view-table").append(t);
  const rated = new Map(D.pairs.map(p => [p.views.join("\n"), p])), pair = (a, b) => a === b ? undefined : rated.get([a, b].sort().join("\n"));
  const cell = p => p ? `${fix(p.score)} · ${fix(p.angle, 0)}°` : "";
  if (D.pairs.length) $("pairs").append(table(["", ...ids], ids.map(a => [a, ...ids.map(b => cell(pair(a, b)))]))); else $("pairs").textContent = "no pairs";
}

if (D.adjustment) {
  const A = D.adjustment, box = $("adjust");
  box.append(el("p", A.before ? `${whole(A.tracks)} tie points; median residual ${fix(A.before.median_px, 3)} px before, ${fix(A.after.median_px, 3)} px after.`
    : "No tie points were found: the cameras are used as delivered."));
  box.append(within("scroll", table(["view", "observations", "rejected", "median before px", "median after px", "shift px", "flags"], A.views.map(v => [v.id,
    whole(v.observations), v.rejected, fix(v.before, 3), fix(v.after, 3), v.shift.map(x => fix(x)).join(", "), v.flags.join(", ")]), [6])));

  const R = Object.entries(A.residuals ?? {}).filter(([, v]) => v.points), panels = within("residuals"), bar = within("bar");
  const unit = kind => { const l = R.flatMap(([, v]) => v[kind].map(r => Math.hypot(...r))).sort((a, b) => a - b); return Math.max(l[Math.floor(.9 * (l.length - 1))], .01); };
  const dots = v => v.xy.map(([x, y]) => `M${x} ${y}h0`).join(""), text = el("span", undefined, {class: "soft"});
  const buttons = ["before", "after"].map(kind => {
    const b = el("button", kind, {id: "residuals-" + kind});
    b.onclick = () => {
      const u = unit(kind);
      buttons.forEach(o => o.setAttribute("aria-pressed", o === b));
      text.textContent = `Residuals ${kind} the adjustment; the bar in each corner is ${u.toPrecision(2)} px, which a tenth of the vectors exceed.`;
      panels.replaceChildren(...R.map(([name, v]) => {
        const side = Math.max(v.width, v.height), k = .05 * side / u, f = el("figure"), pad = .02 * side;
        const s = svg("svg", {viewBox: `${-pad} ${-pad} ${v.width + 2 * pad} ${v.height + 2 * pad}`, role: "img", "aria-label": `residuals of ${name} ${kind}`});
        const d = v.xy.map(([x, y], i) => `M${x} ${y}l${(v[kind][i][0] * k).toFixed(0)} ${(v[kind][i][1] * k).toFixed(0)}`).join("");
        const colour = kind === "before" ? "var(--plot2)" : "var(--plot)";
        s.append(svg("path", {d, stroke: colour, "stroke-width": 1.1}), svg("path", {d: dots(v), stroke: colour, "stroke-width": 2.6, "stroke-linecap": "round"}),
          svg("path", {d: `M${pad} ${v.height - pad}h${.05 * side}`, stroke: "var(--ink)", "stroke-width": 3}));
        f.append(s, el("figcaption", `${name}: median ${fix(v.median[kind], 3)} px, ${whole(v.points)} tie points`));
        return f;
      }));
    };
    return b;
  });
  if (R.length) { bar.append(within("buttons", ...buttons), text); box.append(el("h3", "Residual vectors"), bar, panels); buttons[0].onclick(); }
} else drop("adjustment");
