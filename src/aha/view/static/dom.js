// Elements without markup: text is always text, so nothing in a run can become part of the page's code.

const SVG = 'http://www.w3.org/2000/svg';
const SHAPES = new Set(['svg', 'g', 'path', 'rect', 'line', 'circle', 'text', 'title']);

// h('a.small', {href: '#/x', onclick: f}, 'words', child, [children])
export function h(what, options = {}, ...children) {
  const [name, ...classes] = what.split('.');
  const node = SHAPES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  if (classes.length) node.setAttribute('class', classes.join(' '));
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'class') node.setAttribute('class', [node.getAttribute('class'), value].filter(Boolean).join(' '));
    else if (key === 'style') for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (key === 'value' || key === 'checked' || key === 'open' || key === 'selected') node[key] = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  add(node, children);
  return node;
}

export function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

export function toast(text) {
  const node = document.getElementById('toast');
  node.textContent = text;
  node.classList.add('on');
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => node.classList.remove('on'), 5000);
}

// --- figures, written as the program's own report writes them ---

export function show(value, kind = 'number') {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (kind === 'rate') return (100 * value).toFixed(1) + '%';
  const size = Math.abs(value);
  if (size >= 1e12 || (size > 0 && size < 1e-3)) return value.toExponential(1).replace('+', '');
  if (size >= 1e9) return (value / 1e9).toFixed(2) + 'G';
  if (size >= 1e6) return (value / 1e6).toFixed(2) + 'M';
  if (size >= 1e4) return (value / 1e3).toFixed(1) + 'k';
  if (Number.isInteger(value)) return String(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toFixed(3);
}

export function duration(seconds) {
  if (!seconds) return '–';
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function moment(seconds) {
  if (!seconds) return '–';
  const date = new Date(seconds * 1000), two = (n) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

export function field(label, control) {
  return h('label.field', {}, h('span', {}, label), control);
}

export function choice(options, value, onchange) {
  return h('select', {onchange: (e) => onchange(e.target.value)},
    options.map(([key, words]) => h('option', {value: key, selected: key === value}, words)));
}
