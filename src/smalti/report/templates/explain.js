"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { height, width, top, sigmas } = data;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const images = new Uint32Array(bytes(data.images).buffer);    // (levels, pixels, top): slots of `data.names`
  const shares = new Float32Array(bytes(data.shares).buffer);   // (levels, pixels, top)
  const places = new Int16Array(bytes(data.places).buffer);     // (levels, pixels, top, 3): down, right, mirrored
  const rest = new Float32Array(bytes(data.rest).buffer);       // (levels, pixels)
  const errors = data.errors ? new Float32Array(bytes(data.errors).buffer) : null;
  const effective = new Float32Array(bytes(data.effective).buffer);
  const pixels = height * width;
  const copies = data.copies && {                               // (pixels): the most alike training patch of the picture itself
    side: data.copies.side,
    near: data.copies.near,
    slots: new Uint32Array(bytes(data.copies.slots).buffer),
    places: new Int16Array(bytes(data.copies.places).buffer),   // (pixels, 5): top, left in the picture, row, column in the training image, mirrored
    likeness: new Float32Array(bytes(data.copies.likeness).buffer),
  };
  const canvas = document.getElementById("picture");
  const scale = Math.max(2, Math.floor(512 / Math.max(height, width)));
  canvas.width = width * scale;
  canvas.height = height * scale;
  let row = data.pixel[0], column = data.pixel[1], level = Number(document.getElementById("level").value), view = "denoised";

  const load = (uri) => new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("a picture of this page cannot be read"));
    image.src = uri;
  });
  let frames = {}, sprite = null, picture = null;

  const percent = (share) => share >= 0.1 ? `${Math.round(100 * share)} %` : share >= 0.001 ? `${(100 * share).toFixed(1)} %` : "under 0.1 %";
  const number = (value) => value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en");

  const atLevel = () => `${data.sizes ? `${data.sizes[level]}, ` : ""}sigma ${Number(sigmas[level].toPrecision(3))}`;

  const drawPicture = () => {
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(frames[view], 0, view === "copies" ? 0 : level * height, width, height, 0, 0, canvas.width, canvas.height);
    const side = Math.max(scale, 6), x = (column + 0.5) * scale - side / 2, y = (row + 0.5) * scale - side / 2;
    context.lineWidth = 4; context.strokeStyle = "#000"; context.strokeRect(x - 1, y - 1, side + 2, side + 2);
    context.lineWidth = 2; context.strokeStyle = "#ffdd00"; context.strokeRect(x - 1, y - 1, side + 2, side + 2);
    document.getElementById("legend").textContent = data.legends[view];
    document.getElementById("sigma").textContent = atLevel();
  };

  const drawTraining = (target, slot, mark) => {
    const zoom = Math.max(1, Math.floor(192 / Math.max(height, width)));
    target.width = width * zoom;
    target.height = height * zoom;
    const context = target.getContext("2d");
    context.imageSmoothingEnabled = false;
    if (slot >= data.pictured) return;
    const x = (slot % data.columns) * width, y = Math.floor(slot / data.columns) * height;
    context.drawImage(sprite, x, y, width, height, 0, 0, target.width, target.height);
    if (!mark) return;
    const side = Math.max(zoom, 5), left = (mark[1] + 0.5) * zoom - side / 2, up = (mark[0] + 0.5) * zoom - side / 2;
    context.lineWidth = 4; context.strokeStyle = "#000"; context.strokeRect(left - 1, up - 1, side + 2, side + 2);
    context.lineWidth = 2; context.strokeStyle = "#ffdd00"; context.strokeRect(left - 1, up - 1, side + 2, side + 2);
  };

  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const drawElements = () => {
    const at = level * pixels + row * width + column, list = document.getElementById("elements");
    list.replaceChildren();
    for (let t = 0; t < top; t++) {
      const i = at * top + t;
      if (shares[i] <= 0) break;
      const [down, right, mirrored] = [places[3 * i], places[3 * i + 1], places[3 * i + 2]];
      const y = (row + down) % height, shifted = (column + right) % width, x = mirrored ? width - 1 - shifted : shifted;
      const item = element("li"), picture = element("canvas"), text = element("div");
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `training image ${data.names[images[i]]}, row ${y}, column ${x} marked`);
      const bar = element("div", "bar"), filled = element("span");
      filled.style.width = `${100 * Math.min(1, shares[i])}%`;
      bar.append(filled);
      const how = `${down || right ? `another place: row ${y}, column ${x}` : `row ${y}, column ${x}`}${mirrored ? ", mirrored" : ""}`;
      text.append(element("div", "name", data.names[images[i]]), bar, element("div", "place", `${percent(shares[i])}${errors ? ` ± ${(100 * errors[i]).toFixed(1)}` : ""} of this pixel · ${how}`));
      item.append(picture, text);
      list.append(item);
      drawTraining(picture, images[i], [y, x]);
    }
    document.getElementById("said").textContent =
      `Pixel at row ${row}, column ${column}, ${atLevel()}: made by about ${number(effective[at])} training ${effective[at] < 1.5 ? "image" : "images"}.`;
    document.getElementById("others").textContent = rest[at] > 0.0005 ? `All others together: ${percent(rest[at])}.` : "Nothing else has a share.";
  };

  const framed = (target, picture, x, y, top, left) => {
    const zoom = Math.max(1, Math.floor(256 / Math.max(height, width)));
    target.width = width * zoom;
    target.height = height * zoom;
    const context = target.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, x, y, width, height, 0, 0, target.width, target.height);
    for (const [thick, colour] of [[4, "#000"], [2, "#ffdd00"]]) {
      context.lineWidth = thick;
      context.strokeStyle = colour;
      context.strokeRect(left * zoom, top * zoom, copies.side * zoom, copies.side * zoom);
    }
  };

  const drawCopy = () => {
    if (!copies) return;
    const at = row * width + column, slot = copies.slots[at], said = document.getElementById("copy-said");
    document.getElementById("copy").hidden = slot >= data.pictured;
    if (slot >= data.names.length) {
      said.textContent = "No training patch is like it at this pixel.";
      return;
    }
    const [top, left, down, right, mirrored] = copies.places.subarray(5 * at, 5 * at + 5);
    const span = (first) => `${first}\u2013${first + copies.side - 1}`;
    said.textContent = `Rows ${span(top)}, columns ${span(left)} of the picture are ${copies.likeness[at] > copies.near ? "a near-copy of" : "most like"} rows ${span(down)}, columns ${span(right)} of ${data.names[slot]}${mirrored ? ", mirrored" : ""}: likeness ${copies.likeness[at].toFixed(3)}.`;
    if (slot >= data.pictured) return;
    framed(document.getElementById("copy-own"), picture, 0, 0, top, left);
    framed(document.getElementById("copy-training"), sprite, (slot % data.columns) * width, Math.floor(slot / data.columns) * height, down, right);
  };

  const draw = () => { drawPicture(); drawElements(); drawCopy(); };
  const choose = (y, x) => {
    row = Math.min(height - 1, Math.max(0, y));
    column = Math.min(width - 1, Math.max(0, x));
    draw();
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    choose(Math.floor((event.clientY - box.top) / box.height * height), Math.floor((event.clientX - box.left) / box.width * width));
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.focus({ preventScroll: true }); at(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -width], End: [0, width], PageUp: [-height, 0], PageDown: [height, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    choose(row + move[0], column + move[1]);
  });
  document.getElementById("level").addEventListener("input", (event) => { level = Number(event.target.value); draw(); });
  for (const radio of document.querySelectorAll("input[name=view]"))
    radio.addEventListener("change", (event) => { view = event.target.value; drawPicture(); });

  Promise.all([load(data.sprite), data.copies ? load(data.copies.picture) : null, ...Object.values(data.frames).map(load)]).then(([first, second, ...others]) => {
    sprite = first;
    picture = second;
    frames = Object.fromEntries(Object.keys(data.frames).map((name, i) => [name, others[i]]));
    for (const small of document.querySelectorAll("canvas.thumb")) drawTraining(small, Number(small.dataset.image), null);
    draw();
    document.body.dataset.ready = "yes";
  });
})();
