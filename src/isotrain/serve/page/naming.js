/* A name for a face: asked with consent, in plain words, before anything of a face is kept. */

import { ask, el, field, fresh, mark, tick } from "./dom.js";
import { call, get } from "./server.js";

/** What is kept and for how long; shown wherever consent is asked. */
export function terms() {
  return el("ul", { class: "terms" },
    el("li", {}, el("b", {}, "Kept, on this machine only: "), "the name, this small picture of the face, and a row of numbers that describes it."),
    el("li", {}, el("b", {}, "Used for one thing: "), "to name the same person in your photos here. Nobody else sees it."),
    el("li", {}, el("b", {}, "Erased at any time: "), "People, then Forget: all of it at once, for good."));
}

/** Ask for the name of a face. Gives the name, or null when nothing was kept. */
export async function naming(photo, face, crop) {
  const { people } = await get("/api/people");
  const names = el("datalist", { id: fresh("names") }, people.filter((one) => one.name).map((one) => el("option", { value: one.name })));
  const name = el("input", { type: "text", autocomplete: "off", maxlength: 200, list: names.id, required: true });
  const { box, node } = tick("This person has agreed to it; for a child, a parent has.", { required: true, id: fresh("agreed") });
  const guardian = el("input", { type: "text", autocomplete: "off", maxlength: 200 });
  const until = el("input", { type: "date", min: new Date().toISOString().slice(0, 10) });
  const wrong = el("p", { class: "wrong", id: `${box.id}-wrong`, hidden: true });
  box.setAttribute("aria-describedby", wrong.id);
  return ask({
    title: "Who is this?",
    yes: "Keep this face under the name", no: "Keep nothing",
    body: [
      el("div", { class: "asked" }, crop, el("div", {}, field("Name", name, "A name that is known already adds this face to it."), names)),
      terms(), node, wrong,
      el("details", {}, el("summary", {}, "For a child, or for a limited time"),
        field("Parent or guardian who agreed", guardian, "Empty: the person agreed."),
        field("Keep until", until, "Empty: until the person is forgotten.")),
    ],
    send: async () => {
      const called = name.value.trim();
      mark(name, "");
      mark(box, "");
      if (!called) return mark(name, "Type a name.");
      if (!box.checked) return mark(box, "Without this consent nothing is kept.");
      await call("POST", "/api/people", {
        photo: photo.id, face: face.face, name: called, consent: true, ...(until.value && { until: until.value }),
        ...(guardian.value.trim() && { basis: "guardian", by: guardian.value.trim() }),
      });
      return called;
    },
  });
}
