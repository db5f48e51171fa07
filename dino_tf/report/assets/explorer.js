// How similar every place of all photos is to one of them.
function unpack(photo) {
  const bytes = atob(photo.features), count = photo.rows * photo.columns;
  const features = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes.charCodeAt(i);
    features[i] = byte > 127 ? byte - 256 : byte;
  }
  return normalise({ ...photo, count, features });
}

// Each patch divided by its length; one of zeros stays so.
function normalise(photo) {
  const { features, channels } = photo;
  for (let start = 0; start < features.length; start += channels) {
    let sum = 0;
    for (let i = start; i < start + channels; i++) sum += features[i] ** 2;
    const length = Math.sqrt(sum) || 1;
    for (let i = start; i < start + channels; i++) features[i] /= length;
  }
  return photo;
}

function centre(photos) {
  const channels = photos[0].channels, mean = new Float64Array(channels);
  let count = 0;
  for (const photo of photos) {
    count += photo.count;
    photo.features.forEach((value, i) => { mean[i % channels] += value; });
  }
  return photos.map((photo) => normalise({
    ...photo,
    features: photo.features.map((value, i) => value - mean[i % channels] / count),
  }));
}

function similarities(chosen, patch, photo) {
  const { features, channels, count } = photo, own = chosen.features;
  const start = patch * channels, found = new Float32Array(count);
  for (let n = 0; n < count; n++) {
    let sum = 0;
    for (let i = 0; i < channels; i++) sum += own[start + i] * features[n * channels + i];
    found[n] = sum;
  }
  return found;
}

function colourOf(share, palette) {
  return palette[Math.round(within(share, 0, 1) * (palette.length - 1))];
}

// One pixel a patch; the browser enlarges it without smoothing.
function paint(canvas, photo, found, low, high, palette, strength) {
  const image = new ImageData(photo.columns, photo.rows);
  found.forEach((value, i) => {
    image.data.set(colourOf((value - low) / (high - low || 1), palette), 4 * i);
    image.data[4 * i + 3] = 255 * strength;
  });
  const small = document.createElement("canvas");
  small.width = photo.columns;
  small.height = photo.rows;
  small.getContext("2d").putImageData(image, 0, 0);
  const pen = canvas.getContext("2d");
  canvas.width = photo.columns * 8;
  canvas.height = photo.rows * 8;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  return pen;
}

// A ring or square in white between black lines: seen on every colour.
function mark(pen, photo, patch, isRing) {
  const x = 8 * (patch % photo.columns) + 4, y = 8 * Math.floor(patch / photo.columns) + 4;
  const size = Math.max(7, photo.columns / 5);
  for (const [width, colour] of [[size / 1.6, "#000"], [size / 3.2, "#fff"]]) {
    pen.lineWidth = width;
    pen.strokeStyle = colour;
    pen.beginPath();
    if (isRing) pen.arc(x, y, size, 0, 7);
    else pen.rect(x - size, y - size, 2 * size, 2 * size);
    pen.stroke();
  }
}

function showExplorer() {
  const spec = data.explorer;
  if (!spec) return;
  const plain = spec.photos.map(unpack), kinds = { cosine: plain, centred: centre(plain) };
  const kind = byId("explorer-kind"), strength = byId("explorer-strength");
  const at = { photo: 0, row: Math.floor(plain[0].rows / 2), column: Math.floor(plain[0].columns / 2) };
  const cards = plain.map((photo, i) => {
    const canvas = make("canvas"), caption = make("figcaption");
    const place = make("div", {
      class: "place", tabindex: 0, role: "application",
      "aria-roledescription": "photo to explore",
      "aria-label": `${photo.name}: arrow keys move the place`,
    }, make("img", { src: photo.picture, alt: "", draggable: "false" }), canvas);
    byId("explorer-photos").append(make("figure", {}, place, caption));
    const toPatch = (event) => {
      const box = place.getBoundingClientRect();
      const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      choose(i, Math.floor(share[1] * photo.rows), Math.floor(share[0] * photo.columns));
    };
    place.addEventListener("pointerdown", toPatch);
    place.addEventListener("pointermove", (event) => { if (event.buttons & 1) toPatch(event); });
    place.addEventListener("focus", () => {
      if (at.photo !== i) choose(i, Math.floor(photo.rows / 2), Math.floor(photo.columns / 2));
    });
    atArrows(place, (dx, dy) => choose(i, at.row + dy, at.column + dx));
    return { place, canvas, caption };
  });

  function choose(photo, row, column) {
    at.photo = photo;
    at.row = within(row, 0, plain[photo].rows - 1);
    at.column = within(column, 0, plain[photo].columns - 1);
    update();
  }

  function update() {
    const photos = kinds[kind.value], chosen = photos[at.photo];
    const patch = at.row * chosen.columns + at.column;
    const found = photos.map((photo) => similarities(chosen, patch, photo));
    const every = Float32Array.from(found.flatMap((some) => [...some])).sort();
    const low = every[Math.floor(0.02 * (every.length - 1))], high = every[Math.floor(0.995 * (every.length - 1))];
    byId("explorer-low").textContent = low.toFixed(2);
    byId("explorer-high").textContent = high.toFixed(2);
    const told = [];
    photos.forEach((photo, i) => {
      const pen = paint(cards[i].canvas, photo, found[i], low, high, spec.palette, strength.value / 100);
      const own = i === at.photo;
      const best = found[i].indexOf(found[i].reduce((a, b) => Math.max(a, b)));
      mark(pen, photo, own ? patch : best, own);
      cards[i].place.classList.toggle("chosen", own);
      cards[i].caption.textContent = own ? photo.name : `${photo.name}: up to ${found[i][best].toFixed(2)}`;
      if (!own) told.push([found[i][best], photo.name]);
    });
    told.sort((a, b) => b[0] - a[0]);
    byId("explorer-told").textContent = `${chosen.name}, row ${at.row + 1} of ${chosen.rows}, column ${at.column + 1} of ${chosen.columns}`
      + (told.length ? `; most similar elsewhere: ${told[0][1]}, ${told[0][0].toFixed(2)}` : "");
  }

  const scale = byId("explorer-scale").getContext("2d");
  for (let i = 0; i < 256; i++) {
    scale.fillStyle = `rgb(${colourOf(i / 255, spec.palette).join(" ")})`;
    scale.fillRect(i, 0, 1, 12);
  }
  kind.addEventListener("change", update);
  strength.addEventListener("input", update);
  show("explorer", "Explorer");
  update();
}
