/* One photo: what was seen in it, drawn and in words, and what the parts do not know. */

import { order } from "./album.js";
import { ask, button, counted, day, el, lasting, link, percent, say } from "./dom.js";
import { naming } from "./naming.js";
import { saving } from "./saving.js";
import { bus, call, get } from "./server.js";
import { cut, stage, told, tones } from "./stage.js";

const MANY = 12; // objects that are listed at once
const soft = (words) => el("p", { class: "soft" }, words);
const switched = "This part is switched off on this server.";

/** What one part says of a photo; what it does not know stands right below its name, before what it says. */
function part(title, { unknown = [] }, ...nodes) {
  const name = /^\w+/.exec(title)[0].toLowerCase();
  const own = unknown.filter((words) => words.startsWith(`${name}: `)).map((words) => words.slice(name.length + 2));
  return el("section", { class: "part" }, el("h2", {}, title),
    own.map((words) => el("p", { class: "caveat" }, `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`)), nodes);
}

function bar(name, share, main) {
  return el("li", { class: main ? "first" : "" }, el("span", {}, name),
    el("meter", { min: 0, max: 1, value: share, "aria-label": `${name}: how probable` }), el("span", { class: "number" }, percent(share)));
}

function classPart(sight) {
  const seen = sight.class;
  if (!seen) return part("Class", sight, soft(switched));
  const others = (seen.others || []).filter(([, share]) => share >= 0.01).slice(0, 4);
  const list = el("ul", { class: "bars" }, seen.name && bar(seen.name, seen.probability, true), others.map(([name, share]) => bar(name, share, false)));
  if (seen.known) return part("Class", sight, list);
  return part("Class", sight, (seen.name || others.length > 0) && el("details", {}, el("summary", {}, "Its guess all the same"), list));
}

function objectsPart(sight, show) {
  const { objects } = sight;
  if (!objects) return part("Objects", sight, soft(switched));
  if (!objects.length) return part("Objects", sight, soft("None of the kinds that this part knows."));
  const tone = tones(objects);
  const thing = (object) => el("li", {},
    button([el("span", { class: `dot ${tone(object.name)}` }), el("span", {}, object.name), el("span", { class: "number" }, percent(object.score))],
      () => show(object.box), { class: "thing", "aria-label": `Show ${object.name}, ${percent(object.score)} sure, large` }));
  const list = (some) => el("ul", { class: "things" }, some.map(thing));
  return part(`Objects (${objects.length})`, sight, list(objects.slice(0, MANY)),
    objects.length > MANY && el("details", {}, el("summary", {}, `${objects.length - MANY} more, less sure`), list(objects.slice(MANY))));
}

function facesPart(sight, image, show, named) {
  const { faces } = sight;
  if (!faces) return part("Faces", sight, soft(switched));
  if (!faces.length) return part("Faces", sight, soft("No face was found."));
  return part(`Faces (${faces.length})`, sight, el("ul", { class: "people-here" }, faces.map((face) => {
    const who = face.person || "Not named";
    const sure = face.person && face.probability !== null && face.probability !== undefined ? `${percent(face.probability)} sure` : "";
    return el("li", {},
      button(cut(image, face.box), () => show(face.box), { class: "plain", "aria-label": `Show face ${face.face}${face.person ? `, ${face.person},` : ""} large` }),
      el("div", {}, el("b", {}, who), sure && el("span", { class: "soft" }, ` ${sure}`),
        el("div", { class: "row" },
          button(face.person ? `Not ${face.person}?` : "Name this person", () => named(face),
            { "aria-label": face.person ? `Face ${face.face} is not ${face.person}? Name it` : `Name the person of face ${face.face}` }),
          face.person && link("Person", "#/people", { class: "button quiet", "aria-label": `${face.person} among the people` }))));
  })));
}

function captionPart(sight) {
  const { caption } = sight;
  if (!caption) return null;
  const words = caption.text && el("blockquote", { class: "caption" }, caption.text);
  return part("Caption", sight, words && (caption.known ? words : el("details", {}, el("summary", {}, "Its guess all the same"), words)));
}

/** What is not known beyond a single part. */
function unknown(sight) {
  const rest = (sight.unknown || []).filter((words) => !/^(class|objects|faces|caption): /.test(words));
  return el("section", { class: rest.length ? "note" : "soft" }, rest.length > 0 && el("ul", {}, rest.map((words) => el("li", {}, words))),
    el("p", {}, "The parts say where they do not know. ", link("What they learned from", "#/about")));
}

function facts(photo) {
  const total = Object.values(photo.sight.seconds || {}).reduce((sum, spent) => sum + spent, 0);
  const rows = [["Size", `${photo.width} × ${photo.height} pixels`], ["Added", day(photo.added)], total && ["Looked at in", lasting(total)]];
  return el("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

export async function photoView({ main, id, signal }) {
  const path = `/api/photos/${encodeURIComponent(id)}`;
  const photo = await get(path, signal);
  const image = el("img", { alt: photo.sight ? told(photo) : photo.name, src: `${path}/picture`, draggable: "false", decoding: "async" });

  async function named(face) {
    const said = await naming(photo, face, cut(image, face.box));
    if (!said) return;
    say(`Kept under the name ${said}. To erase it: People, Forget.`);
    bus.dispatchEvent(new Event("again"));
  }
  async function gone() {
    const done = await ask({
      title: "Delete this photo?", danger: true, yes: "Delete the photo", no: "Keep it",
      body: el("p", {}, "The photo and what was seen in it are erased from this server for good. Your own file is not touched. ",
        "Faces that were named stay with their person until that person is forgotten."),
      send: () => call("DELETE", path),
    });
    if (!done) return;
    const kept = done.faces_kept;
    say(`The photo was deleted.${kept ? ` ${counted(kept, "face")} of it ${kept === 1 ? "stays" : "stay"} in the gallery until its person is forgotten.` : ""}`);
    location.hash = "#/photos";
  }
  if (!photo.sight) {
    main.replaceChildren(link("← All photos", "#/photos", { class: "button quiet" }), el("h1", { class: "small" }, photo.name),
      soft(photo.failed ? "It could not be looked at: the server’s log says why. It is kept until you delete it." : "Is being looked at …"),
      el("div", { class: "photo" }, image), el("p", {}, button("Delete the photo", gone, { class: "danger-quiet" })));
    if (photo.failed) return undefined;
    const timer = setTimeout(() => bus.dispatchEvent(new Event("again")), 2000);
    return signal.addEventListener("abort", () => clearTimeout(timer));
  }
  const on = stage(photo, image, named, signal);
  const save = saving("Save the drawing", `${path}/drawn`, `${photo.name.replace(/\.\w+$/, "")}-seen.png`);
  const aim = () => save.setAttribute("href", `${path}/drawn?layers=${on.shown().join(",")}`);
  on.node.addEventListener("change", aim);
  aim();

  const at = order.ids.indexOf(photo.id);
  const step = (words, to, rel) => to !== undefined && link(words, `#/photos/${encodeURIComponent(to)}`, { class: "button quiet", rel });
  const way = el("nav", { class: "row way", "aria-label": "Photos" }, link("← All photos", "#/photos", { class: "button quiet" }),
    at > 0 && step("Previous", order.ids[at - 1], "prev"), at >= 0 && step("Next", order.ids[at + 1], "next"));
  const { sight } = photo;
  main.replaceChildren(way, el("h1", { class: "small" }, photo.name),
    el("div", { class: "photo" }, on.node,
      el("div", { class: "seen" },
        captionPart(sight), facesPart(sight, image, on.point, named), objectsPart(sight, on.point), classPart(sight),
        unknown(sight), facts(photo),
        el("div", { class: "row" }, save, button("Delete the photo", gone, { class: "danger-quiet" })))));
}

