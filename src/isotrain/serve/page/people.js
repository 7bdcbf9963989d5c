/* The people who consented: renamed, merged, split, thinned out, forgotten; and the last step taken back. */

import { ask, button, counted, el, field, fresh, link, mark, say, tick } from "./dom.js";
import { bus, call, get } from "./server.js";

const unfinished = ({ finished }) => finished ? "" : " Its last bytes go from the server’s files once there is room, or nobody reads them; that is tried by itself.";
const again = () => bus.dispatchEvent(new Event("again"));
const called = (person) => person.name || `Person ${person.id}`;
const crop = (face) => el("img", { class: "crop", src: `/api/faces/${face.id}/crop`, alt: "", loading: "lazy", width: 64, height: 64 });

async function changed(answer, words) {
  if (!answer) return;
  say(words(answer));
  again();
}

const send = (method, path, body) => async () => { await call(method, path, body()); return true; };

async function rename(person) {
  const name = el("input", { type: "text", value: person.name || "", maxlength: 200, autocomplete: "off", required: true });
  const done = await ask({
    title: `Another name for ${called(person)}`, yes: "Rename", body: field("Name", name),
    send: async () => {
      if (!name.value.trim()) return mark(name, "Type a name.");
      await call("PATCH", `/api/people/${person.id}`, { name: name.value.trim() });
      return name.value.trim();
    },
  });
  await changed(done, (to) => `${called(person)} is now called ${to}.`);
}

async function merge(person, people) {
  const into = el("select", {}, people.filter((one) => one.id !== person.id).map((one) => el("option", { value: one.id }, called(one))));
  const done = await ask({
    title: `${called(person)} is the same person as …`, yes: "Merge",
    body: [field("Who keeps the name", into), el("p", { class: "soft" }, `The faces of ${called(person)} go there. Undo takes it back.`)],
    send: send("POST", `/api/people/${person.id}/merge`, () => ({ into: people.find((one) => String(one.id) === into.value).id })),
  });
  await changed(done, () => "Two became one person. Undo takes it back.");
}

/** Faces of a person to tick; `chosen` gives their ids, or says what is wrong with the choice and gives nothing. */
function picking(person, legend, missing, all) {
  const faces = person.faces.map((face, n) => {
    const { box, node } = tick([crop(face), el("span", { class: "unseen" }, `Face ${n + 1} of ${person.faces.length}`)], { id: fresh("face") });
    return { id: face.id, box, node };
  });
  const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
  const chosen = () => {
    const ids = faces.filter((face) => face.box.checked).map((face) => face.id);
    wrong.textContent = !ids.length ? missing : ids.length === faces.length ? all : "";
    wrong.hidden = !wrong.textContent;
    if (wrong.hidden) return ids;
    faces[0].box.focus();
  };
  return { node: el("fieldset", { class: "faces" }, el("legend", {}, legend), faces.map((face) => face.node), wrong), chosen };
}

async function split(person) {
  const faces = picking(person, "These are somebody else:", "Tick the faces that are somebody else’s.",
    "At least one face stays: if all are another’s, rename the person.");
  const name = el("input", { type: "text", maxlength: 200, autocomplete: "off", required: true });
  const { box: agreed, node: agreeing } = tick("The other person has agreed too that the name and these faces are kept here.", { id: fresh("agreed"), required: true });
  const unasked = el("p", { class: "wrong", id: `${agreed.id}-wrong`, hidden: true });
  const done = await ask({
    title: `Which faces are not ${called(person)}?`, yes: "Split",
    body: [faces.node, field("The other person’s name", name), agreeing, unasked],
    send: async () => {
      const chosen = faces.chosen();
      if (!chosen) return;
      mark(name, "");
      mark(agreed, "");
      if (!name.value.trim()) return mark(name, "Type a name.");
      if (!agreed.checked) return mark(agreed, "Without this consent the faces stay where they are.");
      await call("POST", `/api/people/${person.id}/split`, { faces: chosen, name: name.value.trim(), consent: true });
      return true;
    },
  });
  await changed(done, () => "One became two people. Undo takes it back.");
}

async function erase(person) {
  const faces = picking(person, "These are erased:", "Tick the faces to erase.", "These are all of them: Forget erases the name too.");
  const erased = new Set();
  let rest = "";
  const done = await ask({
    title: `Which faces of ${called(person)} are erased?`, danger: true, yes: "Erase for good", no: "Keep all",
    body: [faces.node, el("p", {}, "The small pictures and their numbers are erased for good: this cannot be taken back, nor can any step before it. ",
      "The photos stay, and may still be named by the faces that are left.")],
    send: async () => {
      const left = faces.chosen()?.filter((id) => !erased.has(id));
      for (const id of left || []) {
        rest = unfinished(await call("DELETE", `/api/faces/${id}`));
        erased.add(id); // if the next one fails, this one is not asked for again
      }
      return left && erased.size;
    },
  });
  if (!done && erased.size) again();
  await changed(done, (many) => `${counted(many, "face")} of ${called(person)} ${many === 1 ? "is" : "are"} erased.${rest}`);
}

async function forget(person) {
  const done = await ask({
    title: `Forget ${called(person)}?`, danger: true, yes: "Forget for good", no: "Keep",
    body: el("p", {}, `The name, the consent and ${counted(person.faces.length, "face")} of ${called(person)} are erased for good: `,
      "this cannot be taken back, nor can any step before it. The photos stay until you delete them, with nobody’s name on that face."),
    send: () => call("DELETE", `/api/people/${person.id}`),
  });
  await changed(done, (answer) => {
    const n = answer.photos.length;
    const shown = n ? ` ${counted(n, "photo")} still ${n === 1 ? "shows" : "show"} the face, until you delete ${n === 1 ? "it" : "them"}.` : "";
    return `${called(person)} is forgotten.${shown}${unfinished(answer)}`;
  });
}

async function undo() {
  try {
    const answer = await call("POST", "/api/undo");
    say(answer?.undone ? `Taken back: ${answer.undone}.` : "The last step was taken back.");
    again();
  } catch (error) {
    say(error.message, "bad");
  }
}

const BASES = { given: "agreed", guardian: "a parent or guardian agreed", household: "of the household" };
function agreement({ name, consent }) {
  if (!consent) return "No consent is recorded.";
  const basis = BASES[consent.basis] || consent.basis || "agreed";
  return `Consent: ${basis}${consent.by && consent.by !== name ? ` (${consent.by})` : ""}${consent.on ? `, ${consent.on}` : ""}${consent.until ? `, until ${consent.until}` : ""}.`;
}

function card(person, people) {
  const who = called(person);
  const several = person.faces.length > 1;
  return el("li", { class: "card" },
    el("h2", {}, who),
    person.also?.length > 0 && el("p", { class: "soft" }, `Also called ${person.also.join(", ")}.`),
    el("p", { class: "soft" }, `${counted(person.faces.length, "face")}. ${agreement(person)}`),
    el("div", { class: "row faces" }, person.faces.slice(0, 12).map((face, n) => face.photo
      ? link(crop(face), `#/photos/${encodeURIComponent(face.photo)}`, { "aria-label": `Photo with face ${n + 1} of ${who}` })
      : crop(face))),
    el("div", { class: "row" },
      button("Rename", () => rename(person), { "aria-label": `Rename ${who}` }),
      people.length > 1 && button("Merge", () => merge(person, people), { "aria-label": `Merge ${who} with another person` }),
      several && button("Split", () => split(person), { "aria-label": `Split ${who} into two people` }),
      several && button("Erase faces", () => erase(person), { class: "danger-quiet", "aria-label": `Erase faces of ${who}` }),
      button("Forget", () => forget(person), { class: "danger-quiet", "aria-label": `Forget ${who}` })));
}

export async function peopleView({ main, signal }) {
  const { people } = await get("/api/people", signal);
  const head = el("div", { class: "head" }, el("h1", {}, "People"), button("Undo the last step", undo));
  if (!people.length) {
    return main.replaceChildren(head, el("div", { class: "empty" },
      el("h2", {}, "Nobody is named yet"),
      el("p", {}, "Open a photo with a face in it and choose ", el("b", {}, "Name this person"), ". You are asked for the person’s consent; without it nothing of a face is kept."),
      link("To the photos", "#/photos", { class: "button main" })));
  }
  main.replaceChildren(head, el("p", { class: "soft" }, "Kept with consent, on this machine alone. Forgetting somebody erases all of it for good."),
    el("ul", { class: "cards" }, people.map((person) => card(person, people))));
}
