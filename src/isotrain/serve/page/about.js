/* What the parts know and what they learned from, as the server tells it; and what happens to photos. */

import { el, link, size } from "./dom.js";
import { me } from "./server.js";

const TITLES = { class: "Class", objects: "Objects", faces: "Faces", caption: "Caption" };

function told(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === null || value === undefined || value === "") return "–";
  if (Array.isArray(value)) return value.length > 0 && value.every((one) => typeof one !== "object") ? value.join(", ") : value.map((one) => JSON.stringify(one)).join("; ") || "none";
  if (typeof value === "object") return el("dl", { class: "reasons" }, Object.entries(value).map(pair));
  return typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : String(value);
}
const pair = ([name, value]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, told(value))];

export async function aboutView({ main }) {
  const { limits } = me;
  const parts = Object.entries(me.about || {}).map(([name, about]) => el("section", { class: "card" },
    el("h2", {}, TITLES[name] || name),
    about ? (typeof about === "object" ? el("dl", { class: "reasons" }, Object.entries(about).filter(([key, value]) => key !== "part" && !(Array.isArray(value) && !value.length)).map(pair)) : el("p", {}, String(about)))
      : el("p", { class: "soft" }, "This part is switched off on this server.")));
  main.replaceChildren(
    el("h1", {}, "What the parts know"),
    el("p", { class: "lead" }, "Each part answers only for pictures like those it learned from, and says so where it does not know."),
    el("div", { class: "cards wide" }, parts),
    el("section", {}, el("h2", {}, "What happens to photos, faces and names"),
      el("ul", {},
        el("li", {}, "They stay on the machine that serves this page. Nothing is sent anywhere else, and this page has no outside address in it."),
        el("li", {}, "A photo is kept as a picture without its camera’s notes (place, time, device), until you delete it."),
        el("li", {}, "A face is kept only under a name whose person agreed. Forgetting a person erases name, faces and numbers for good."))),
    el("section", {}, el("h2", {}, "This server"),
      el("dl", { class: "facts" },
        [["Version", me.version], limits.file_bytes && ["Largest file", size(limits.file_bytes)], limits.pixels && ["Largest photo", `${Math.round(limits.pixels / 1e6)} megapixels`],
          limits.files && ["Files at once", String(limits.files)]].filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      el("p", {}, "For programs: ", link("the API’s description (OpenAPI)", "/api/openapi.json"), ".")));
}
