/* The photos: where they arrive, and a grid of those that are there, searched by what was seen in them. */

import { arriving } from "./arriving.js";
import { button, counted, el, fresh, link, roving, trouble } from "./dom.js";
import { bus, get } from "./server.js";

const PAGE = 48;

/** The order in which photos were last shown, for the way from one to the next. */
export const order = { ids: [] };
bus.addEventListener("left", () => { order.ids = []; });

/** In a few words what was seen in a photo. */
export function gist(sight) {
  const words = [];
  const people = (sight.faces || []).map((face) => face.person).filter(Boolean);
  words.push(...new Set(people));
  const strangers = (sight.faces || []).length - people.length;
  if (strangers) words.push(counted(strangers, people.length ? "more face" : "face"));
  if (sight.class?.name && sight.class.known) words.push(sight.class.name);
  const counts = new Map();
  for (const { name } of sight.objects || []) counts.set(name, (counts.get(name) || 0) + 1);
  for (const [name, n] of counts) words.push(n > 1 ? `${n} × ${name}` : name);
  return words.join(", ");
}

function card(photo) {
  const caption = photo.sight?.caption?.known && photo.sight.caption.text;
  const seen = photo.sight && gist(photo.sight);
  return el("li", {},
    link([
      el("img", { src: `/api/photos/${photo.id}/thumbnail`, alt: "", loading: "lazy", decoding: "async" }),
      el("span", { class: "what" }, !photo.sight ? (photo.failed ? "Could not be looked at" : "Is being looked at …") : seen || caption || "Nothing that the parts know"),
      el("span", { class: "soft name" }, photo.name),
    ], `#/photos/${encodeURIComponent(photo.id)}`));
}

export async function albumView({ main, query, signal }) {
  const grid = el("ul", { class: "grid", "aria-label": "Photos" });
  const settle = roving(grid, "a");
  const found = el("p", { class: "soft", role: "status", id: fresh("found") });
  const more = button("Show more", () => fill(false), { hidden: true });
  const rest = el("div", {});
  const search = el("input", {
    type: "search", id: fresh("search"), value: query.get("q") || "", placeholder: "a name, an object, a word",
    autocomplete: "off", enterkeyhint: "search",
  });
  const tools = el("form", { class: "search", role: "search", onsubmit: (event) => event.preventDefault(), hidden: true },
    el("label", { for: search.id }, "Search your photos"), search);
  let after = null;
  let asked = 0;

  async function fill(anew) {
    const number = (asked += 1);
    const words = search.value.trim();
    const wanted = new URLSearchParams({ limit: PAGE });
    if (words) wanted.set("q", words);
    if (!anew && after !== null) wanted.set("after", after);
    const answer = await get(`/api/photos?${wanted}`, signal);
    if (number !== asked) return; // another search has begun meanwhile
    const cards = answer.photos.map(card);
    const first = anew ? null : cards[0]?.querySelector("a");
    if (anew) {
      grid.replaceChildren(...cards);
      order.ids = [];
    } else grid.append(...cards);
    order.ids.push(...answer.photos.map((photo) => photo.id));
    after = answer.next;
    more.hidden = after === null || after === undefined;
    if (cards.length) settle();
    if (first) first.focus();
    const n = grid.childElementCount;
    tools.hidden = !n && !words;
    const many = more.hidden ? "" : " and more";
    found.textContent = words
      ? (n ? `${counted(n, "photo")}${many} with “${words}”` : `No photo has “${words}”. Search for a person, an object, or a word of a caption or file name.`)
      : n ? counted(n, "photo") + many : "";
    rest.replaceChildren(...(!n && !words ? [empty()] : []));
  }

  function empty() {
    return el("div", { class: "empty" },
      el("h2", {}, "No photos yet"),
      el("p", {}, "Drop one above. You will see what is in it: its class and what it was told from, the objects, the faces, and a caption, each where it knows."),
      el("p", { class: "soft" }, "What the parts know, and what not: ", link("About", "#/about"), "."));
  }

  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(async () => {
      const words = search.value.trim();
      history.replaceState(null, "", words ? `#/photos?${new URLSearchParams({ q: words })}` : "#/photos");
      try {
        await fill(true);
      } catch (error) {
        if (error.name !== "AbortError") rest.replaceChildren(trouble(error, () => fill(true)));
      }
    }, 200);
  });

  const arrive = arriving((photos, refused) => {
    if (signal.aborted) return; // shown when the photos are next
    if (photos.length === 1 && !refused) location.hash = `#/photos/${encodeURIComponent(photos[0].id)}`;
    else fill(true);
  });
  main.replaceChildren(el("h1", {}, "Photos"), arrive, tools, found, grid, el("div", { class: "row centre" }, more), rest);
  await fill(true);
}
