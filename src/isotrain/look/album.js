"use strict";
// Photos are rows of the data block: n name, t thumbnail, d drawing, s width and height, k class, x its probability,
// o objects with their numbers, p people, f faces, c caption, u what is not known. Nothing of it is ever markup.
const LOT = 120, FEW = 14;
const rows = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const make = (kind, text, looks) => {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (looks) made.className = looks;
  return made;
};
const folded = (words) => words.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const objects = (row) => (row.o || []).map((pair) => pair[0]);
for (const row of rows) {
  row.text = folded([row.n, row.k || "", row.c || "", ...objects(row), ...(row.p || [])].join(" \n "));
}

const GROUPS = [
  ["People", "p", (row) => row.p || []],
  ["Shows", "k", (row) => (row.k ? [row.k] : [])],
  ["Objects", "o", objects],
  ["Photos", "m", (row) => [
    ...(row.f ? ["with faces"] : []), ...(row.c ? ["with a caption"] : []),
    ...(!row.k && !row.c && !row.o && !row.p ? ["nothing known"] : []),
  ]],
];
const chosen = new Set();
const opened = new Set();
let found = rows, shown = 0, current = -1, opener = null;

function chips() {
  const box = at("chips");
  const focused = document.activeElement && document.activeElement.dataset.key;
  box.replaceChildren();
  for (const [title, kind, of] of GROUPS) {
    const counts = new Map();
    for (const row of rows) for (const name of of(row)) counts.set(name, (counts.get(name) || 0) + 1);
    if (!counts.size) continue;
    const names = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    const line = make("div");
    line.setAttribute("role", "group");
    line.setAttribute("aria-label", title);
    line.append(make("span", title, "of"));
    names.forEach(([name, count], place) => {
      const key = kind + ":" + name;
      if (place >= FEW && !opened.has(kind) && !chosen.has(key)) return;
      const chip = make("button", name, "chip");
      chip.type = "button";
      chip.dataset.key = key;
      chip.setAttribute("aria-pressed", String(chosen.has(key)));
      chip.append(make("span", String(count)));
      chip.addEventListener("click", () => {
        if (!chosen.delete(key)) chosen.add(key);
        chip.setAttribute("aria-pressed", String(chosen.has(key)));
        find();
      });
      line.append(chip);
    });
    if (names.length > FEW && !opened.has(kind)) {
      const rest = make("button", "all " + names.length, "chip rest");
      rest.type = "button";
      rest.addEventListener("click", () => { opened.add(kind); chips(); });
      line.append(rest);
    }
    box.append(line);
  }
  if (focused) for (const chip of box.querySelectorAll(".chip")) if (chip.dataset.key === focused) chip.focus();
}

function fits(row, words) {
  if (!words.every((word) => row.text.includes(word))) return false;
  for (const key of chosen) {
    const [, , of] = GROUPS.find((group) => group[1] === key[0]);
    if (!of(row).includes(key.slice(2))) return false;
  }
  return true;
}

function find() {
  const words = folded(at("q").value).split(/\s+/).filter(Boolean);
  found = words.length || chosen.size ? rows.filter((row) => fits(row, words)) : rows;
  at("count").textContent = found.length === rows.length ? "All " + rows.length.toLocaleString("en") + " photos"
    : found.length.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " photos";
  shown = 0;
  at("grid").replaceChildren();
  more();
  const state = new URLSearchParams();
  if (at("q").value) state.set("q", at("q").value);
  for (const key of chosen) state.append("f", key);
  history.replaceState(null, "", "#" + state);
}

function more() {
  const lot = document.createDocumentFragment();
  for (const end = Math.min(found.length, shown + LOT); shown < end; shown++) lot.append(tile(found[shown], shown));
  at("grid").append(lot);
}

function tile(row, place) {
  const item = make("li"), link = make("a", undefined, "tile"), picture = make("img"), words = make("p");
  link.href = row.d;
  picture.loading = "lazy";
  picture.decoding = "async";
  picture.src = row.t;
  picture.alt = row.c || [row.k, ...(row.p || []), ...objects(row)].filter(Boolean).join(", ") || row.n;
  words.append(make("strong", row.n.split("/").pop()));
  if (row.p) words.append(make("em", row.p.join(", ")), " ");
  const told = [row.k, row.c || objects(row).join(", ")].filter(Boolean).join(" · ");
  words.append(make("span", told || (row.p ? "" : "nothing known"), "soft"));
  link.append(picture, words);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    opener = link;
    open(place);
  });
  item.append(link);
  return item;
}

function open(place) {
  const row = found[place], facts = at("one-facts");
  current = place;
  at("one-name").textContent = row.n;
  at("one-picture").src = row.d;
  at("one-picture").alt = row.c || row.n;
  facts.replaceChildren();
  const fact = (name, words, looks) => { if (words) facts.append(make("dt", name), make("dd", words, looks)); };
  fact("Caption", row.c);
  fact("Shows", row.k && row.k + " (" + Math.round(100 * row.x) + " %)");
  fact("People", (row.p || []).join(", "));
  fact("Objects", (row.o || []).map(([name, count]) => (count > 1 ? count + " × " : "") + name).join(", "));
  fact("Faces", row.f && String(row.f));
  fact("Size", row.s.join(" × ") + " pixels");
  if (row.u) {
    facts.append(make("dt", "Not known"));
    for (const words of row.u) facts.append(make("dd", words, "soft"));
  }
  at("before").disabled = place === 0;
  at("after").disabled = place === found.length - 1;
  if (!at("one").open) at("one").showModal();
}

const step = (by) => { if (found[current + by]) open(current + by); };
at("before").addEventListener("click", () => step(-1));
at("after").addEventListener("click", () => step(1));
at("close").addEventListener("click", () => at("one").close());
at("one").addEventListener("click", (event) => { if (event.target === at("one")) at("one").close(); });
at("one").addEventListener("close", () => { at("one-picture").removeAttribute("src"); if (opener) opener.focus(); });
at("one").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== at("q") && !at("one").open) { event.preventDefault(); at("q").focus(); }
});
document.querySelector(".find").addEventListener("submit", (event) => event.preventDefault());
let waiting = 0;
at("q").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(find, 80); });
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) more(); },
  { rootMargin: "1200px" }).observe(at("more"));

const state = new URLSearchParams(location.hash.slice(1));
at("q").value = state.get("q") || "";
for (const key of state.getAll("f")) if (GROUPS.some((group) => group[1] === key[0])) chosen.add(key);
chips();
find();
