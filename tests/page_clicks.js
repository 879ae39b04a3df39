// Clicks on a report as a user does, and tells what then stands on the page (test_report.py).
const errors = []; addEventListener("error", e => errors.push(e.message)); console.error = (...a) => errors.push(a.join(" "));
addEventListener("load", () => setTimeout(() => { const by = id => document.getElementById(id), told = {errors};
  const send = (target, type, x, y) => { const b = target.getBoundingClientRect(); target.dispatchEvent(new PointerEvent(type,
    {clientX: b.left + x * b.width, clientY: b.top + y * b.height, bubbles: true, pointerId: 7})); };
  const s = by("swipe"), handle = by("handle"), at = type => (x, y) => send(s, type, x, y), canvas = by("view3d");
  told.before = by("profile-text").textContent;
  at("pointermove")(.6, .5); told.unmoved = handle.style.left;  // the divide does not follow the pointer
  send(handle, "pointerdown", .5, .5);
  const b = s.getBoundingClientRect();
  handle.dispatchEvent(new PointerEvent("pointermove", {clientX: b.left + .25 * b.width, clientY: b.top + 9, bubbles: true}));
  send(handle, "pointerup", .5, .5); told.divide = handle.style.left;
  at("click")(.2, .2); at("click")(.8, .2); told.after = by("profile-text").textContent; told.still = handle.style.left;
  by("zoom-in").click(); at("click")(.5, .5); at("click")(1, .5); told.near = by("profile-text").textContent;
  const drag = (target, from, to) => { for (const [type, [x, y]] of [["pointerdown", from], ["pointermove", to], ["pointerup", to]])
    send(target, type, x, y); };
  const before = by("stage").style.transform; drag(s, [.5, .5], [.4, .5]); told.panned = by("stage").style.transform !== before;
  told.cut = parseFloat(by("over").style.clipPath.split(" ")[1]);  // what of the upper picture is hidden on the right, percent
  by("whole").click(); told.whole = by("stage").style.transform;
  told.layers = [...by("left").options].map(o => o.value);
  by("left").value = "error"; by("left").onchange();
  told.left = by("left").value; told.ranks = [...document.querySelectorAll("#selection tr")].slice(1).map(r => [...r.cells].map(c => c.textContent));
  document.querySelectorAll("#map rect")[1].dispatchEvent(new MouseEvent("click")); told.tile = by("tile-text").textContent;
  const arrows = () => document.querySelector(".residuals path").getAttribute("d"); told.arrows = [arrows()];
  by("residuals-after").click(); told.arrows.push(arrows());
  told.confusion = [...by("confusion").rows].map(r => [...r.cells].map(c => c.textContent)); told.scores = by("scores").textContent;
  const style = getComputedStyle(document.body), level = c => c.match(/\d+/g).slice(0, 3).reduce((x, y) => x + +y, 0) / 3;
  told.dark = matchMedia("(prefers-color-scheme: dark)").matches; told.page = level(style.backgroundColor); told.ink = level(style.color);
  const solid = () => { const px = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let n = 0, outside = 0; const sum = [0, 0], cells = [0, 0];  // of the left and of the right half
    for (let i = 0; i < px.length; i += 4) if (px[i + 3]) { n++; const side = (i / 4 % canvas.width) < canvas.width / 2 ? 0 : 1;
      sum[side] += px[i]; cells[side]++; }
    for (let x = 0; x < canvas.width; x++) outside += px[4 * x + 3] > 0;
    return {n, outside, brighter: sum[1] / cells[1] - sum[0] / cells[0]}; };
  told.solid = solid(); by("closer").click();
  // The browser's clock runs ahead of its work: what is not decoded or drawn yet is given real time, by work.
  const idle = (done, then, tries = 40) => setTimeout(() => { if (tries && !done()) {
    for (let i = 0; i < 3e7; i++) window.idle = Math.sqrt(i + (window.idle || 0)); return idle(done, then, tries - 1); } then(); }, 600);
  idle(() => by("over").naturalWidth && solid().n > told.solid.n, () => { told.closer = solid(); told.shown = by("over").naturalWidth > 0;
    const r = canvas.getBoundingClientRect(); drag(canvas, [0, .5], [200 * Math.PI / r.width, .5]);  // half a turn
    idle(() => solid().brighter * told.closer.brighter < 0, () => { told.turned = solid();
      told.wide = document.documentElement.scrollWidth; told.window = innerWidth;
      told.sections = [...document.querySelectorAll("section h2")].map(h => h.textContent);
      told.legends = ["left", "right"].map(side => by(side + "-legend").querySelectorAll("span").length);
      told.round = (r => Math.abs(r.width - r.height) < .5)(document.querySelector("#line circle").getBoundingClientRect());
      told.stages = document.querySelectorAll("#stages tr").length;
      document.body.dataset.result = JSON.stringify(told); }); }); }, 1500));
