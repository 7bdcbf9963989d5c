/* What can be measured of a page's accessibility, as axe does; gives the faults in words. Runs in the page. */
() => {
  const faults = [];
  const shown = (node) => node.checkVisibility({ checkOpacity: false, checkVisibilityCSS: true });
  const all = (selector, root = document) => [...root.querySelectorAll(selector)].filter(shown);
  const tell = (node) => `<${node.tagName.toLowerCase()} ${node.id ? `id=${node.id} ` : ""}class="${node.getAttribute("class") || ""}"> ${node.textContent.trim().slice(0, 40)}`;
  const modal = document.querySelector("dialog[open]");
  const root = modal || document.body;

  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push(`id ${id} stands twice`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"]) {
    for (const node of document.querySelectorAll(`[${name}]`)) {
      for (const id of node.getAttribute(name).split(/\s+/).filter(Boolean)) {
        if (!document.getElementById(id)) faults.push(`${name}=${id} leads nowhere: ${tell(node)}`);
      }
    }
  }
  for (const image of document.querySelectorAll("img")) if (!image.hasAttribute("alt")) faults.push("a picture without alt");
  for (const node of document.querySelectorAll("[style]")) {
    // Styles that scripts set through the CSSOM are allowed by the policy; they are places and sizes only.
    const odd = node.getAttribute("style").split(";").map((one) => one.split(":")[0].trim())
      .filter((name) => name && !["left", "top", "width", "height", "transform", "aspect-ratio"].includes(name));
    if (odd.length) faults.push(`style of ${odd}: ${tell(node)}`);
  }

  const headings = all("h1, h2, h3, h4", root).map((node) => Number(node.tagName[1]));
  if (!modal && headings.filter((level) => level === 1).length !== 1) faults.push(`${headings.filter((level) => level === 1).length} h1`);
  headings.forEach((level, n) => { if (n && level > headings[n - 1] + 1) faults.push(`h${level} follows h${headings[n - 1]}`); });
  if (headings[0] !== (modal ? 2 : 1)) faults.push(`the first heading is h${headings[0]}`);
  if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
  if (!document.documentElement.lang) faults.push("no language");

  // Contrast, WCAG 2.2: 4.5, or 3 for large text. Colours are blended down to the one that covers.
  const numbers = (colour) => {
    const found = /^rgba?\(([^)]*)\)$/.exec(colour);
    const [r, g, b, a = 1] = found[1].split(/[,\s/]+/).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
  function ground(node) {
    const stack = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) stack.push(colour);
      if (colour[3] === 1) break;
    }
    return stack.reverse().reduce((below, above) => over(above, below), [255, 255, 255, 1]);
  }
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let least = 21, texts = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !shown(node) || node.closest("noscript, .unseen, :disabled, [aria-disabled], option, .chip:has(:disabled)")) continue;
    const style = getComputedStyle(node);
    const back = ground(node);
    const colour = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(over(numbers(colour), back)), light(back)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    texts += 1;
    least = Math.min(least, contrast);
    if (contrast < (large ? 3 : 4.5)) faults.push(`contrast ${contrast.toFixed(2)}: ${tell(node)}`);
  }
  if (texts < 4) faults.push(`only ${texts} texts were seen`);

  // Targets: 44 px high and wide, but links within a sentence; a box is as large as the label around it.
  for (const node of all("button, a[href], input:not([type=file]), select, summary", root)) {
    if (node.closest("[aria-hidden=true], p, li:not(:has(.card)) > p") || node.matches(".skip")) continue;
    const target = node.matches("[type=checkbox], [type=radio]") ? node.closest("label") || node : node;
    const { width, height } = target.getBoundingClientRect();
    if (width < 43.5 || height < 43.5) faults.push(`target ${width.toFixed(0)} x ${height.toFixed(0)}: ${tell(target)}`);
  }
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) faults.push(`${wide} px wider than the screen: ${[...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1).slice(-3).map(tell)}`);
  return { faults, least, texts };
}
