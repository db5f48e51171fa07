// Photos in the plane, and the neighbours of each.
const EDGE = 20;

function classColour(index) {
  // The golden angle keeps neighbouring numbers apart.
  return index === undefined ? "var(--quiet)" : `hsl(${Math.round(index * 137.5) % 360} 65% ${index % 2 ? 42 : 56}%)`;
}

const classesOf = (row) => data.map.labels[row].map((label) => data.map.class_names[label] || `class ${label}`);

function showMap() {
  const map = data.map;
  if (!map) return;
  const methods = Object.keys(map.methods), plot = byId("map-plot");
  const svg = draw("svg", { "aria-hidden": "true" });
  const ring = draw("circle", { class: "ring", r: 10 });
  let method = null, places = null, chosen = 0, stressed = null;
  const dots = map.names.map((name, row) => {
    const dot = draw("circle", { r: 5.5 }), image = draw("image", { width: 26, height: 26 });
    dot.style.fill = classColour(map.labels[row][0]);
    for (const shape of [dot, image]) {
      shape.addEventListener("pointerenter", () => choose(row));
      shape.addEventListener("click", () => { choose(row); addNeighbours(row, true); });
    }
    svg.append(dot, image);
    return { dot, image };
  });
  svg.append(ring);
  plot.append(svg);

  // As large as there is room for, by one scale in both directions.
  function place() {
    const wide = plot.clientWidth, tall = within(0.66 * wide, 280, 540);
    svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
    svg.setAttribute("height", tall);
    const given = map.methods[method], sides = [0, 1].map((side) => {
      const values = given.map((point) => point[side]);
      return [Math.min(...values), Math.max(...values)];
    });
    const room = [wide, tall].map((size, side) => (size - 2 * EDGE) / (sides[side][1] - sides[side][0] || 1e-9));
    const scale = Math.min(...room);
    const [middleX, middleY] = sides.map(([low, high]) => (low + high) / 2);
    places = given.map(([x, y]) => [wide / 2 + scale * (x - middleX), tall / 2 - scale * (y - middleY)]);
    dots.forEach(({ dot, image }, row) => {
      dot.setAttribute("cx", places[row][0]);
      dot.setAttribute("cy", places[row][1]);
      image.setAttribute("x", places[row][0] - 13);
      image.setAttribute("y", places[row][1] - 13);
    });
    choose(chosen);
  }

  function choose(row) {
    chosen = row;
    ring.setAttribute("cx", places[row][0]);
    ring.setAttribute("cy", places[row][1]);
    const own = classesOf(row).join(", ");
    byId("map-tip").replaceChildren(
      make("img", { src: map.thumbnails[row], alt: "" }),
      make("span", {}, make("b", { text: map.names[row] }), make("br"), own));
  }

  // The nearest photo in a cone of a right angle.
  function go(dx, dy) {
    let best = null, least = Infinity;
    places.forEach(([x, y], row) => {
      const ahead = dx * (x - places[chosen][0]) + dy * (y - places[chosen][1]);
      const aside = Math.abs(dy * (x - places[chosen][0]) + dx * (y - places[chosen][1]));
      if (row !== chosen && ahead > 0 && aside <= ahead && ahead + aside < least) {
        best = row;
        least = ahead + aside;
      }
    });
    if (best !== null) choose(best);
  }

  function stress(label) {
    stressed = stressed === label ? null : label;
    dots.forEach(({ dot, image }, row) => {
      const faded = stressed !== null && !map.labels[row].includes(stressed);
      dot.classList.toggle("faded", faded);
      image.classList.toggle("faded", faded);
    });
    for (const button of byId("map-classes").children) {
      button.setAttribute("aria-pressed", Number(button.dataset.label) === stressed);
    }
  }

  const pictures = byId("map-pictures");
  function dress() {
    dots.forEach(({ dot, image }, row) => {
      if (pictures.checked) image.setAttribute("href", map.thumbnails[row]);
      image.style.display = pictures.checked ? "" : "none";
      dot.style.display = pictures.checked ? "none" : "";
    });
  }
  pictures.addEventListener("change", dress);
  atArrows(plot, go);
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Enter") addNeighbours(chosen, true);
  });
  addClasses(map, stress);
  byId("map-about").textContent = aboutMap(map, methods);
  show("map", "Map");
  choice(byId("map-methods"), methods, methods.includes("t-SNE") ? "t-SNE" : methods[0], (name) => {
    method = name;
    place();
  });
  new ResizeObserver(place).observe(plot);
  dress();
}

function aboutMap(map, methods) {
  const some = map.names.length < map.total ? ` of ${map.total}` : "";
  const words = [`${map.names.length}${some} photos by their CLS features. Point at one, or use the arrow keys; click it, or press Enter, to see its neighbours below.`];
  if (map.labels.some((own) => own.length)) words.push("Colours are classes, which training has not seen.");
  if (methods.includes("t-SNE")) words.push("t-SNE keeps neighbours together, and tells nothing by the distance of groups; PCA keeps distances.");
  return words.join(" ");
}

function addClasses(map, stress) {
  const there = [...new Set(map.labels.flat())].sort((a, b) => a - b);
  for (const label of there) {
    const dot = make("span", { class: "dot" });
    dot.style.background = classColour(label);
    byId("map-classes").append(make("button", {
      type: "button", "aria-pressed": "false", "data-label": label, onclick: () => stress(label),
    }, dot, map.class_names[label] || `class ${label}`));
  }
}

function addNeighbours(row, isChosen) {
  const map = data.map, list = byId("neighbours-rows");
  const own = classesOf(row);
  const line = make("div", { class: "row" }, figure(map.thumbnails[row], map.names[row], own.join(", ") || map.names[row], "first"));
  map.near[row].forEach((other, i) => {
    const classes = classesOf(other);
    const same = own.length && classes.length ? (classes.some((name) => own.includes(name)) ? "same" : "other") : "";
    const caption = `${map.similarities[row][i].toFixed(2)} ${classes.join(", ")}`;
    line.append(figure(map.thumbnails[other], map.names[other], caption, same));
  });
  if (!isChosen) return list.append(line);
  list.querySelector(".chosen-row")?.remove();
  line.classList.add("chosen-row");
  list.prepend(line);
}

function showNeighbours() {
  const map = data.map;
  if (!map) return;
  const labelled = map.labels.some((own) => own.length);
  byId("neighbours-about").textContent = "Photos on the left, and those of the map whose CLS features are most similar, with the cosine."
    + (labelled ? " Green frames: a class in common; red ones: none." : "");
  map.samples.forEach((row) => addNeighbours(row, false));
  show("neighbours", "Neighbours");
}
