// Two layers over each other with a divide, and a profile between two points.
const layers = Object.fromEntries(D.layers.map(l => [l.name, l]));
const Swipe = (() => {
  const box = $("swipe"), handle = $("handle");
  const at = {zoom: 1, x: 0, y: 0, divide: .5};  // x, y: px of the frame at which the picture's corner lies
  const legend = (id, l) => {
    const shown = $(id);
    shown.replaceChildren();
    if (l.legend?.colours) {
      const bar = el("i", undefined, {style: `background: linear-gradient(90deg, ${l.legend.colours.join(", ")})`});
      shown.append(el("span", `${l.name}: ${l.legend.low}`), bar, el("span", l.legend.high));
    }
    for (const [name, colour] of l.legend?.codes ?? []) {
      const s = el("span");
      s.append(el("i", undefined, {class: "code", style: `background: ${colour}`}), name);
      shown.append(s);
    }
  };
  const show = () => {
    for (const [side, image] of [["left", "over"], ["right", "under"]]) {
      const l = layers[$(side).value];
      $(image).src = l.src;
      legend(side + "-legend", l);
    }
  };
  const place = () => {
    const b = box.getBoundingClientRect();
    at.x = between(b.width * (1 - at.zoom), at.x, 0);
    at.y = between(b.height * (1 - at.zoom), at.y, 0);
    $("stage").style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.zoom})`;
    const cut = b.width ? (at.divide * b.width - at.x) / (at.zoom * b.width) : at.divide;
    $("over").style.clipPath = `inset(0 ${100 * between(0, 1 - cut, 1)}% 0 0)`;
    handle.style.left = 100 * at.divide + "%";
    handle.setAttribute("aria-valuenow", Math.round(100 * at.divide));
    box.classList.toggle("zoomed", at.zoom > 1);
    for (const id of ["under", "over"]) $(id).style.imageRendering = at.zoom > 3 ? "pixelated" : "auto";
    Profile.line();
  };
  const divide = share => { at.divide = between(0, share, 1); place(); };
  const zoom = (factor, cx, cy) => {  // about a point of the frame (px), its middle when absent
    const b = box.getBoundingClientRect(), to = between(1, at.zoom * factor, 12), by = to / at.zoom;
    const px = cx ?? b.width / 2, py = cy ?? b.height / 2;
    Object.assign(at, {zoom: to, x: px - (px - at.x) * by, y: py - (py - at.y) * by});
    place();
  };
  const inFrame = e => { const b = box.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
  const toPicture = ([x, y]) => { const b = box.getBoundingClientRect(); return [(x - at.x) / (at.zoom * b.width), (y - at.y) / (at.zoom * b.height)]; };
  const toFrame = ([u, v]) => { const b = box.getBoundingClientRect(); return [at.x + u * at.zoom * b.width, at.y + v * at.zoom * b.height]; };

  for (const id of ["left", "right"]) { D.layers.forEach(l => $(id).append(el("option", l.name))); $(id).onchange = show; }
  $("left").value = D.layers[0].name;
  $("right").value = D.layers[Math.min(1, D.layers.length - 1)].name;
  $("zoom-in").onclick = () => zoom(1.6);
  $("zoom-out").onclick = () => zoom(1 / 1.6);
  $("whole").onclick = () => zoom(0);

  let held = false;
  handle.onpointerdown = e => { held = true; try { handle.setPointerCapture(e.pointerId); } catch { /* a pointer that is gone */ } e.stopPropagation(); };
  handle.onpointermove = e => { if (held) divide(inFrame(e)[0] / box.getBoundingClientRect().width); };
  handle.onpointerup = handle.onpointercancel = () => held = false;
  handle.onkeydown = e => { const d = {ArrowLeft: -.02, ArrowRight: .02}[e.key]; if (d) { divide(at.divide + d); e.preventDefault(); } };

  const fingers = new Map();
  let moved = 0;  // px since the first finger came down: a drag is no click
  box.onpointerdown = e => { if (!fingers.size) moved = 0; fingers.set(e.pointerId, inFrame(e)); };
  box.onpointermove = e => {
    if (!fingers.has(e.pointerId)) return;
    const others = [...fingers].filter(([id]) => id !== e.pointerId).map(([, p]) => p), old = fingers.get(e.pointerId), now = inFrame(e);
    fingers.set(e.pointerId, now);
    moved += Math.hypot(now[0] - old[0], now[1] - old[1]);
    if (others.length) {
      const [o] = others, apart = p => Math.hypot(p[0] - o[0], p[1] - o[1]);
      zoom(apart(now) / Math.max(apart(old), 1), (now[0] + o[0]) / 2, (now[1] + o[1]) / 2);
    } else if (at.zoom > 1) { at.x += now[0] - old[0]; at.y += now[1] - old[1]; place(); }
  };
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) box.addEventListener(end, e => fingers.delete(e.pointerId));
  box.addEventListener("wheel", e => { if (e.ctrlKey) { e.preventDefault(); zoom(Math.exp(-e.deltaY / 300), ...inFrame(e)); } }, {passive: false});
  box.onclick = e => { if (moved < 6 && !handle.contains(e.target)) Profile.add(toPicture(inFrame(e))); moved = 0; };
  return {show, place, toFrame, box};
})();

const H = D.heights, heightCells = new Uint16Array(Uint8Array.from(atob(H.data), c => c.charCodeAt(0)).buffer);
const height = (c, r) => { const v = heightCells[r * H.width + c]; return v === 65535 ? NaN : H.low + v * H.unit; };
const Profile = (() => {
  let ends = D.profile;
  const line = () => {
    const s = $("line"), b = Swipe.box.getBoundingClientRect();
    s.replaceChildren();
    if (!b.height) return;
    s.setAttribute("viewBox", `0 0 ${b.width} ${b.height}`);
    const points = ends.map(Swipe.toFrame);
    if (points.length === 2) {
      const [p, q] = points, l = {x1: p[0], y1: p[1], x2: q[0], y2: q[1]};
      s.append(svg("line", {...l, stroke: "#000a", "stroke-width": 4}), svg("line", {...l, stroke: "#ffea00", "stroke-width": 2}));
    }
    points.forEach(p => s.append(svg("circle", {cx: p[0], cy: p[1], r: 5, fill: "#ffea00", stroke: "#000", "stroke-width": 1})));
  };
  const draw = () => {
    const plot = $("profile"), [a, b] = ends, n = 400, wide = Math.max(280, plot.clientWidth || 800), right = wide - 10;
    plot.replaceChildren();
    plot.setAttribute("viewBox", `0 0 ${wide} 220`);
    const length = Math.hypot((b[0] - a[0]) * H.width, (b[1] - a[1]) * H.height) * H.step;
    const along = (i, k, size) => between(0, Math.floor((a[k] + (b[k] - a[k]) * i / n) * size), size - 1);
    const heights = Array.from({length: n + 1}, (_, i) => height(along(i, 0, H.width), along(i, 1, H.height)));
    const known = heights.filter(Number.isFinite);
    if (!known.length) { $("profile-text").textContent = "No heights along this line."; return; }
    const low = Math.min(...known), high = Math.max(...known, low + 1);
    const X = i => 46 + (right - 46) * i / n, Y = h => 196 - 180 * (h - low) / (high - low);
    for (let k = 0; k <= 4; k++) {
      const h = low + (high - low) * k / 4;
      plot.append(svg("line", {x1: 46, x2: right, y1: Y(h), y2: Y(h), class: "axis"}), svg("text", {x: 40, y: Y(h) + 4, "text-anchor": "end"}, h.toFixed(1)));
      plot.append(svg("text", {x: X(n * k / 4), y: 214, "text-anchor": k === 4 ? "end" : "middle"}, (length * k / 4).toFixed(0) + " m"));
    }
    let d = "", pen = false;
    heights.forEach((h, i) => { if (Number.isFinite(h)) d += (pen ? "L" : "M") + X(i).toFixed(1) + " " + Y(h).toFixed(1); pen = Number.isFinite(h); });
    plot.append(svg("path", {d, fill: "none", stroke: "var(--plot)", "stroke-width": 1.6}));
    $("profile-text").textContent = `${length.toFixed(0)} m long, ${low.toFixed(1)} to ${high.toFixed(1)} m`;
  };
  const add = point => { ends = ends.length === 2 ? [point] : [...ends, point]; line(); if (ends.length === 2) draw(); };
  const again = () => { Swipe.place(); if (ends.length === 2) draw(); };
  return {line, draw, add, again};
})();

Swipe.show();
Swipe.place();
Profile.draw();
$("under").addEventListener("load", Swipe.place);
addEventListener("resize", Profile.again);
