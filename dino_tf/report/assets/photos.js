// Components, boxes and views of photos.
function showComponents() {
  const shown = data.components || [];
  if (!shown.length) return;
  shown.forEach((photo, i) => byId("components-photos").append(make("figure", {},
    make("div", { class: "pair" },
      make("img", { src: data.explorer.photos[i].picture, alt: photo.name }),
      make("img", { src: photo.colours, alt: `Components of ${photo.name} as colours` })),
    make("figcaption", { text: photo.name }))));
  show("components", "Components");
}

function showBoxes() {
  const shown = data.boxes || [];
  if (!shown.length) return;
  const truth = shown.some((photo) => photo.truth.length) ? ["Annotated"] : [];
  const methods = [...Object.keys(shown[0].found), ...truth];
  // Bright on photos, in light and dark alike; as on the sheets of `evaluate discover`.
  const colours = { LOST: "#ff7a70", TokenCut: "#48c9ff", Attention: "#ffd147" };
  const colourOfMethod = (name) => colours[name] || "#ffffff";
  const rects = Object.fromEntries(methods.map((name) => [name, []]));
  for (const photo of shown) {
    const svg = draw("svg", { class: "boxes", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const name of methods) {
      const boxes = name === "Annotated" ? photo.truth : photo.found[name] || [];
      for (const [left, top, right, bottom] of boxes) {
        const sides = { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
        const rect = draw("rect", sides), halo = draw("rect", { ...sides, class: "halo" });
        rect.style.stroke = colourOfMethod(name);
        if (name === "Annotated") rect.setAttribute("stroke-dasharray", "5 4");
        rects[name].push(rect, halo);
        svg.append(halo, rect);
      }
    }
    byId("boxes-photos").append(make("figure", {},
      make("div", { class: "place" }, make("img", { src: photo.picture, alt: photo.name }), svg),
      make("figcaption", { text: photo.name })));
  }
  for (const name of methods) {
    const box = make("input", { type: "checkbox", checked: "" });
    box.addEventListener("change", () => rects[name].forEach((rect) => {
      rect.style.display = box.checked ? "" : "none";
    }));
    const swatch = make("span", { class: name === "Annotated" ? "swatch reference" : "swatch" });
    swatch.style.color = colourOfMethod(name);
    byId("boxes-methods").append(make("label", {}, box, swatch, name));
  }
  show("boxes", "Boxes");
}

function showViews() {
  const views = data.views;
  if (!views) return;
  const [large, small] = views.sizes;
  byId("views-about").textContent = `${views.name}, and views drawn of it by the settings of this run, ${views.draws.length} times: two global ones of ${large} pixels, then the local ones of ${small}.`;
  views.draws.forEach((drawn, number) => {
    const row = make("div", { class: "views" });
    if (!number) byId("views-draws").append(make("img", { class: "whole", src: views.picture, alt: views.name }));
    for (const kind of ["global", "local"]) {
      drawn[kind].forEach((uri, i) => row.append(make("img", { class: kind, src: uri, alt: `${kind} view ${i + 1} of draw ${number + 1}` })));
    }
    byId("views-draws").append(row);
  });
  show("views", "Views");
}
