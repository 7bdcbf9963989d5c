/* Elements, words for screen readers, and dialogs. Text is only ever set as text: names and file names are data. */

const SVG = "http://www.w3.org/2000/svg";

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "value" || name === "checked") node[name] = value;
  else if (name === "style") throw new Error("the page's policy allows no style attributes: use a class");
  else node.setAttribute(name, value === true ? "" : value);
}

function made(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) set(node, name, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element: el("p", { class: "soft" }, "words", el("b", {}, "more")). `onclick` and the like are listeners. */
export const el = (tag, props, ...children) => made(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => made(document.createElementNS(SVG, tag), props, children);

export const button = (words, onclick, props = {}) => el("button", { type: "button", ...props, onclick }, words);
export const link = (words, href, props = {}) => el("a", { ...props, href }, words);

let counter = 0;
export const fresh = (stem) => `${stem}-${++counter}`;

/** A labelled control with a hint, and a place for what is wrong with it. */
export function field(words, control, hint = "") {
  control.id ||= fresh("field");
  const about = hint && el("p", { class: "hint", id: `${control.id}-hint` }, hint);
  const wrong = el("p", { class: "wrong", id: `${control.id}-wrong`, hidden: true });
  control.setAttribute("aria-describedby", [about && about.id, wrong.id].filter(Boolean).join(" "));
  return el("div", { class: "field" }, el("label", { for: control.id }, words), control, about, wrong);
}

/** Say beside a control what is wrong with it, and go there; "" takes it back. */
export function mark(control, words) {
  const wrong = document.getElementById(`${control.id}-wrong`);
  wrong.textContent = words;
  wrong.hidden = !words;
  control.toggleAttribute("aria-invalid", Boolean(words));
  if (words) {
    control.setAttribute("aria-invalid", "true");
    control.focus();
  }
}

/** A box to tick whose words are its label. */
export function tick(words, props = {}) {
  const box = el("input", { type: "checkbox", ...props });
  return { box, node: el("label", { class: "tick" }, box, el("span", {}, words)) };
}

let silence;
/** Say something in passing: seen at the bottom for a while, spoken by screen readers. */
export function say(words, kind = "") {
  const status = document.getElementById("status");
  status.className = `status ${kind}`;
  status.textContent = words;
  clearTimeout(silence);
  silence = setTimeout(() => { status.textContent = ""; }, kind === "bad" ? 12000 : 6000);
}

/** What went wrong, as the server says it, in place; with a way to try again. */
export function trouble(error, again = null) {
  return el("div", { class: "trouble", role: "alert" }, el("p", {}, error.message), again && button("Try again", again));
}

/**
 * A dialog that answers: `send` is called on the way out, and what it throws is shown without closing. Closing gives
 * the focus back to where it was, as the browser does for real dialogs.
 */
export function ask({ title, body, yes, no = "Cancel", danger = false, send }) {
  return new Promise((resolve) => {
    const heading = el("h2", { id: fresh("title"), tabindex: "-1" }, title);
    const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
    const go = el("button", { type: "submit", class: danger ? "danger" : "main" }, yes);
    const back = button(no, () => dialog.close());
    let answer = null;
    const form = el("form", { novalidate: true, onsubmit }, heading, body, wrong, el("div", { class: "row end" }, back, go));
    const dialog = el("dialog", { "aria-labelledby": heading.id, onclose }, form);

    async function onsubmit(event) {
      event.preventDefault();
      if (go.getAttribute("aria-disabled")) return;
      go.setAttribute("aria-disabled", "true");
      wrong.hidden = true;
      try {
        const said = await send();
        if (said === undefined) return; // the form marked what is missing
        answer = said;
        dialog.close();
      } catch (error) {
        wrong.textContent = error.message;
        wrong.hidden = false;
      } finally {
        go.removeAttribute("aria-disabled");
      }
    }
    function onclose() {
      dialog.remove();
      resolve(answer);
    }
    document.body.append(dialog);
    dialog.showModal();
    // What cannot be taken back starts on the way out, so that a hasty Enter does no harm.
    (danger ? back : dialog.querySelector("input, select") || heading).focus();
  });
}

/** Arrow keys move among the items of a grid or a row, which is one stop of the Tab key. */
export function roving(holder, selector) {
  const items = () => [...holder.querySelectorAll(selector)];
  const settle = (chosen) => items().forEach((item) => { item.tabIndex = item === chosen ? 0 : -1; });
  holder.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) settle(item);
  });
  holder.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(document.activeElement);
    if (here < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const top = all[0].getBoundingClientRect().top;
    const across = Math.max(1, all.filter((item) => Math.abs(item.getBoundingClientRect().top - top) < 2).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step === undefined ? -1 : here + step;
    if (to < 0 || to >= all.length) return;
    event.preventDefault();
    all[to].focus();
  });
  return () => settle(items().find((item) => item.tabIndex === 0 && item.hasAttribute("tabindex")) || items()[0]);
}

/** Nothing that is learned is ever quite sure, nor quite impossible. */
export const percent = (share) => share > 0.994 ? "> 99 %" : share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`;
export const counted = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
export const size = (bytes) => bytes >= 1e6 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${Math.ceil(bytes / 1e3)} kB`;

/** Seconds in words: 75 is "1 min 15 s". */
export function lasting(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A time of the server, seconds or words, as people write it here. */
export function day(time) {
  const date = new Date(typeof time === "number" ? time * 1000 : time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
