// The surface in three dimensions: every cell a point, the nearest wins.
{
  const cv = $("view3d"), cx = cv.getContext("2d"), W = cv.width, V = cv.height;
  let turn = H.height > 1.3 * H.width ? -1.2 : -.5, tilt = .75, zoom = 1, colours = null, active = false;
  const texture = new Image();
  texture.onload = () => {
    const t = el("canvas", undefined, {width: H.width, height: H.height}), g = t.getContext("2d");
    g.drawImage(texture, 0, 0, H.width, H.height);
    colours = g.getImageData(0, 0, H.width, H.height).data;
    paint();
  };
  texture.src = (layers["orthoimage"] ?? D.layers[0]).src;
  const skip = Math.max(1, Math.ceil(Math.max(H.width, H.height) / 420));
  // the whole scene fits as it is first seen; the scale then stays while it turns
  const wide = H.width * H.step / 2, deep = H.height * H.step / 2, ca = Math.abs(Math.cos(turn)), sa = Math.abs(Math.sin(turn));
  const fit = .94 * Math.min(W / 2 / (wide * ca + deep * sa), V / 2 / ((wide * sa + deep * ca) * Math.sin(tilt) + H.up * Math.cos(tilt)));
  const paint = () => {
    if (!colours) return;
    const image = cx.createImageData(W, V), px = image.data, depth = new Float32Array(W * V).fill(1e9);
    const s = zoom * fit, ct = Math.cos(turn), st = Math.sin(turn), ci = Math.cos(tilt), si = Math.sin(tilt);
    const size = Math.max(2, Math.ceil(s * H.step * skip * 1.5));
    for (let r = 0; r < H.height; r += skip) for (let c = 0; c < H.width; c += skip) {
      const h = height(c, r);
      if (!Number.isFinite(h)) continue;
      const x = (c - H.width / 2) * H.step, y = (H.height / 2 - r) * H.step, z = h - H.middle, u = x * ct - y * st, v = x * st + y * ct;
      const sx = Math.round(W / 2 + s * u), sy = Math.round(V / 2 - s * (v * si + z * ci)), d = v * ci - z * si, k = 4 * (r * H.width + c);
      for (let Y = Math.max(0, sy); Y < Math.min(V, sy + size); Y++) for (let X = Math.max(0, sx); X < Math.min(W, sx + size); X++) {
        const q = Y * W + X;
        if (d >= depth[q]) continue;
        depth[q] = d;
        px[4 * q] = colours[k]; px[4 * q + 1] = colours[k + 1]; px[4 * q + 2] = colours[k + 2]; px[4 * q + 3] = 255;
      }
    }
    cx.putImageData(image, 0, 0);
  };
  let held = null, waiting = false;
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; paint(); }); } };
  const nearer = f => { zoom = between(.5, zoom * f, 8); later(); };
  $("closer").onclick = () => nearer(1.4);
  $("farther").onclick = () => nearer(1 / 1.4);
  cv.onpointerdown = e => { held = [e.clientX, e.clientY]; active = true; try { cv.setPointerCapture(e.pointerId); } catch { /* a pointer that is gone */ } };
  cv.onpointerup = cv.onpointercancel = () => held = null;
  cv.onpointerleave = () => active = false;  // until clicked, the wheel moves the page
  cv.onpointermove = e => {
    if (!held) return;
    turn += (e.clientX - held[0]) / 200;
    tilt = between(.1, tilt + (e.clientY - held[1]) / 250, 1.5);
    held = [e.clientX, e.clientY];
    later();
  };
  cv.addEventListener("wheel", e => { if (active) { e.preventDefault(); nearer(Math.exp(-e.deltaY / 500)); } }, {passive: false});
}
