/* The start of the page: the one-time link, the session, and which view the address names. */

import { counted, el, field, mark, say, trouble } from "./dom.js";
import { bus, enter, Gone, leave, lost, me } from "./server.js";

/** What stands after # -> the file and the function of its view. Those that the first page does not need come after it. */
const VIEWS = [
  [/^\/photos$/, "./album.js", "albumView"],
  [/^\/photos\/(.+)$/, "./photo.js", "photoView"],
  [/^\/people$/, "./people.js", "peopleView"],
  [/^\/trainings$/, "./trainings.js", "trainingsView"],
  [/^\/trainings\/new$/, "./begin.js", "beginView"],
  [/^\/trainings\/(.+)$/, "./run.js", "runView"],
  [/^\/about$/, "./about.js", "aboutView"],
];

/** A view's function. A browser may remember that a file did not come, so the page is loaded again once it can be. */
async function loaded(file, name) {
  try {
    return (await import(file))[name];
  } catch {
    bus.addEventListener("back", () => location.reload(), { once: true });
    lost();
    throw new Gone();
  }
}

const main = document.getElementById("main");
let life = new AbortController();
let shown = null;

const address = () => (location.hash.startsWith("#/") ? location.hash.slice(1) : "/photos");

/** Show what the address names. A view gets a signal that ends with it. */
async function show({ quietly = false } = {}) {
  if (!me.csrf) return;
  life.abort();
  life = new AbortController();
  const { signal } = life;
  const [path, query] = address().split("?");
  const section = path.split("/")[1];
  for (const a of document.querySelectorAll("#nav a")) {
    if (a.hash === `#/${section}`) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  try {
    const [pattern, file, name] = VIEWS.find(([known]) => known.test(path)) || VIEWS[0];
    const view = await loaded(file, name);
    const id = (pattern.exec(path) || [])[1];
    await view({ main, id: id && decodeURIComponent(id), query: new URLSearchParams(query), signal });
    if (signal.aborted) return;
    const heading = main.querySelector("h1");
    document.title = `${heading.textContent} – isotrain`;
    if (!quietly && shown !== null && shown !== path) {
      heading.tabIndex = -1;
      heading.focus();
      window.scrollTo(0, 0);
    }
    if (shown === null) {
      performance.mark("usable");
      for (const [, other] of VIEWS) import(other).catch(() => {}); // told when that view is opened
    }
    shown = path;
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error instanceof Gone && main.querySelector("h1")) return; // what is there stays; the banner tells
    main.replaceChildren(el("h1", {}, "This cannot be shown"), trouble(error, () => show()),
      el("p", {}, el("a", { href: "#/photos" }, "To the photos")));
  } finally {
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

function signedIn(yes) {
  document.getElementById("nav").hidden = !yes;
  document.getElementById("who").hidden = !yes;
  document.getElementById("user").textContent = me.user || "";
}

/** A user goes: what they were doing goes with them. What was not sent of theirs, in words. */
function part() {
  life.abort();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const left = { unsent: 0 };
  bus.dispatchEvent(new CustomEvent("left", { detail: left }));
  return left.unsent ? ` ${counted(left.unsent, "photo")} ${left.unsent === 1 ? "was" : "were"} not sent.` : "";
}

/** Nobody is signed in: say where the link is, and take it. */
function door(words = "") {
  const unsent = part();
  me.csrf = null;
  signedIn(false);
  const link = el("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  main.replaceChildren(
    el("h1", {}, "Open the link that isotrain serve printed"),
    el("p", { class: "lead" }, "It ends in ", el("code", {}, "#token=…"), " and works once. For another one, type ", el("code", {}, "isotrain serve --link NAME"), "."),
    words && el("div", { class: "trouble", role: "alert" }, el("p", {}, words + unsent)),
    el("form", {
      class: "card narrow", novalidate: true,
      onsubmit: async (event) => {
        event.preventDefault();
        const token = link.value.trim().replace(/^.*#token=/, "");
        if (!token) return mark(link, "Paste the link, or what stands after #token=.");
        await start(token);
      },
    }, field("Or paste the link here", link), el("button", { type: "submit", class: "main" }, "Sign in")),
    el("p", { class: "soft" }, "Photos, faces and names stay on the machine that serves this page."),
  );
  document.title = "Sign in – isotrain";
  main.removeAttribute("aria-busy");
  return unsent;
}

async function start(token) {
  const before = me.user;
  if (token && me.csrf) part(); // the link may be another user's
  try {
    await enter(token);
  } catch (error) {
    if (error instanceof Gone) return bus.addEventListener("back", () => start(token), { once: true });
    return door(token || error.status !== 401 ? error.message : "");
  }
  if (before && before !== me.user) history.replaceState(null, "", location.pathname); // what it names is the other's
  signedIn(true);
  await show();
}

document.getElementById("leave").addEventListener("click", async () => {
  try {
    await leave();
  } catch (error) {
    return say(error.message, "bad");
  }
  const unsent = door();
  history.replaceState(null, "", location.pathname); // photos and words that were searched for
  main.focus();
  say(`Signed out.${unsent}`);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names views, not places
  main.focus();
});
bus.addEventListener("out", () => me.csrf && door("The session has ended. isotrain serve --link NAME gives a new link."));
bus.addEventListener("back", () => {
  if (!me.csrf) return;
  say("The server is back.");
  if (!main.querySelector("form[data-keep]")) show({ quietly: true }); // what is being filled in stays
});
bus.addEventListener("again", () => show({ quietly: true }));

const token = /^#token=(.+)$/.exec(location.hash);
// A used token is of no use in the history.
if (token) history.replaceState(null, "", location.pathname);
window.addEventListener("hashchange", () => {
  const late = /^#token=(.+)$/.exec(location.hash);
  if (late) {
    history.replaceState(null, "", location.pathname);
    start(decodeURIComponent(late[1]));
  } else show();
});
start(token && decodeURIComponent(token[1]));
