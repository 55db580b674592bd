// The page of an exported model: reads a picture, runs the model on it and shows what it says.
const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const root = document.documentElement;
const SHOWN = 5; // classes
const MAP_SIDE = 512; // pixels of the longer side of a drawn map
const PHOTO_SIDE = 1280; // pixels of the longer side of the picture on the page
const STRIP = 2 ** 22; // pixels that are read from a large picture at once

// ------------------------------------------------------------------------------ the model

// What a script element of the page holds: compressed, in base64.
async function unpacked(id) {
  const element = $(id);
  const text = element.textContent;
  element.remove(); // it is large
  const packed = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A function from pixels, uint8 (height, width, channels), to {probabilities, maps}.
async function openModel() {
  const address = URL.createObjectURL(
    new Blob([await unpacked("runtime")], { type: "text/javascript" }),
  );
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.numThreads = 1; // more need headers that a file does not have
  ort.env.wasm.wasmBinary = (await unpacked("wasm")).buffer;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(await unpacked("model"), {
    executionProviders: ["wasm"],
  });
  return async ({ data, height, width }) => {
    const images = new ort.Tensor("uint8", data, [1, height, width, facts.channels]);
    const outputs = await session.run({ images });
    const result = { probabilities: Array.from(outputs.probabilities.data) };
    if (outputs.maps) {
      const [, rows, columns, classes] = outputs.maps.dims;
      const values = outputs.maps.data;
      result.mapOf = (index) => ({
        rows,
        columns,
        values: Float32Array.from({ length: rows * columns }, (_, i) => values[i * classes + index]),
      });
    }
    return result;
  };
}

// ------------------------------------------------------------------------------ the picture

const decoded = (file) =>
  createImageBitmap(file, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });

// The pixels as the model takes them. Large pictures are reduced by whole factors, as the reader of
// reslab reduces JPEG files: the shorter side keeps twice the pixels that the model needs.
function pixelsOf(bitmap) {
  let factor = 1;
  while (factor < 8 && Math.min(bitmap.width, bitmap.height) >= 4 * factor * facts.needed) factor *= 2;
  const width = Math.ceil(bitmap.width / factor);
  const height = Math.ceil(bitmap.height / factor);
  const data = new Uint8Array(width * height * facts.channels);
  const rows = Math.max(1, Math.floor(STRIP / bitmap.width / factor)); // of the result at once
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = Math.min(bitmap.height, rows * factor);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += rows) {
    const lines = Math.min(canvas.height, bitmap.height - top * factor);
    context.fillStyle = "#fff"; // transparent pixels become white
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, -top * factor);
    const rgba = context.getImageData(0, 0, bitmap.width, lines).data;
    reduce(rgba, bitmap.width, lines, factor, data, top * width * facts.channels);
  }
  return { data, height, width };
}

// The means of factor x factor pixels, in grey for grey models, written to `out` from `at` on.
function reduce(rgba, width, height, factor, out, at) {
  for (let y = 0; y < height; y += factor) {
    const bottom = Math.min(y + factor, height);
    for (let x = 0; x < width; x += factor) {
      const right = Math.min(x + factor, width);
      let red = 0, green = 0, blue = 0;
      for (let j = y; j < bottom; j++) {
        for (let i = 4 * (j * width + x); i < 4 * (j * width + right); i += 4) {
          red += rgba[i];
          green += rgba[i + 1];
          blue += rgba[i + 2];
        }
      }
      const n = (bottom - y) * (right - x);
      const [r, g, b] = [red, green, blue].map((sum) => Math.floor(sum / n + 0.5));
      if (facts.channels === 1) {
        out[at++] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16; // as Pillow does
      } else {
        out[at++] = r;
        out[at++] = g;
        out[at++] = b;
      }
    }
  }
}

// Where the part that the model sees lies in a picture: left, top, width, height in pixels.
function seenBox(width, height) {
  const view = facts.view;
  if (view.kind === "resized") {
    if (view.resize === null) return [0, 0, width, height];
    const shorter = Math.min(width, height);
    const sides = [width, height].map((n) => Math.floor((view.resize * n) / shorter));
    const part = [width / sides[0], height / sides[1]];
    const first = sides.map((n, i) => Math.round((n - [view.width, view.height][i]) / 2));
    return [first[0] * part[0], first[1] * part[1], view.width * part[0], view.height * part[1]];
  }
  let across = Math.min(width, (height * view.width) / view.height);
  let down = Math.min(height, (width * view.height) / view.width);
  if (view.margin) {
    const short = Math.min(view.height, view.width);
    const share = short / Math.round(short * facts.margin);
    across *= share;
    down *= share;
  }
  return [(width - across) / 2, (height - down) / 2, across, down];
}

// ------------------------------------------------------------------------------ the drawing

function drawPhoto(bitmap) {
  const scale = Math.min(1, PHOTO_SIDE / Math.max(bitmap.width, bitmap.height));
  const photo = $("photo");
  photo.width = Math.max(1, Math.round(bitmap.width * scale));
  photo.height = Math.max(1, Math.round(bitmap.height * scale));
  photo.classList.toggle("small", Math.max(bitmap.width, bitmap.height) <= 128);
  const context = photo.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, photo.width, photo.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, photo.width, photo.height);
}

// The positive part of a map, in colours, over the part of the picture that the model sees.
function drawMap({ rows, columns, values }, pictureWidth, pictureHeight) {
  const canvas = $("map");
  const scale = MAP_SIDE / Math.max(pictureWidth, pictureHeight);
  canvas.width = Math.max(1, Math.round(pictureWidth * scale));
  canvas.height = Math.max(1, Math.round(pictureHeight * scale));
  const [left, top, across, down] = seenBox(pictureWidth, pictureHeight);
  const largest = Math.max(...values);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const at = (i, j) => values[i * columns + j];
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);
  for (let y = 0, k = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++, k += 4) {
      const u = ((x + 0.5) * pictureWidth) / canvas.width - left;
      const v = ((y + 0.5) * pictureHeight) / canvas.height - top;
      if (u < 0 || v < 0 || u > across || v > down) {
        image.data[k + 3] = 255 * (1 - facts.dimmed); // the model does not see it
        continue;
      }
      const column = clamp((u / across) * columns - 0.5, columns - 1);
      const row = clamp((v / down) * rows - 0.5, rows - 1);
      const [i, j] = [Math.floor(row), Math.floor(column)];
      const [below, right] = [Math.min(i + 1, rows - 1), Math.min(j + 1, columns - 1)];
      const [a, b] = [row - i, column - j];
      const value =
        (1 - a) * ((1 - b) * at(i, j) + b * at(i, right)) +
        a * ((1 - b) * at(below, j) + b * at(below, right));
      const colour = largest > 0 ? Math.round(255 * clamp(value / largest, 1)) : 0;
      image.data.set(colours.subarray(3 * colour, 3 * colour + 3), k);
      image.data[k + 3] = 255 * facts.opacity;
    }
  }
  context.putImageData(image, 0, 0);
}

const colours = Uint8Array.from(facts.colours.match(/../g), (digits) => parseInt(digits, 16));

function drawLegend() {
  const context = $("ramp").getContext("2d");
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) image.data.set([...colours.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

// ------------------------------------------------------------------------------ the answer

const percent = (p) => `${(100 * p).toFixed(1)} %`;

// {name, probability, threshold, index, map} of the classes, the most probable one first.
function ranked(result) {
  const rows = facts.classes.map((name, index) => ({
    name,
    index,
    probability: result.probabilities[index],
    threshold: facts.task === "classification" ? null : (facts.thresholds?.[index] ?? 0.5),
    map: result.mapOf && (() => result.mapOf(index)),
  }));
  return rows.sort((a, b) => b.probability - a.probability || a.index - b.index);
}

function showAnswer(rows) {
  const several = facts.task !== "classification";
  const chosen = several ? rows.filter((row) => row.probability >= row.threshold) : rows.slice(0, 1);
  const heading = $("answer");
  heading.replaceChildren();
  if (chosen.length === 0) {
    heading.textContent = "None of the labels";
  } else if (several) {
    heading.textContent = chosen.map((row) => row.name).join(", ");
  } else {
    const number = document.createElement("span");
    number.textContent = ` ${percent(chosen[0].probability)}`;
    heading.append(chosen[0].name, number);
  }
  const unsure = facts.unsure && rows[0].probability < facts.unsure.below;
  $("unsure").hidden = !unsure;
  if (unsure) {
    $("unsure").textContent =
      `This picture looks like none of the classes: the largest probability is below ` +
      `${percent(facts.unsure.below)}.`;
  }
  const shown = rows.slice(0, Math.max(SHOWN, chosen.length));
  $("bars").replaceChildren(...shown.map((row) => bar(row, chosen.includes(row))));
  return `${heading.textContent}. ${unsure ? $("unsure").textContent : ""}`;
}

function bar(row, chosen) {
  const item = document.createElement("li");
  const line = document.createElement(row.map ? "button" : "div");
  line.className = "row";
  if (row.map) {
    line.type = "button";
    line.title = `Show where it sees ${row.name}`;
    line.onclick = () => showMap(row);
  }
  line.dataset.index = row.index;
  const [name, number, track, fill] = ["span", "span", "span", "span"].map((tag) =>
    document.createElement(tag),
  );
  name.className = "name";
  name.textContent = row.name;
  number.textContent = percent(row.probability);
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  fill.className = "fill";
  fill.style.display = "block";
  fill.style.width = `${100 * row.probability}%`;
  track.append(fill);
  if (row.threshold !== null) {
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.style.left = `calc(${100 * row.threshold}% - 1px)`;
    mark.title = `threshold ${percent(row.threshold)}`;
    track.append(mark);
  }
  line.append(name, number, track);
  item.classList.toggle("chosen", chosen);
  item.append(line);
  return item;
}

// ------------------------------------------------------------------------------ the map

let picture = null; // {width, height} of the picture that is shown

function showMap(row) {
  for (const line of document.querySelectorAll("button.row")) {
    line.setAttribute("aria-pressed", String(Number(line.dataset.index) === row.index));
  }
  $("seen").textContent = row.name;
  drawMap(row.map(), picture.width, picture.height);
  toggleMap();
}

function toggleMap() {
  const on = !$("switch").hidden && $("show").checked;
  $("map").hidden = !on;
  $("legend").hidden = !on;
  $("photo").classList.toggle("grey", on); // its colours do not mix with those of the map
  if (picture) {
    const [, , across, down] = seenBox(picture.width, picture.height);
    $("outside").hidden = !on || (across > 0.99 * picture.width && down > 0.99 * picture.height);
  }
}

// ------------------------------------------------------------------------------ one picture

function say(state, text) {
  root.dataset.state = state;
  $("status").textContent = text;
}

const painted = () =>
  new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

let classify = null;
let turn = 0; // the number of the picture that was given last

async function show(file) {
  const mine = ++turn;
  root.classList.add("tried");
  $("result").classList.add("stale");
  say("busy", "Looking at the picture");
  await painted();
  try {
    const bitmap = await read(file);
    const start = performance.now();
    const rows = await classify(file, bitmap);
    if (mine !== turn) return;
    $("time").textContent = `${Math.max(1, Math.round(performance.now() - start))} ms`;
    $("result").hidden = false;
    $("result").classList.remove("stale");
    $("stage").parentElement.hidden = bitmap === null;
    picture = bitmap && { width: bitmap.width, height: bitmap.height };
    if (bitmap) drawPhoto(bitmap);
    const text = showAnswer(rows);
    $("switch").hidden = !rows[0].map || bitmap === null;
    if (rows[0].map && bitmap) showMap(rows[0]);
    else toggleMap();
    $("photo").setAttribute("aria-label", `The picture. ${text}`);
    say("done", "");
    $("answer").focus({ preventScroll: true });
    $("result").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (mine !== turn) return;
    $("result").hidden = true;
    if (!error.friendly) console.info(error);
    say("error", error.friendly || "The model cannot run on this picture: try a smaller one.");
  }
}

const friendly = (text) => Object.assign(new Error(text), { friendly: text });

// The decoded picture. A server may read formats that the browser does not: null.
async function read(file) {
  try {
    return await decoded(file);
  } catch {
    if (facts.address) return null;
    const name = file.name ? `“${file.name}”` : "This";
    throw friendly(
      `${name} cannot be read as a picture: it is damaged, or of a kind that this browser does ` +
        "not know. JPEG, PNG, WebP and GIF work everywhere.",
    );
  }
}

function classifyHere(run) {
  return async (file, bitmap) => ranked(await run(pixelsOf(bitmap)));
}

// The answer of the server; see `reslab.formats.page.posting`.
async function classifyThere(file) {
  let response, answer;
  try {
    response = await fetch(facts.address, { method: "POST", body: file });
    answer = await response.json();
  } catch {
    throw friendly("The server does not answer.");
  }
  if (!response.ok) throw friendly(answer.error || answer.detail || `The server says ${response.status}.`);
  const first = Array.isArray(answer) ? answer[0] : answer;
  return first.predictions.map((row) => ({
    name: row.class,
    index: facts.classes.indexOf(row.class),
    probability: row.probability,
    threshold: row.threshold ?? null,
    map: row.map && (() => ({
      rows: row.map.length,
      columns: row.map[0].length,
      values: Float32Array.from(row.map.flat()),
    })),
  }));
}

// ------------------------------------------------------------------------------ ways to give one

function give(files) {
  if (files.length > 0 && classify) show(files[0]);
}

for (const id of ["file", "capture"]) {
  $(id).onchange = (event) => {
    give([...event.target.files]);
    event.target.value = ""; // the same file can be chosen again
  };
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  root.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) root.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  root.classList.remove("over");
  const files = [...event.dataTransfer.files];
  if (files.length > 0) give(files);
  else if (classify) say("error", "That was not a file: save the picture first, then drop it here.");
});
document.addEventListener("paste", (event) => give([...event.clipboardData.files]));
$("show").onchange = toggleMap;

// ------------------------------------------------------------------------------ the camera

let camera = null; // the stream

async function openCamera() {
  if (matchMedia("(pointer: coarse)").matches) return $("capture").click(); // the phone's own
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const reason = error.name === "NotFoundError" ? "there is none" : "this page may not use it";
    return say("error", `The camera cannot be used: ${reason}. Take a photo elsewhere and choose it.`);
  }
  $("video").srcObject = camera;
  await $("video").play();
  $("viewer").hidden = false;
  say("ready", "");
  $("take").focus();
}

function closeCamera() {
  for (const track of camera?.getTracks() ?? []) track.stop();
  camera = null;
  $("viewer").hidden = true;
}

$("camera").onclick = openCamera;
$("close").onclick = closeCamera;
$("take").onclick = () => {
  const canvas = document.createElement("canvas");
  canvas.width = $("video").videoWidth;
  canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  closeCamera();
  canvas.toBlob((blob) => show(blob), "image/png");
};

// ------------------------------------------------------------------------------ the start

async function start() {
  $("camera").hidden = !navigator.mediaDevices?.getUserMedia && !matchMedia("(pointer: coarse)").matches;
  drawLegend();
  if (facts.address) {
    classify = classifyThere;
  } else {
    say("loading", "Starting the model");
    await painted();
    const run = await openModel();
    const side = facts.needed;
    const data = new Uint8Array(side * side * facts.channels);
    await run({ data, height: side, width: side }); // the first run is slow
    classify = classifyHere(run);
    globalThis.model = { run, decoded, pixelsOf, seenBox }; // for the console
  }
  say("ready", "");
}

start().catch((error) => {
  console.info(error);
  say(
    "error",
    typeof DecompressionStream === "undefined"
      ? "This browser is too old to run the model: use one from 2023 or later."
      : "The model cannot start in this browser. It may need more memory than there is.",
  );
});
