/* A training begins: the task, the data (uploaded, known or generated), the minutes. */

import { dropped } from "./arriving.js";
import { button, el, field, fresh, link, mark, say, size } from "./dom.js";
import { call, get, upload } from "./server.js";
import { nameOf, TASKS } from "./tasks.js";
import { datasetName, datasetWords, findings } from "./trainings.js";

const TWIN = "generated", NEW = "new";

function choice(name, value, words, hint, onchange) {
  const box = el("input", { type: "radio", name, value, onchange, id: fresh("choice") });
  const about = el("span", { class: "soft", id: `${box.id}-about` }, hint);
  box.setAttribute("aria-describedby", about.id);
  return { box, node: el("label", { class: "choice" }, box, el("span", {}, el("b", {}, words), " ", about)) };
}

export async function beginView({ main, query, signal }) {
  let { datasets } = await get("/api/datasets", signal);

  const task = el("select", { onchange: () => { offer(); } },
    Object.entries(TASKS).map(([key, { name, about }]) => el("option", { value: key }, `${name}: ${about.toLowerCase()}`)));
  task.value = TASKS[query.get("task")] ? query.get("task") : "classify";
  const sources = el("div", { class: "choices" });
  const needs = el("p", { class: "soft" });
  const minutes = el("input", { type: "number", min: 0.1, max: 1440, step: "any", value: query.get("minutes") || 5, inputmode: "decimal", required: true });
  const name = el("input", { type: "text", maxlength: 100, autocomplete: "off" });
  const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
  let source = query.get("dataset") || TWIN;

  const folder = el("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true, "aria-label": "Choose a folder" });
  const file = el("input", { type: "file", accept: ".zip,.txt,.tsv,.csv,.json,.jsonl", multiple: true, hidden: true, "aria-label": "Choose a file" });
  const share = el("progress", { max: 1, value: 0, "aria-label": "Sending the data" });
  const state = el("span", { class: "soft" });
  const way = el("div", { class: "row", hidden: true }, share, state);
  const result = el("div", {});
  const sending = el("div", { class: "drop small", hidden: true },
    el("p", {}, "Drop a folder, a zip or a text file here"), needs,
    el("div", { class: "row centre" }, button("Choose a folder", () => folder.click()), button("Choose a zip or text", () => file.click())),
    folder, file, way, result);
  folder.addEventListener("change", () => send([...folder.files].map((one) => ({ file: one, path: one.webkitRelativePath || one.name })), folder));
  file.addEventListener("change", () => send([...file.files].map((one) => ({ file: one, path: one.name })), file));
  sending.addEventListener("dragover", () => sending.classList.add("over"));
  sending.addEventListener("dragleave", () => sending.classList.remove("over"));
  sending.addEventListener("drop", async (event) => {
    event.preventDefault();
    sending.classList.remove("over");
    send(await dropped(event.dataTransfer));
  });

  let busy = false;
  async function send(files, input = null) {
    if (!files.length || busy) return;
    busy = true;
    const form = new FormData();
    form.append("task", task.value);
    let bytes = 0;
    for (const { file: one, path } of files) {
      form.append("files", one, path);
      bytes += one.size;
    }
    way.hidden = false;
    share.hidden = false;
    result.replaceChildren();
    try {
      const data = await upload("/api/datasets", form, (sent) => {
        share.value = sent;
        state.textContent = sent < 1 ? `${size(sent * bytes)} of ${size(bytes)}` : "The data’s doctor looks at it …";
      }, signal);
      datasets = [...datasets, data];
      source = String(data.id);
      offer();
      result.replaceChildren(el("h3", {}, `${datasetName(data)} is here`), el("p", { class: "soft" }, datasetWords(data)), findings(data.report, data.notes));
      sending.hidden = false;
      say("The data is here. The doctor’s report stands beside it.");
    } catch (error) {
      if (error.name === "AbortError") return;
      result.replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message), error.report?.length ? findings(error.report) : "");
    } finally {
      busy = false;
      way.hidden = true;
      if (input) input.value = "";
    }
  }

  /** The data that this task can learn from. */
  function offer() {
    const fitting = datasets.filter((data) => data.task === task.value);
    if (source !== TWIN && source !== NEW && !fitting.some((data) => String(data.id) === source)) source = TWIN;
    const pick = (value) => () => { source = value; sending.hidden = value !== NEW; mark(minutes, ""); };
    const all = [
      choice("source", TWIN, "Generated data", "to try it: drawn or written by isotrain", pick(TWIN)),
      ...fitting.map((data) => choice("source", String(data.id), datasetName(data), datasetWords(data), pick(String(data.id)))),
      choice("source", NEW, "Upload data", "it is looked at by the data’s doctor first", pick(NEW)),
    ];
    for (const { box } of all) box.checked = box.value === source;
    sources.replaceChildren(...all.map(({ node }) => node));
    sending.hidden = source !== NEW;
    needs.textContent = TASKS[task.value].data;
    result.replaceChildren();
  }

  async function start(event) {
    event.preventDefault();
    wrong.hidden = true;
    const say_ = (words) => { wrong.textContent = words; wrong.hidden = false; };
    mark(minutes, "");
    const length = Number(minutes.value);
    if (!(length > 0)) return mark(minutes, "How long may it learn? Some minutes: 5, or 0.5 for a try.");
    if (source === NEW) return say_("Upload the data first, or choose generated data.");
    if (go.getAttribute("aria-disabled")) return;
    go.setAttribute("aria-disabled", "true");
    try {
      const dataset = source === TWIN ? null : datasets.find((data) => String(data.id) === source).id;
      const begun = await call("POST", "/api/trainings", {
        task: task.value, dataset, minutes: length, name: name.value.trim() || nameOf(task.value),
      });
      say("The training has begun.");
      location.hash = `#/trainings/${encodeURIComponent(begun.id)}`;
    } catch (error) {
      say_(error.message);
    } finally {
      go.removeAttribute("aria-disabled");
    }
  }

  const go = el("button", { type: "submit", class: "main" }, "Start the training");
  offer();
  main.replaceChildren(
    el("nav", { class: "row way", "aria-label": "Trainings" }, link("← All trainings", "#/trainings", { class: "button quiet" })),
    el("h1", {}, "New training"),
    el("p", { class: "lead" }, "Nothing has to be tuned: say what to learn, from what, and for how long."),
    el("form", { class: "begin", novalidate: true, onsubmit: start, "data-keep": true },
      field("What shall it learn?", task),
      el("fieldset", {}, el("legend", {}, "From which data?"), sources, sending),
      el("div", { class: "pair" }, field("Minutes", minutes, "It can be stopped and resumed at any time."), field("Name", name, "Empty: the task’s.")),
      wrong, el("div", { class: "row" }, go)));
}
