/* The server of this page: its session, its refusals, and what to do while it does not answer. */

export const bus = new EventTarget();
/** Who is signed in, and what the server allows; filled by `enter`. */
export const me = { user: null, csrf: null, version: "", limits: {}, about: {} };

/** The server said no, in one clear line. */
export class Refusal extends Error {
  constructor(message, status, wait = null, report = []) {
    super(message);
    this.status = status;
    this.wait = wait;
    this.report = report; // of the data's doctor, where data was refused
  }
}

/** The server does not answer. */
export class Gone extends Error {
  constructor() {
    super("The server does not answer. Is `isotrain serve` still running?");
  }
}

function refusal(status, text, wait) {
  let answer = {};
  try {
    answer = JSON.parse(text);
  } catch {
    answer = {}; // not JSON: something between us and the server spoke
  }
  if (status === 401) bus.dispatchEvent(new Event("out"));
  return new Refusal(answer.error || `The server refused (${status}).`, status, wait, answer.report);
}

/** One request. The answer is JSON; a Refusal or Gone is thrown otherwise. */
export async function call(method, path, body = undefined, signal = undefined) {
  const headers = {};
  if (method !== "GET" && me.csrf) headers["X-CSRF-Token"] = me.csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer, text;
  try {
    answer = await fetch(path, {
      method, headers, signal, credentials: "same-origin", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new Gone();
  }
  if (!answer.ok) throw refusal(answer.status, text, answer.headers.get("Retry-After"));
  return text ? JSON.parse(text) : null;
}

export const get = (path, signal) => call("GET", path, undefined, signal);

/** A file, and the name that the server gives it. */
export async function file(path) {
  let answer, content;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store" });
    content = await answer.blob();
  } catch {
    lost();
    throw new Gone();
  }
  if (!answer.ok) throw refusal(answer.status, await content.text(), answer.headers.get("Retry-After"));
  return { content, called: /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "")?.[1] };
}

/** Send files; `moved` is told the share that has left. (fetch cannot tell, XMLHttpRequest can.) */
export function upload(path, form, moved, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("X-CSRF-Token", me.csrf);
    request.upload.onprogress = (event) => event.lengthComputable && moved(event.loaded / event.total);
    request.onload = () => request.status < 300
      ? resolve(JSON.parse(request.responseText))
      : reject(refusal(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    request.onerror = () => { lost(); reject(new Gone()); };
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Open the session: by the token of the one-time link, or by the cookie that an earlier link left. */
export async function enter(token = null) {
  if (token) Object.assign(me, await call("POST", "/api/session", { token }));
  Object.assign(me, await get("/api/me"));
  return me;
}

export async function leave() {
  await call("DELETE", "/api/session");
  me.csrf = null;
}

let waiting = false;
const pause = (ms) => new Promise((wake) => { setTimeout(wake, ms); });

/** Show the banner, and ask again until the server is back. */
export async function lost() {
  if (waiting) return;
  waiting = true;
  const banner = document.getElementById("gone");
  banner.textContent = "The server does not answer. Nothing is lost; this page goes on as soon as it is back.";
  banner.hidden = false;
  for (let wait = 500; ; wait = Math.min(wait * 1.6, 5000)) {
    await pause(wait);
    try {
      if ((await fetch("/healthz", { cache: "no-store" })).ok) break;
    } catch {
      continue; // still gone, and the banner says so
    }
  }
  banner.hidden = true;
  waiting = false;
  bus.dispatchEvent(new Event("back"));
}

window.addEventListener("offline", () => { if (!["127.0.0.1", "localhost"].includes(location.hostname)) lost(); });
