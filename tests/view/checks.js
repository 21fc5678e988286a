// What the tests ask of a page as it stands in the browser.

// Elements that reach beyond a phone's width, where the page as a whole does.
function wide() {
  if (document.documentElement.scrollWidth <= innerWidth) return [];
  const beyond = [...document.querySelectorAll('body *')].filter((n) => n.getBoundingClientRect().right > innerWidth + 1);
  return beyond.slice(0, 9).map((n) => n.outerHTML.slice(0, 300));
}

// Controls without a name for who does not see them.
function nameless() {
  const controls = [...document.querySelectorAll('input, select, textarea, button')];
  return controls.filter((n) => !n.closest('label') && !n.ariaLabel && !n.textContent.trim() && !n.placeholder).map((n) => n.outerHTML);
}

// Texts whose contrast is below 4.5 to 1 (WCAG 2.2, 1.4.3).
function pale() {
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const parse = (s) => s.match(/[\d.]+/g).map(Number);
  const behind = (n) => {
    for (; n; n = n.parentElement) {
      const colour = parse(getComputedStyle(n).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const n of document.querySelectorAll('body *')) {
    const written = [...n.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!written || !n.checkVisibility() || n.closest('svg') || n.matches('.skip, :disabled, #toast')) continue;
    const [high, low] = [light(parse(getComputedStyle(n).color)), light(behind(n))].sort((x, y) => y - x);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.add(`${n.outerHTML.slice(0, 90)} ${ratio.toFixed(2)}`);
  }
  return [...found];
}
