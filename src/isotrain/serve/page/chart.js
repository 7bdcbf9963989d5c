/* The curve of a training: the loss on a log axis, the held-out score under it, by step; and the same in words. */

import { counted, el, lasting, svg } from "./dom.js";

const [LEFT, RIGHT, TOP, BELOW, GAP] = [56, 14, 14, 34, 30];

export const short = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return size === 0 ? "0" : size >= 1e5 || size < 1e-3 ? value.toExponential(1) : value.toPrecision(3).replace(/\.?0+$/, "");
};

/** 1, 2 and 5 of each power of ten between two values; only the powers when there are many. */
function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const digit of [1, 2, 5]) ticks.push(digit * 10 ** power);
  }
  const inside = ticks.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  return inside.length > 7 ? inside.filter((value) => Math.abs(Math.log10(value) % 1) < 1e-9) : inside;
}

/** About `n` round values between two. */
function ticks(low, high, n = 4) {
  const raw = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(6)));
  return found;
}

/** At most `most` points, each the middle of those that it stands for. */
function thinned(points, most = 500) {
  if (points.length <= most) return points;
  const width = points.length / most;
  return Array.from({ length: most }, (_, n) => {
    const some = points.slice(Math.floor(n * width), Math.max(Math.floor(n * width) + 1, Math.floor((n + 1) * width)));
    const losses = some.map((point) => point.loss).sort((a, b) => a - b);
    return { ...some[some.length >> 1], loss: losses[losses.length >> 1] };
  });
}

/** The running middle of an odd number of neighbours: steps are noisy, and a mean follows outliers. */
function middles(points) {
  const reach = Math.max(1, Math.round(points.length / 40));
  return points.map((point, n) => {
    const near = points.slice(Math.max(0, n - reach), n + reach + 1).map((one) => one.loss).sort((a, b) => a - b);
    return { ...point, loss: near[near.length >> 1] };
  });
}

/** In words, for who does not see the drawing. */
export function summary(points) {
  if (!points.length) return "No step was measured yet.";
  const [first, last] = [points[0], points.at(-1)];
  const best = points.reduce((a, b) => (b.loss < a.loss ? b : a));
  const scores = points.filter((point) => point.held_out !== null && point.held_out !== undefined);
  const epochs = last.epoch >= 1 ? `, ${counted(Number(short(last.epoch)), "epoch")}` : "";
  const loss = points.length === 1 ? `The loss is ${short(first.loss)}.`
    : `The loss went from ${short(first.loss)} to ${short(last.loss)}, at best ${short(best.loss)} in step ${best.step.toLocaleString("en")}.`;
  return `Step ${last.step.toLocaleString("en")} after ${lasting(last.seconds)}${epochs}. ${loss}${scores.length ? ` The held-out score is ${short(scores.at(-1).held_out)}.` : ""}`;
}

/** A chart that is drawn anew by `draw(points)`, and follows the width of its place. */
export function chart(signal) {
  const holder = el("div", { class: "chart" });
  const reading = el("p", { class: "soft reading" });
  let points = [];

  function render() {
    const width = Math.max(260, Math.round(holder.clientWidth || 640));
    const kept = points.filter((point) => Number.isFinite(point.loss));
    const scores = points.filter((point) => Number.isFinite(point.held_out) && point.held_out !== null);
    const tall = width < 500 ? 190 : 260;
    const low_ = scores.length > 1 ? 90 : 0;
    const height = TOP + tall + (low_ ? GAP + low_ : 0) + BELOW;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `The curve. ${summary(points)}` });
    if (!kept.length) {
      holder.replaceChildren(el("p", { class: "waiting soft" }, "The curve begins with the first measured steps."));
      return;
    }
    const last = Math.max(1, kept.at(-1).step);
    const x = (step) => LEFT + (width - LEFT - RIGHT) * step / last;
    const losses = kept.map((point) => point.loss);
    const log = losses.every((loss) => loss > 0);
    const pad = log ? 1.15 : 0;
    let [low, high] = [Math.min(...losses), Math.max(...losses)];
    if (log) [low, high] = [low / pad, high * pad];
    else if (low === high) [low, high] = [low - 1, high + 1];
    const scaled = log ? Math.log10 : (value) => value;
    const y = (loss) => TOP + tall * (1 - (scaled(loss) - scaled(low)) / (scaled(high) - scaled(low)));
    const level = (at, value) => [svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }),
      svg("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, short(value))];
    const levels = log ? logTicks(low, high) : ticks(low, high);
    picture.append(...(levels.length > 1 ? levels : ticks(low, high)).flatMap((value) => level(y(value), value)));
    for (const value of ticks(0, last, width < 500 ? 3 : 6).filter(Number.isInteger)) {
      picture.append(svg("text", { x: x(value), y: height - BELOW + 18, "text-anchor": "middle" }, value.toLocaleString("en")));
    }
    picture.append(svg("text", { class: "axis", x: LEFT, y: height - 2 }, "step"),
      svg("text", { class: "axis", x: LEFT + 6, y: TOP + 4 }, log ? "loss (log)" : "loss"));
    const line = (some, at) => some.map((point, n) => `${n ? "L" : "M"}${x(point.step).toFixed(1)} ${at(point).toFixed(1)}`).join("");
    const thin = thinned(kept);
    if (thin.length > 12) picture.append(svg("path", { class: "raw", d: line(thin, (point) => y(point.loss)) }));
    picture.append(svg("path", { class: "curve", d: line(thin.length > 12 ? middles(thin) : thin, (point) => y(point.loss)) }));
    if (kept.length === 1) picture.append(svg("circle", { class: "dot", cx: x(kept[0].step), cy: y(kept[0].loss), r: 3 }));
    if (low_) {
      const top = TOP + tall + GAP;
      const values = scores.map((point) => point.held_out);
      let [least, most] = [Math.min(...values), Math.max(...values)];
      if (least === most) [least, most] = [least - 0.5, most + 0.5];
      const z = (value) => top + low_ * (1 - (value - least) / (most - least));
      picture.append(...ticks(least, most, 2).flatMap((value) => level(z(value), value)),
        svg("text", { class: "axis", x: LEFT + 6, y: top - 6 }, "held-out score"),
        svg("path", { class: "score", d: line(scores, (point) => z(point.held_out)) }),
        ...scores.slice(-60).map((point) => svg("circle", { class: "score-dot", cx: x(point.step), cy: z(point.held_out), r: 2.2 })));
    }
    const cross = svg("line", { class: "cross", y1: TOP, y2: height - BELOW, visibility: "hidden" });
    picture.append(cross);
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const step = ((event.clientX - box.left) * width / box.width - LEFT) / (width - LEFT - RIGHT) * last;
      const near = kept.reduce((a, b) => (Math.abs(b.step - step) < Math.abs(a.step - step) ? b : a));
      for (const end of ["x1", "x2"]) cross.setAttribute(end, x(near.step));
      cross.setAttribute("visibility", "visible");
      const score = near.held_out !== null && near.held_out !== undefined ? `, held-out score ${short(near.held_out)}` : "";
      reading.textContent = `Step ${near.step.toLocaleString("en")}, ${lasting(near.seconds)}: loss ${short(near.loss)}${score}`;
    });
    picture.addEventListener("pointerleave", () => {
      cross.setAttribute("visibility", "hidden");
      reading.textContent = "";
    });
    holder.replaceChildren(picture);
  }

  // Points come faster than they can be seen: one drawing for all that came meanwhile.
  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; render(); });
  };
  let wide = 0;
  const watch = new ResizeObserver(() => { if (holder.clientWidth !== wide) { wide = holder.clientWidth; soon(); } });
  watch.observe(holder);
  signal.addEventListener("abort", () => watch.disconnect());
  return { node: el("div", {}, holder, reading), draw(some) { points = some; soon(); } };
}
