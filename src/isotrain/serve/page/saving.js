/* A file of the server is saved; what keeps it from being made is shown, which a plain link would not do. */

import { el, link, say } from "./dom.js";
import { file } from "./server.js";

/** A link that saves a file. `href` may change until it is pressed. */
export function saving(words, href, name, props = {}) {
  const a = link(words, href, {
    class: "button", download: name, ...props,
    onclick: async (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      if (a.getAttribute("aria-disabled")) return;
      a.setAttribute("aria-disabled", "true");
      say(`${words}: is made ready …`);
      try {
        const { content, called } = await file(a.getAttribute("href"));
        const place = URL.createObjectURL(content);
        el("a", { href: place, download: called || name }).click();
        setTimeout(() => URL.revokeObjectURL(place), 60000);
        say(`${words}: saved.`);
      } catch (error) {
        say(error.message, "bad");
      } finally {
        a.removeAttribute("aria-disabled");
      }
    },
  });
  return a;
}
