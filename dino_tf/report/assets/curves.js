// Charts of the records; all of them point at the same epoch.
const WIDTH = 340, HEIGHT = 180, LEFT = 50, RIGHT = 10, TOP = 8, BOTTOM = 22;
const pointers = [];

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let i = first; i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

function rangeOf(values) {
  let low = Math.min(...values), high = Math.max(...values);
  const room = high > low ? 0.06 * (high - low) : Math.abs(high) * 0.1 || 1;
  // Nothing that is counted or measured here goes below 0 for the sake of room.
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function chart(spec, epochs) {
  const points = spec.lines.flatMap((line) => line.points);
  const [low, high] = rangeOf(points.map((p) => p[1]));
  const first = epochs[0], last = epochs[epochs.length - 1];
  const x = (epoch) => first === last ? (LEFT + WIDTH - RIGHT) / 2
    : LEFT + (epoch - first) / (last - first) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
  for (const value of ticks(low, high, 4)) {
    picture.append(draw("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    picture.append(draw("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end", text: format(value) }));
  }
  const marks = first === last ? [first] : ticks(first, last, 5).filter(Number.isInteger);
  for (const epoch of marks) {
    picture.append(draw("text", { x: x(epoch), y: HEIGHT - 6, "text-anchor": "middle", text: epoch }));
  }
  const colours = colourLines(spec.lines);
  spec.lines.forEach((line, i) => {
    const path = line.points.map((p, j) => `${j ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`);
    const shape = draw("path", { class: line.reference ? "line reference" : "line", d: path.join("") });
    if (!line.reference) shape.style.stroke = colours[i];
    picture.append(shape);
  });
  const cursor = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM });
  const dots = spec.lines.map((line, i) => {
    const dot = draw("circle", { r: 3.5 });
    dot.style.fill = colours[i];
    return dot;
  });
  picture.append(cursor, ...dots);
  const readout = make("ul", { class: "readout" });
  const values = spec.lines.map((line, i) => {
    const swatch = make("i", { class: line.reference ? "reference" : "" });
    swatch.style.color = colours[i];
    const value = make("b");
    readout.append(make("li", {}, swatch, line.name + " ", value));
    return value;
  });
  const when = make("span");
  const card = make("div", {
    class: "chart", tabindex: 0, role: "group",
    "aria-label": `${spec.title}: the left and right arrow keys go through the epochs`,
  }, make("h4", {}, spec.title + (spec.unit ? ` (${spec.unit})` : ""), when),
  spec.about ? make("p", { text: spec.about }) : null, readout, picture);
  pointers.push((epoch) => {
    when.textContent = `epoch ${epoch}`;
    cursor.setAttribute("x1", x(epoch));
    cursor.setAttribute("x2", x(epoch));
    spec.lines.forEach((line, i) => {
      const point = line.points.find((p) => p[0] === epoch);
      values[i].textContent = point ? format(point[1]) : "–";
      dots[i].style.display = point ? "" : "none";
      if (!point) return;
      dots[i].setAttribute("cx", x(epoch));
      dots[i].setAttribute("cy", y(point[1]));
    });
  });
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * WIDTH;
    const nearest = epochs.reduce((a, b) => Math.abs(x(b) - place) < Math.abs(x(a) - place) ? b : a);
    pointAt(nearest);
  });
  atArrows(card, (step) => {
    pointAt(epochs[within(epochs.indexOf(pointed) + step, 0, epochs.length - 1)]);
    card.setAttribute("aria-description", readout.textContent);
  }, { ArrowLeft: [-1], ArrowRight: [1] });
  return card;
}

function colourLines(lines) {
  let count = 0;
  return lines.map((line) => line.reference ? "var(--quiet)" : `var(--line-${count++ % 6})`);
}

let pointed = null;
function pointAt(epoch) {
  pointed = epoch;
  pointers.forEach((point) => point(epoch));
}

function showCurves() {
  const specs = data.charts || [];
  if (!specs.length) return;
  const all = specs.flatMap((c) => c.lines.flatMap((line) => line.points.map((p) => p[0])));
  const epochs = [...new Set(all)].sort((a, b) => a - b);
  let group = null, grid = null;
  for (const spec of specs) {
    if (spec.group !== group) {
      group = spec.group;
      grid = make("div", { class: "grid" });
      byId("charts").append(make("h3", { text: group }), grid);
    }
    grid.append(chart(spec, epochs));
  }
  pointAt(epochs[epochs.length - 1]);
  show("curves", "Curves");
}
