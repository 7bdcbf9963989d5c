/* Photos arrive: dropped anywhere, chosen, pasted, or taken by the camera; sent one by one, each with its progress. */

import { button, counted, el, say, size } from "./dom.js";
import { bus, Gone, me, upload } from "./server.js";

const TOGETHER = 2; // sent at a time: the net looks while the next one travels
const PICTURE = /\.(jpe?g|png|webp|gif|bmp)$/i;

/** Every file of a drop, of its folders too; each with the path it had there. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
      found.push({ file, path: entry.fullPath.replace(/^\//, "") });
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives a hundred at a time
      const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      if (!some.length) return;
      for (const one of some) await walk(one);
    }
  }
  for (const entry of entries) await walk(entry);
  return found;
}

const waiting = [];
let life = new AbortController(); // ends with the session: nothing of one user's comes to the next one's photos
const list = el("ul", { class: "queue", "aria-label": "Photos on their way" });
let place = null;
let running = 0;
let came = [];
let refused = 0;
let tell = () => {};

/** The place where photos arrive; what is on its way stays so from view to view. `arrived` is called after a lot. */
export function arriving(arrived) {
  tell = arrived;
  const pick = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true, "aria-label": "Choose photos" });
  const camera = el("input", { type: "file", accept: "image/*", capture: "environment", hidden: true, "aria-label": "Take a photo" });
  for (const input of [pick, camera]) {
    input.addEventListener("change", () => {
      add([...input.files]);
      input.value = "";
    });
  }
  place = el("div", { class: "drop" },
    el("p", { class: "lead" }, "Drop photos here"),
    el("p", { class: "soft" }, "or paste one. They are looked at on this machine and stay on it."),
    el("div", { class: "row centre" },
      button("Choose photos", () => pick.click(), { class: "main" }),
      matchMedia("(pointer: coarse)").matches && button("Take a photo", () => camera.click())),
    pick, camera);
  return el("section", { "aria-label": "Add photos" }, place, list);
}

function add(files) {
  const pictures = files.filter((file) => file.type.startsWith("image/") || PICTURE.test(file.name));
  if (files.length && !pictures.length) return say("These are no photos: JPEG, PNG, WebP, GIF or BMP are read.", "bad");
  for (const file of pictures) {
    const share = el("progress", { max: 1, value: 0, "aria-label": `Sending ${file.name}` });
    const state = el("span", { class: "soft" }, "waits");
    const row = el("li", {}, el("span", { class: "name" }, file.name), share, state);
    list.append(row);
    waiting.push({ file, row, share, state, signal: life.signal });
  }
  while (running < TOGETHER && waiting.length) next();
}

async function next() {
  const one = waiting.shift();
  running += 1;
  try {
    await send(one);
    one.row.remove();
  } catch (error) {
    if (one.signal.aborted) return;
    refused += 1;
    failed(one, error.message);
  }
  if (one.signal.aborted) return; // whoever sent it is gone, and what is counted now is another's
  running -= 1;
  if (waiting.length) next();
  else if (!running) settled();
}

// A session ends, or another begins: what waits is dropped, what travels is broken off.
bus.addEventListener("left", (event) => {
  event.detail.unsent += running + waiting.length;
  life.abort();
  life = new AbortController();
  waiting.length = 0;
  running = 0;
  came = [];
  refused = 0;
  tell = () => {};
  list.replaceChildren();
});

async function send({ file, share, state, signal }) {
  const most = me.limits.file_bytes;
  if (most && file.size > most) {
    throw new Error(`It has ${size(file.size)}; at most ${size(most)} are taken. Make it smaller and send it again.`);
  }
  const form = new FormData();
  form.append("files", file, file.name);
  for (let tries = 0; ; tries += 1) {
    signal.throwIfAborted();
    try {
      const answer = await upload("/api/photos", form, (sent) => {
        share.value = sent;
        state.textContent = sent < 1 ? "is sent" : "is looked at";
      }, signal);
      if (answer.refused.length) throw new Error(answer.refused[0].error);
      came.push(...answer.photos);
      return;
    } catch (error) {
      if (error instanceof Gone) {
        state.textContent = "waits for the server";
        await new Promise((wake) => { bus.addEventListener("back", wake, { once: true }); });
        continue;
      }
      if (error.status !== 429 || tries === 5) throw error;
      state.textContent = "waits its turn";
      await new Promise((wake) => { setTimeout(wake, 1000 * Number(error.wait || 2 ** tries)); });
    }
  }
}

function failed({ file, row }, why) {
  const again = () => { row.remove(); add([file]); };
  row.className = "refused";
  row.replaceChildren(
    el("span", { class: "name" }, file.name), el("span", { class: "why" }, why),
    el("span", { class: "row" },
      button("Try again", again, { "aria-label": `Try ${file.name} again` }),
      button("Dismiss", () => row.remove(), { class: "quiet", "aria-label": `Dismiss ${file.name}` })));
}

function settled() {
  const [photos, bad] = [came, refused];
  came = [];
  refused = 0;
  const words = [];
  const seen = photos.filter((photo) => photo.sight);
  const unseen = photos.length - seen.length;
  if (seen.length) words.push(seen.length === 1 ? `${seen[0].name} was looked at.` : `${seen.length} photos were looked at.`);
  if (unseen) words.push(`${counted(unseen, "photo")} ${unseen === 1 ? "is" : "are"} kept, but could not be looked at yet.`);
  if (bad) words.push(`${bad} refused: the reason stands beside each.`);
  say(words.join(" "), bad || unseen ? "bad" : "");
  if (photos.length) tell(photos, bad);
}

// Wherever photos are dropped or pasted on this page, they arrive; a browser would leave the page and show the file.
let depth = 0;
const over = (yes) => place?.classList.toggle("over", yes);
const carries = (event) => [...event.dataTransfer.types].includes("Files");
const elsewhere = () => !me.csrf || location.hash.startsWith("#/trainings/new") || document.querySelector("dialog[open]");

function take(files) {
  if (elsewhere() || !files.length) return;
  if (!place?.isConnected) location.hash = "#/photos";
  add(files);
}

document.addEventListener("dragenter", (event) => { if (carries(event)) over(Boolean((depth += 1))); });
document.addEventListener("dragleave", (event) => { if (carries(event)) over(Boolean((depth = Math.max(0, depth - 1)))); });
document.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
document.addEventListener("drop", async (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  depth = 0;
  over(false);
  take((await dropped(event.dataTransfer)).map(({ file }) => file));
});
document.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  take([...event.clipboardData.files]);
});
