/* A photo with what was seen drawn on it, layer by layer; enlarged and moved by mouse, fingers or keys. */

import { button, counted, el, percent, svg, tick } from "./dom.js";

const MOST = 8; // times the size that fits
const STEP = 1.5;
const LABELS = 12; // of objects at once, the surest first; more when the photo is enlarged

/** A box in pixels of the photo, taken a third larger on each side. */
export function cut(image, [left, top, right, bottom], side = 96) {
  const half = 0.65 * Math.max(right - left, bottom - top);
  const canvas = el("canvas", { class: "crop", width: side, height: side, "aria-hidden": "true" });
  const draw = () => canvas.getContext("2d").drawImage(image,
    (left + right) / 2 - half, (top + bottom) / 2 - half, 2 * half, 2 * half, 0, 0, side, side);
  if (image.complete && image.naturalWidth) draw();
  else image.addEventListener("load", draw);
  return canvas;
}

/** Where the class was told from, as glow: clear where it says nothing. */
function glow({ rows, columns, values }) {
  const small = el("canvas", { width: columns, height: rows });
  const pen = small.getContext("2d");
  const dots = pen.createImageData(columns, rows);
  values.forEach((value, n) => {
    // From violet over red to yellow, as warm things glow; alpha says the same for those who see no colours.
    const warm = Math.min(1, Math.max(0, value));
    dots.data.set([255 * Math.min(1, 0.35 + 1.1 * warm), 230 * Math.max(0, warm - 0.35) / 0.65, 150 * (1 - warm), 205 * warm ** 1.1], 4 * n);
  });
  pen.putImageData(dots, 0, 0);
  const large = el("canvas", { class: "glow", width: 16 * columns, height: 16 * rows });
  const brush = large.getContext("2d");
  brush.imageSmoothingQuality = "high";
  brush.drawImage(small, 0, 0, large.width, large.height);
  return large;
}

const trace = (outline) => outline.map((ring) => {
  const places = [];
  for (let n = 0; n < ring.length; n += 2) places.push(`${ring[n]} ${ring[n + 1]}`);
  return `M${places.join("L")}Z`;
}).join("");

function frame([left, top, right, bottom], name) {
  return svg("rect", { class: name, x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) });
}

/** A number for each name, the same in the drawing and in the list. */
export function tones(objects) {
  const names = [...new Set((objects || []).map((object) => object.name))];
  return (name) => `tone-${names.indexOf(name) % 8}`;
}

/**
 * The stage of a photo. `named(face)` is called when a face's label is pressed.
 * Gives its node, `point(box)`, which shows a box large, and `shown()`, the layers that are on.
 */
export function stage(photo, image, named, signal) {
  const { sight } = photo;
  const [H, W] = sight.size;
  const tone = tones(sight.objects);
  const marks = svg("svg", { class: "marks", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const labels = el("div", { class: "labels", "aria-hidden": "true" });
  const layers = {};
  const tags = [];

  const heat = sight.class?.heat;
  if (heat) {
    const canvas = glow(heat);
    const [left, top, right, bottom] = heat.box || [0, 0, W, H];
    Object.assign(canvas.style, {
      left: `${100 * left / W}%`, top: `${100 * top / H}%`,
      width: `${100 * (right - left) / W}%`, height: `${100 * (bottom - top) / H}%`,
    });
    layers.heat = [canvas];
  }
  if (sight.objects?.length) {
    const group = svg("g", {});
    for (const object of sight.objects) {
      const colour = tone(object.name);
      if (object.outline?.length) group.append(svg("path", { class: `mask ${colour}`, d: trace(object.outline), "fill-rule": "evenodd" }));
      group.append(frame(object.box, `box ${colour}`));
      const tag = el("span", { class: `tag ${colour}` }, `${object.name} ${percent(object.score)}`);
      tags.push({ tag, box: object.box, layer: "objects" });
    }
    layers.objects = [group];
  }
  if (sight.faces?.length) {
    const group = svg("g", {});
    for (const face of sight.faces) {
      group.append(frame(face.box, `box face ${face.person ? "known" : ""}`));
      const tag = button(face.person || "Who is this?", () => named(face), { class: `tag face ${face.person ? "known" : ""}`, tabindex: "-1" });
      tags.push({ tag, box: face.box, layer: "faces" });
    }
    layers.faces = [group];
  }
  if (sight.caption?.text) layers.caption = [el("p", { class: "subtitle", "aria-hidden": "true" }, sight.caption.text)];

  marks.append(...["objects", "faces"].flatMap((name) => layers[name] || []));
  tags.sort((a, b) => (b.layer === "faces") - (a.layer === "faces"));
  labels.append(...tags.map(({ tag }) => tag));
  const sheet = el("div", { class: "sheet" }, image, layers.heat, marks, labels);
  const view = el("div", {
    class: "view", tabindex: "0", role: "group",
    "aria-label": "The photo. Plus and minus enlarge and reduce it, arrows move it, 0 fits it.",
  }, sheet, layers.caption);
  view.style.aspectRatio = `${W} / ${H}`;

  // zoom 1 fits; (x, y) is the place of the photo, in shares of it, in the middle of the stage.
  let [zoom, x, y] = [1, 0.5, 0.5];
  let scale = 1;

  function settle() {
    const [width, height] = [view.clientWidth, view.clientHeight];
    if (!width || !height) return;
    scale = zoom * Math.min(width / W, height / H);
    const keep = (at, length, room) => length <= room ? 0.5 : Math.min(1 - room / length / 2, Math.max(room / length / 2, at));
    x = keep(x, W * scale, width);
    y = keep(y, H * scale, height);
    Object.assign(sheet.style, {
      width: `${W * scale}px`, height: `${H * scale}px`,
      transform: `translate(${width / 2 - x * W * scale}px, ${height / 2 - y * H * scale}px)`,
    });
    view.classList.toggle("large", zoom > 1.001);
    place();
    level.textContent = `${Math.round(100 * zoom)} %`;
    out.disabled = zoom <= 1.001;
    into.disabled = zoom >= MOST - 0.001;
    fit.disabled = zoom <= 1.001;
  }

  /**
   * Labels keep their size; each takes the first place at its box where no other label is. An object's label that finds
   * none waits until the photo is enlarged; faces come first, and always have theirs.
   */
  function place() {
    const taken = [];
    const sizes = tags.map(({ tag }) => [tag.offsetWidth, tag.offsetHeight]);
    tags.forEach(({ tag, box, layer }, n) => {
      const [w, h] = sizes[n];
      const [left, top, right, bottom] = box.map((edge) => edge * scale);
      const most = Math.max(0, W * scale - w);
      const within = (at) => Math.min(most, Math.max(0, at));
      const places = [[left, top - h], [left, top], [right - w, top - h], [left, bottom], [left, bottom - h], [right - w, bottom]]
        .map(([a, b]) => [within(a), Math.min(Math.max(0, b), Math.max(0, H * scale - h))]);
      const free = ([a, b]) => taken.every(([c, d, e, f]) => a + w <= c || c + e <= a || b + h <= d || d + f <= b);
      const room = on[layer] && (layer === "faces" || n < LABELS * zoom) && places.find(free);
      const at = room || places[0];
      if (room) taken.push([...at, w, h]);
      tag.classList.toggle("crowded", !room && layer === "objects");
      Object.assign(tag.style, { left: `${at[0]}px`, top: `${at[1]}px` });
    });
  }

  /** Enlarge about a place of the stage (in its pixels), which stays where it is. */
  function enlarge(times, atX = view.clientWidth / 2, atY = view.clientHeight / 2) {
    const next = Math.min(MOST, Math.max(1, zoom * times));
    const grown = scale * next / zoom;
    x += (atX - view.clientWidth / 2) * (1 / scale - 1 / grown) / W;
    y += (atY - view.clientHeight / 2) * (1 / scale - 1 / grown) / H;
    zoom = next;
    settle();
  }
  function move(dx, dy) {
    x -= dx / scale / W;
    y -= dy / scale / H;
    settle();
  }
  function fitted() {
    [zoom, x, y] = [1, 0.5, 0.5];
    settle();
  }

  const into = button("+", () => enlarge(STEP), { "aria-label": "Enlarge", class: "square" });
  const out = button("−", () => enlarge(1 / STEP), { "aria-label": "Reduce", class: "square" });
  const fit = button("Fit", fitted, { "aria-label": "Fit the photo" });
  const level = el("output", { class: "soft level", "aria-label": "Size" }, "100 %");

  view.addEventListener("keydown", (event) => {
    if (event.target !== view || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      "+": () => enlarge(STEP), "=": () => enlarge(STEP), "-": () => enlarge(1 / STEP), 0: fitted,
      ...(zoom > 1 && { ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60) }),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  });
  const at = (event) => {
    const box = view.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // a plain wheel turns the page
    event.preventDefault();
    enlarge(Math.exp(-event.deltaY / 200), ...at(event));
  }, { passive: false });
  view.addEventListener("dblclick", (event) => {
    if (event.target.closest("button")) return;
    if (zoom > 1) fitted();
    else enlarge(2.5, ...at(event));
  });

  const fingers = new Map();
  view.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    fingers.set(event.pointerId, event);
    if (zoom > 1 || fingers.size > 1) view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 2) {
      const [other] = [...fingers.values()].filter((one) => one.pointerId !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      const [[a, b], [c, d]] = [at(event), at(other)];
      enlarge(apart(event) / apart(before), (a + c) / 2, (b + d) / 2);
    } else if (zoom > 1) move(event.clientX - before.clientX, event.clientY - before.clientY);
    fingers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    view.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }

  const words = {
    heat: "Heat map", objects: `Objects${sight.objects ? ` (${sight.objects.length})` : ""}`,
    faces: `Faces${sight.faces ? ` (${sight.faces.length})` : ""}`, caption: "Caption",
  };
  const on = { heat: false, objects: true, faces: true, caption: false };
  function apply(name) {
    for (const node of layers[name] || []) node.classList.toggle("off", !on[name]);
    for (const { tag, layer } of tags) if (layer === name) tag.classList.toggle("off", !on[name]);
    place();
  }
  const boxes = Object.keys(words).map((name) => {
    const { box, node } = tick(words[name], { checked: Boolean(on[name] && layers[name]), disabled: !layers[name] });
    node.classList.add("chip");
    on[name] = box.checked;
    box.addEventListener("change", () => {
      on[name] = box.checked;
      apply(name);
    });
    return node;
  });
  const tools = el("div", { class: "tools" },
    el("fieldset", { class: "layers" }, el("legend", { class: "unseen" }, "Layers on the photo"), boxes),
    el("div", { class: "row zoom" }, out, level, into, fit));

  const watch = new ResizeObserver(settle);
  watch.observe(view);
  signal.addEventListener("abort", () => watch.disconnect());
  Object.keys(layers).forEach(apply);

  return {
    node: el("div", { class: "stage" }, view, tools),
    shown: () => Object.keys(words).filter((name) => on[name] && layers[name]),
    point([left, top, right, bottom]) {
      [x, y] = [(left + right) / 2 / W, (top + bottom) / 2 / H];
      zoom = Math.min(MOST, Math.max(1, 0.45 * Math.min(W / Math.max(1, right - left), H / Math.max(1, bottom - top))));
      settle();
      view.scrollIntoView({ block: "nearest" });
    },
  };
}

/** The photo in words, for who does not see it. */
export function told({ name, sight }) {
  const words = [];
  if (sight.caption?.text && sight.caption.known) words.push(sight.caption.text);
  else if (sight.class?.name && sight.class.known) words.push(sight.class.name);
  if (sight.objects?.length) words.push(counted(sight.objects.length, "object"));
  const people = (sight.faces || []).map((face) => face.person || "somebody unnamed");
  if (people.length) words.push(`with ${people.join(" and ")}`);
  return `Photo ${name}${words.length ? `: ${words.join(", ")}` : ""}`;
}
