/* The trainings and the data they learn from. */

import { ask, button, counted, day, el, lasting, link, say, size } from "./dom.js";
import { bus, call, get } from "./server.js";
import { moving, nameOf, STATES } from "./tasks.js";

export const chip = (state) => el("span", { class: `chip-state ${state}` }, STATES[state] || state);

/** What was found in data by the doctor: faults with a place, what is wrong and the way out; and what was left out. */
export function findings(report, notes = []) {
  const left = notes.length > 0 && el("ul", {}, notes.map((words) => el("li", {}, words)));
  if (!report.length) return el("div", { class: "report" }, el("p", { class: "good" }, "The data’s doctor found nothing wrong."), left);
  const one = ({ where, what, fix, severity }) => el("li", { class: severity },
    el("b", {}, severity === "error" ? "Error: " : "Warning: "), where && el("code", {}, where), where && " ", what, ". ", fix);
  const first = report.slice(0, 8).map(one);
  const rest = report.slice(8);
  return el("div", { class: "report" }, left, el("ul", {}, first),
    rest.length > 0 && el("details", {}, el("summary", {}, `${rest.length} more`), el("ul", {}, rest.map(one))));
}

export const datasetName = (data) => `${nameOf(data.task)}, ${day(data.created)}`;

export function datasetWords(data) {
  const samples = Object.entries(data.samples).filter(([, n]) => n).map(([part, n]) => `${n.toLocaleString("en")} ${part.replaceAll("_", " ")}`).join(", ");
  return [data.format, samples, data.classes.length && counted(data.classes.length, "class", "classes"), size(data.bytes)].filter(Boolean).join(" · ");
}

async function removeData(data) {
  const done = await ask({
    title: `Delete ${datasetName(data)}?`, danger: true, yes: "Delete the data", no: "Keep it",
    body: el("p", {}, "It is erased from this server for good. Your own files, and the trainings that learned from it, stay; they cannot be resumed."),
    send: async () => { await call("DELETE", `/api/datasets/${data.id}`); return true; },
  });
  if (done) {
    say("The data was deleted.");
    bus.dispatchEvent(new Event("again"));
  }
}

function training(one) {
  return el("li", {}, link([
    el("span", { class: "title" }, one.name || nameOf(one.task)), chip(one.state),
    el("span", { class: "soft" }, [nameOf(one.task), one.step ? `step ${one.step.toLocaleString("en")}` : null, one.seconds ? lasting(one.seconds) : null].filter(Boolean).join(" · ")),
    el("span", { class: "soft when" }, day(one.created)),
  ], `#/trainings/${encodeURIComponent(one.id)}`));
}

function dataCard(data) {
  const name = datasetName(data);
  return el("li", { class: "card" },
    el("h3", {}, name), el("p", { class: "soft" }, `${nameOf(data.task)} · ${datasetWords(data)}`),
    el("details", {}, el("summary", {}, data.report.length ? `What the doctor found (${data.report.length})` : "What the doctor found"), findings(data.report, data.notes)),
    el("div", { class: "row" },
      link("Train on it", `#/trainings/new?${new URLSearchParams({ task: data.task, dataset: data.id })}`, { class: "button", "aria-label": `Train on ${name}` }),
      button("Delete", () => removeData(data), { class: "danger-quiet", "aria-label": `Delete ${name}` })));
}

export async function trainingsView({ main, signal }) {
  const [{ trainings }, { datasets }] = await Promise.all([get("/api/trainings", signal), get("/api/datasets", signal)]);
  const list = el("ul", { class: "rows" }, trainings.map(training));
  const head = el("div", { class: "head" }, el("h1", {}, "Trainings"), link("New training", "#/trainings/new", { class: "button main" }));
  main.replaceChildren(head,
    trainings.length ? list : el("div", { class: "empty" }, el("h2", {}, "No training yet"),
      el("p", {}, "Upload pictures or a text and train a net on them, with nothing to tune. Or try it first on data that is generated: a minute is enough to see a curve."),
      link("Try it", "#/trainings/new?task=classify&minutes=1", { class: "button" })),
    el("section", {}, el("h2", {}, "Your data"),
      datasets.length ? el("ul", { class: "cards" }, datasets.map(dataCard))
        : el("p", { class: "soft" }, "None yet. It is uploaded when you begin a training, and looked at by the data’s doctor first.")));
  if (trainings.some((one) => moving(one.state))) watch();

  function watch() {
    const timer = setTimeout(async () => {
      try {
        const now = await get("/api/trainings", signal);
        // In place, and the focus stays on the training it was on.
        const held = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        list.replaceChildren(...now.trainings.map(training));
        if (held) [...list.querySelectorAll("a")].find((a) => a.getAttribute("href") === held)?.focus();
        if (now.trainings.some((one) => moving(one.state))) watch();
      } catch (error) {
        if (error.name !== "AbortError") say(error.message, "bad");
      }
    }, 3000);
    signal.addEventListener("abort", () => clearTimeout(timer));
  }
}
