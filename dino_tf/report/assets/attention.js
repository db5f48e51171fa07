// Pictures of the watched photos, epoch by epoch.
const VIEW_NAMES = {
  attention_mean: "mean attention",
  masked: "background darkened",
  components: "three components as colours",
  component1: "first component",
};

function viewName(view) {
  const head = /^attention_head(\d+)$/.exec(view);
  return head ? `head ${head[1]}` : VIEW_NAMES[view] || view;
}

function showAttention() {
  const drawn = data.attention;
  if (!drawn) return;
  const slider = byId("attention-slider"), view = byId("attention-view");
  const last = drawn.epochs.length - 1, how = last ? " Move the slider, or press Play." : "";
  byId("attention-title").textContent = (drawn.kind === "attention" ? "Attention" : "Features") + (last ? " over the epochs" : "");
  byId("attention-about").textContent = (drawn.kind === "attention"
    ? "What the CLS token of the last block looks at, in the photos of the watch list."
    : "Principal components of the features of each photo by itself: this network has no attention.") + how;
  view.append(...drawn.views.map((name) => make("option", { value: name, text: viewName(name) })));
  const frames = drawn.photos.map((photo) => {
    const frame = make("img", { alt: "" });
    const absent = make("div", { class: "absent", text: "not drawn" });
    byId("attention-photos").append(make("figure", {},
      make("div", { class: "pair" }, make("img", { src: photo.original, alt: photo.name }),
        make("div", {}, frame, absent)),
      make("figcaption", { text: photo.name })));
    return { photo, frame, absent };
  });
  function update() {
    const place = Number(slider.value);
    byId("attention-epoch").textContent = drawn.epochs[place];
    slider.setAttribute("aria-valuetext", drawn.epochs[place]);
    for (const { photo, frame, absent } of frames) {
      const uri = photo.frames[view.value][place];
      frame.hidden = !uri;
      absent.hidden = Boolean(uri);
      if (uri) frame.src = uri;
      frame.alt = `${viewName(view.value)} of ${photo.name}, ${drawn.epochs[place]}`;
    }
  }
  slider.max = last;
  slider.value = last;
  byId("attention-label").hidden = last === 0;
  slider.addEventListener("input", update);
  view.addEventListener("change", update);
  play(slider, last, update);
  update();
  show("attention", drawn.kind === "attention" ? "Attention" : "Features");
}

function play(slider, last, update) {
  const button = byId("attention-play");
  let timer = null;
  button.hidden = last === 0;
  button.addEventListener("click", () => {
    const playing = timer !== null;
    button.setAttribute("aria-pressed", !playing);
    button.textContent = playing ? "Play" : "Stop";
    if (playing) {
      clearInterval(timer);
      timer = null;
      return;
    }
    timer = setInterval(() => {
      slider.value = Number(slider.value) === last ? 0 : Number(slider.value) + 1;
      update();
    }, 700);
  });
}
