/* One training: its curve as it grows, stopped and resumed, its scores and pictures, its audit, and what it leaves. */

import { chart, short, summary } from "./chart.js";
import { ask, button, day, el, lasting, link, say } from "./dom.js";
import { saving } from "./saving.js";
import { call, get, lost } from "./server.js";
import { moving, nameOf, STATES } from "./tasks.js";
import { chip } from "./trainings.js";

const AUDIT_SECONDS = 3;

/** Scores, however deep, as rows: parts of the data (held-out, test) are columns. */
export function scoreTable(scores) {
  const entries = Object.entries(scores || {});
  const nested = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const parts = entries.filter(([, value]) => nested(value)).map(([name]) => name);
  const rows = new Map();
  const note = (path, column, value) => {
    if (nested(value)) return Object.entries(value).forEach(([key, one]) => note([...path, key], column, one));
    if (Array.isArray(value) && value.some((one) => typeof one === "object")) return undefined; // drawings and samples, not scores
    const key = path.join(" · ");
    rows.set(key, { ...rows.get(key), [column]: value });
    return undefined;
  };
  for (const [name, value] of entries) {
    if (nested(value)) Object.entries(value).forEach(([key, one]) => note([key], name, one));
    else note([name], "", value);
  }
  const columns = [...(entries.some(([, value]) => !nested(value)) ? [""] : []), ...parts];
  const cell = (value) => typeof value === "number" ? (Number.isInteger(value) ? value.toLocaleString("en") : short(value))
    : Array.isArray(value) ? value.map((one) => (typeof one === "number" ? short(one) : one)).join(", ") : value === null || value === undefined ? "–" : String(value);
  const row = ([key, values]) => el("tr", {}, el("th", { scope: "row" }, key.replaceAll("_", " ")), columns.map((column) => el("td", {}, cell(values[column]))));
  const all = [...rows].slice(0, 60);
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Scores" },
    el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Score"), columns.map((column) => el("th", { scope: "col" }, column || "value")))),
      el("tbody", {}, all.map(row))));
}

function pointTable(points) {
  const last = points.slice(-20).reverse();
  return el("table", {}, el("thead", {}, el("tr", {}, ["Step", "Epoch", "Time", "Loss", "Held-out score"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, last.map((point) => el("tr", {}, el("th", { scope: "row" }, point.step.toLocaleString("en")),
      [short(point.epoch), lasting(point.seconds), short(point.loss), short(point.held_out)].map((value) => el("td", {}, value))))));
}

function gapTable(gaps) {
  const rows = Object.entries(gaps || {});
  if (!rows.length) return null;
  const nested = typeof rows[0][1] === "object" && rows[0][1] !== null;
  const changes = nested ? [...new Set(rows.flatMap(([, row]) => Object.keys(row)))] : ["largest gap"];
  // Changes are rows: there are many of them and few optimizers, which suits a narrow screen.
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Gaps of the audit" },
    el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Change"), (nested ? rows.map(([name]) => name) : ["gap"]).map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, nested
        ? changes.map((change) => el("tr", {}, el("th", { scope: "row" }, change), rows.map(([, row]) => el("td", {}, change in row ? short(row[change] ?? Infinity).replace("–", "diverged") : ""))))
        : rows.map(([name, gap]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, short(gap)))))));
}

function refusedChanges(refused) {
  const all = Object.entries(refused || {});
  return all.length ? el("details", {}, el("summary", {}, `${all.length} more that this net cannot be written in`),
    el("dl", { class: "reasons" }, all.map(([name, why]) => [el("dt", {}, name), el("dd", {}, why)]))) : "";
}

/** The audit of the run: does it depend on how the net was written down? Asked again while it runs. */
function auditing(path, signal) {
  const place = el("div", { "aria-live": "polite" });
  const title = el("h2", { id: "audit" }, "The audit of the run");
  const about = el("p", { class: "soft" }, "Trains the same net again from other descriptions of the same function, pictures inverted or tanh for sigmoid, and tells whether the result depends on it.");
  async function begin() {
    try {
      show(await call("POST", `${path}/audit`) || { state: "running" });
    } catch (error) {
      place.replaceChildren(el("p", { class: "wrong" }, error.message));
    }
  }
  async function look() {
    try {
      show(await get(`${path}/audit`, signal));
    } catch (error) {
      if (error.name === "AbortError") return;
      place.replaceChildren(el("p", { class: "wrong" }, error.message));
    }
  }
  function show(audit) {
    const { state } = audit;
    if (moving(state)) {
      place.replaceChildren(el("p", {}, state === "waiting" ? "The audit waits its turn." : "The audit runs; this takes some minutes. You may leave this page."), el("progress", { "aria-label": "The audit" }));
      const timer = setTimeout(look, 1000 * AUDIT_SECONDS);
      signal.addEventListener("abort", () => clearTimeout(timer));
      return;
    }
    if (state === "done") {
      place.replaceChildren(el("div", { class: "verdict" }, el("p", {}, audit.verdict || "Done.")), gapTable(audit.gaps) || "", refusedChanges(audit.refused),
        el("div", { class: "row" }, link("Open the audit’s report", `${path}/audit/report`, { class: "button", target: "_blank", rel: "noopener" }), button("Audit again", begin)));
      return;
    }
    place.replaceChildren(...[state === "failed" && el("p", { class: "wrong" }, audit.error || audit.verdict || "The audit failed."),
      el("div", { class: "row" }, button(state === "failed" ? "Try the audit again" : "Start the audit", begin))].filter(Boolean));
  }
  return { node: el("section", { "aria-labelledby": "audit" }, title, about, place), look };
}

export async function runView({ main, id, signal }) {
  const path = `/api/trainings/${encodeURIComponent(id)}`;
  let now = await get(path, signal);
  const points = [];
  const curve = chart(signal);
  const words = el("p", { class: "soft" });
  const table = el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "The last steps" });
  const steps = el("details", {}, el("summary", {}, "The last steps as a table"), table);
  const state = el("div", { class: "run-state" });
  const acts = el("div", { class: "row" });
  const after = el("div", {});
  const audit = auditing(path, signal);
  steps.addEventListener("toggle", () => steps.open && table.replaceChildren(pointTable(points)));

  async function act(what, said) {
    try {
      const answer = await call("POST", `${path}/${what}`);
      changed(answer || await get(path, signal));
      say(said);
      if (!source || source.readyState === EventSource.CLOSED) listen();
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, "bad");
    }
  }
  async function remove() {
    const done = await ask({
      title: `Delete ${now.name}?`, danger: true, yes: "Delete the training", no: "Keep it",
      body: el("p", {}, "The net, its curve, its scores and its audit are erased from this server for good. Download the model first if you want to keep it."),
      send: async () => { await call("DELETE", path); return true; },
    });
    if (!done || signal.aborted) return;
    say("The training was deleted.");
    location.hash = "#/trainings";
  }

  // While it stops the button stays, without effect: the focus waits on it for Resume, and does not fall on Delete.
  const stop = button("Stop", () => now.state !== "stopping" && act("stop", "It stops after this step; what it learned is kept."), { class: "main" });
  const resume = button("Resume", () => act("resume", "It goes on where it stopped."), { class: "main" });
  const erase = button("Delete", remove, { class: "danger-quiet" });
  acts.append(stop, resume, erase);

  /** How long it has lasted: told by each point, not by its states alone. */
  function timed() {
    const seconds = Math.max(now.seconds || 0, points.at(-1)?.seconds || 0);
    const share = now.minutes ? Math.min(1, seconds / 60 / now.minutes) : 0;
    state.replaceChildren(chip(now.state),
      el("progress", { max: 1, value: now.state === "done" ? 1 : share, "aria-label": "Time of the training" }),
      el("span", { class: "soft" }, `${lasting(seconds)}${now.minutes ? ` of ${lasting(60 * now.minutes)}` : ""}`));
  }

  let drawn = "";
  function changed(training) {
    if (training.state === "deleted") { // on another page, as this one is left when it deletes
      source?.close();
      say(`${now.name} was deleted.`);
      location.hash = "#/trainings";
      return;
    }
    const before = now.state;
    now = training;
    const held = acts.contains(document.activeElement) ? document.activeElement : null;
    stop.hidden = !["waiting", "running", "stopping"].includes(now.state);
    if (now.state === "stopping") stop.setAttribute("aria-disabled", "true");
    else stop.removeAttribute("aria-disabled");
    resume.hidden = !["stopped", "failed"].includes(now.state);
    // The button that was pressed may be gone now: the focus goes to its neighbour, not to nowhere.
    if (held?.hidden) (resume.hidden ? stop.hidden ? erase : stop : resume).focus();
    timed();
    if (now.state !== before) say(`${now.name}: ${STATES[now.state]}.`, now.state === "failed" ? "bad" : "");
    const key = JSON.stringify([now.state, now.error, now.scores, now.pictures]);
    if (key === drawn) return;
    drawn = key;
    leaves();
  }

  /** What a training leaves once it has stopped. */
  function leaves() {
    const over = ["done", "stopped"].includes(now.state);
    const file = encodeURIComponent;
    const scores = now.scores && Object.keys(now.scores).length > 0;
    after.replaceChildren(...[
      now.state === "failed" && el("div", { class: "trouble", role: "alert" }, el("p", {}, now.error || "It failed, and did not say why.")),
      scores && el("section", {}, el("h2", {}, "Scores"), scoreTable(now.scores)),
      now.pictures?.length > 0 && el("section", {}, el("h2", {}, "Pictures"), el("div", { class: "pictures" }, now.pictures.map((name) => {
        const title = name.replace(/^.*\//, "").replace(/\.\w+$/, "").replaceAll(/[-_]/g, " ");
        return el("figure", {}, link(el("img", { src: `${path}/pictures/${file(name)}`, alt: `Picture ${title}`, loading: "lazy" }), `${path}/pictures/${file(name)}`, { target: "_blank", rel: "noopener" }),
          el("figcaption", {}, title));
      }))),
      now.state === "done" && audit.node,
      over && el("section", {}, el("h2", {}, "Take it with you"),
        el("p", { class: "soft" }, "The model works without this server: isotrain predict FOLDER picture.jpg. ONNX runs without PyTorch too."),
        el("div", { class: "row" },
          saving("Model (zip)", `${path}/model`, `${now.name}.zip`), saving("Model (ONNX)", `${path}/model?format=onnx`, `${now.name}.onnx`),
          saving("Report (HTML)", `${path}/report`, `${now.name}.html`), link("Read the report", `${path}/report`, { class: "button", target: "_blank", rel: "noopener" }))),
    ].filter(Boolean));
    if (now.state === "done") audit.look();
  }

  let source = null;
  function listen() {
    source?.close();
    points.length = 0; // a new stream starts with all points so far
    source = new EventSource(`${path}/events`);
    source.addEventListener("point", (event) => {
      const point = JSON.parse(event.data);
      // A stream that is taken up again may repeat what is here.
      if (points.length && point.step <= points.at(-1).step) {
        const at = points.findIndex((one) => one.step >= point.step);
        points.splice(at, points.length - at);
      }
      points.push(point);
      curve.draw(points);
      words.textContent = summary(points);
      timed();
      if (steps.open) table.replaceChildren(pointTable(points));
    });
    source.addEventListener("state", (event) => {
      changed(JSON.parse(event.data));
      if (!moving(now.state)) source.close(); // nothing more will come
    });
    source.addEventListener("error", () => { if (source.readyState !== EventSource.OPEN && moving(now.state)) check(); });
  }
  async function check() {
    try {
      if (!(await fetch("/healthz", { cache: "no-store", signal })).ok) lost();
    } catch (error) {
      if (error.name !== "AbortError") lost();
    }
  }
  signal.addEventListener("abort", () => source?.close());
  // A browser keeps few connections to one server: a tab that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source?.close();
    else if (moving(now.state)) listen();
  }, { signal });

  main.replaceChildren(
    el("nav", { class: "row way", "aria-label": "Trainings" }, link("← All trainings", "#/trainings", { class: "button quiet" })),
    el("h1", {}, now.name), el("p", { class: "soft" }, `${nameOf(now.task)}, begun ${day(now.created)}`),
    state, acts, el("section", { "aria-label": "Curve", class: "card" }, curve.node, words, steps), after);
  words.textContent = summary(points);
  changed(now);
  curve.draw(points);
  listen();
}
