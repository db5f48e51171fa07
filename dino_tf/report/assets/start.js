// The page's data, and how parts of the page are made. All text comes in as text.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
const make = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function show(id, title) {
  byId(id).hidden = false;
  byId("contents").append(make("a", { href: "#" + id, text: title }));
}

function figure(picture, alt, caption, kind) {
  const image = picture
    ? make("img", { src: picture, alt })
    : make("div", { class: "absent", text: "not drawn" });
  return make("figure", { class: kind }, image,
    caption === null ? null : make("figcaption", { text: caption }));
}

// Four digits, and powers of ten only where nothing else is short.
function format(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

const percent = (value) => (value === null ? "–" : value.toFixed(1));
const within = (value, low, high) => Math.min(Math.max(value, low), high);
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Calls act(dx, dy) at an arrow key, and keeps the page from scrolling.
function atArrows(node, act, keys = ARROWS) {
  node.addEventListener("keydown", (event) => {
    const step = keys[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act(...step);
  });
}

// Buttons of which one is pressed.
function choice(parent, names, chosen, act) {
  const buttons = names.map((name) => make("button", {
    type: "button",
    text: name,
    onclick: () => press(name),
  }));
  function press(name) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", names[i] === name));
    act(name);
  }
  parent.append(...buttons);
  press(chosen);
}
