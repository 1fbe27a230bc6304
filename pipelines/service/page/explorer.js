"use strict";
// One query at a time: a file, an item of the corpus or words, asked of /search and /zero_shot at once.

// Of the modalities that take a file, the first in this order is meant: a picture, not a depth map.
const LIKELY = ["image", "video", "audio", "point_cloud"];
const SOUND_ONLY = ["m4a", "m4b", "mka", "oga", "opus", "wma"]; // of containers that may hold videos
const WORDS = {
  point_cloud: "3D objects (.glb, .ply, .obj)", image: "images", audio: "sounds (.wav, .mp3, .m4a)",
  video: "videos", depth: "depth maps (.png, .npy)",
};
const KINDS = { signal: "embeddings of the lens", image: "their images", text: "their captions" };
const FEW = 8; // classes shown at first
const EXAMPLES = 6; // words to try on an empty page
const NEIGHBOURS = 12;

const $ = (id) => document.getElementById(id);
let served = null;
let file = null;
let entry = null; // an item of the corpus
let pending = null;

function likelyModality(ending) {
  if (ending === "txt" && served.modalities.includes("text")) return "text";
  const takes = served.modalities.filter((name) => served.endings[name].includes(`.${ending}`));
  const likely = SOUND_ONLY.includes(ending) ? ["audio", ...LIKELY] : LIKELY;
  return likely.find((name) => takes.includes(name)) || takes[0] || served.lensed[0];
}

function text(value) { return value.replaceAll("_", " "); }

function headers() {
  const token = $("token").value;
  return token ? { authorization: `Bearer ${token}` } : {};
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  if (response.status === 401) {
    $("token-field").hidden = false;
    throw new Error($("token").value ? "That is another token than this service's." : "");
  }
  const told = body && body.error ? `${body.error.replace(/^inputs 0: /, "")}. Expected: ${body.expected}.` : response.statusText;
  throw Object.assign(new Error(told), { status: response.status });
}

function show(error) {
  $("error").hidden = !(error && error.message); // what asks for the token says enough
  $("error").textContent = error ? error.message : "";
}

function chip(words) {
  const item = document.createElement("span");
  item.className = "chip";
  item.textContent = words;
  return item;
}

async function learn() {
  served = await (await call("model")).json();
  $("token-field").hidden = true;
  show(null);
  const names = served.model.map((v) => (v.version === "file" ? v.name : `${v.name}, version ${v.version}`));
  const corpus = served.corpus ? [`${served.items.toLocaleString("en")} ${text(served.corpus)} samples indexed`]
    : ["classes only, nothing to search"];
  $("facts").replaceChildren(...[...names, ...corpus].map(chip));
  const known = served.modalities.map((name) => WORDS[name]).filter(Boolean);
  $("drop-hint").textContent = `Read here: ${known.join(", ")}.`;
  fill($("modality"), served.modalities.filter((name) => name !== "text"), text);
  fill($("vectors"), served.vectors, (name) => KINDS[name]);
  if (!$("classes").value) $("classes").value = served.labels.map(text).join("\n");
  showExamples();
  showItems().catch(show);
  if (!served.corpus) {
    $("status").textContent = `Nothing can be searched here: ${served.search}. ` +
      "A file can still be compared with classes: name some above, one a line.";
    $("settings").open = true;
  }
}

// Spread over the classes, so that the row does not show six kinds of bird.
function showExamples() {
  const step = Math.max(1, Math.floor(served.labels.length / EXAMPLES));
  const names = served.labels.filter((_, index) => index % step === 0).slice(0, EXAMPLES);
  $("examples").hidden = !served.corpus || !names.length || !served.modalities.includes("text");
  const lead = Object.assign(document.createElement("span"), { className: "note", textContent: "Try" });
  $("examples").replaceChildren(lead, ...names.map((name) => {
    const item = Object.assign(document.createElement("button"), { type: "button", className: "chip", textContent: text(name) });
    item.addEventListener("click", () => { forget(); $("words").value = text(name); ask(); });
    return item;
  }));
}

function forget() {
  file = entry = null;
  $("preview").hidden = $("about").hidden = true;
  $("drop-hint").textContent = "";
  hideObject();
  hideVerbs();
}

function fill(select, values, words) {
  const options = values.map((value) => new Option(words(value), value));
  select.replaceChildren(select.options[0], ...options);
}

function modalityOf(name) {
  if ($("modality").value) return $("modality").value;
  const ending = name.includes(".") ? name.split(".").pop().toLowerCase() : "";
  const found = likelyModality(ending);
  if (found) return found;
  throw new Error(`This service cannot read ${ending ? `.${ending} files` : name}. ` +
    `It reads: ${served.modalities.map(text).join(", ")}.`);
}

function question(settings, signal) {
  if (entry) {
    const inputs = [{ modality: served.corpus, entry: entry.entry }];
    const headers = { "content-type": "application/json" };
    return { method: "POST", signal, headers, body: JSON.stringify({ inputs, ...settings }) };
  }
  const form = new FormData();
  if (file) form.append(modalityOf(file.name), file, file.name);
  else form.append("text", $("words").value.trim());
  for (const [name, value] of Object.entries(settings)) for (const each of [value].flat()) form.append(name, each);
  return { method: "POST", signal, body: form };
}

function asked() { return file || entry ? (file || entry).name : $("words").value.trim(); }

async function ask() {
  show(null);
  if (pending) pending.abort();
  const mine = new AbortController();
  pending = mine;
  try {
    if (!served) await learn();
    showVerbs();
    if (!asked()) throw new Error("Choose a file or type some words first.");
    const megabytes = file ? file.size / 2 ** 20 : 0;
    if (megabytes > served.limits.body_mb) {
      throw new Error(`${file.name} has ${megabytes.toFixed(0)} MB; ${served.limits.body_mb} MB are taken.`);
    }
    $("status").textContent = `Looking for ${file || entry ? asked() : `“${asked()}”`} …`;
    $("send").disabled = true;
    await Promise.all([findNearest(mine.signal), classify(mine.signal)]);
    const shown = !$("nearest").hidden || !$("classified").hidden;
    $("status").textContent = shown ? "Done."
      : "There is nothing to compare with: this service has no index, and no classes are stated. Write some under Settings.";
  } catch (error) {
    if (error.name === "AbortError" || pending !== mine) return;
    mine.abort();
    $("status").textContent = "";
    $("nearest").hidden = $("classified").hidden = true;
    hideObject();
    show(error.status === 404 && entry ? await othersNow() : error);
  } finally {
    if (pending === mine) $("send").disabled = false;
  }
}

async function findNearest(signal) {
  $("nearest").hidden = !served.corpus;
  if (!served.corpus) return;
  const own = entry && entry.entry; // it would be found first
  const settings = { count: Math.min(NEIGHBOURS + (own ? 1 : 0), served.limits.neighbours) };
  if ($("vectors").value) settings.vectors = $("vectors").value;
  const { results: [result] } = await (await call("search", question(settings, signal))).json();
  const read = own ? "Its stored embedding" : `Read as ${text(result.modality)}`;
  $("nearest-note").textContent = `${read}, compared with ${KINDS[result.vectors]}; the figure is the cosine.`;
  $("cards").replaceChildren(...result.items.filter((item) => item.entry !== own).slice(0, NEIGHBOURS).map(card));
}

function statedClasses() {
  return [...new Set($("classes").value.split("\n").map((name) => name.trim()).filter(Boolean))];
}

async function classify(signal) {
  const classes = statedClasses();
  $("classified").hidden = !classes.length;
  if (!classes.length) return;
  const { results: [result] } = await (await call("zero_shot", question({ classes }, signal))).json();
  $("classified-note").textContent = `Calibrated probabilities of ${result.classes.length} classes, ` +
    "if one of them is right.";
  $("bars").replaceChildren(...result.classes.map(bar));
  limit(result.classes.length > FEW);
}

function bar({ name, probability }, index) {
  const item = document.createElement("li");
  const percent = (100 * probability).toFixed(1);
  item.innerHTML = '<span class="name"></span><span class="track"><span class="fill"></span></span><span class="value"></span>';
  item.querySelector(".name").textContent = text(name);
  item.querySelector(".fill").style.width = `${percent}%`;
  item.querySelector(".value").textContent = `${percent} %`;
  item.dataset.rank = index;
  return item;
}

function limit(isShort) {
  const bars = [...$("bars").children];
  for (const item of bars) item.hidden = isShort && Number(item.dataset.rank) >= FEW;
  $("more").hidden = bars.length <= FEW;
  $("more").textContent = isShort ? `Show all ${bars.length}` : "Show fewer";
  $("more").setAttribute("aria-expanded", String(!isShort));
}

function choose(chosen) {
  forget();
  file = chosen;
  $("words").value = "";
  const isPicture = chosen.type.startsWith("image/");
  $("preview").hidden = !isPicture;
  if (isPicture) $("preview").src = URL.createObjectURL(chosen);
  const size = chosen.size < 2 ** 20 ? `${Math.ceil(chosen.size / 1024)} kB` : `${(chosen.size / 2 ** 20).toFixed(1)} MB`;
  $("drop-hint").textContent = `${chosen.name} (${size})`;
  showObject(chosen).catch(show);
  ask();
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
$("file").addEventListener("change", () => { if ($("file").files[0]) choose($("file").files[0]); });
$("file").addEventListener("click", () => { $("file").value = ""; }); // the same file again
$("words").addEventListener("input", () => {
  if (file || entry) forget();
});
$("enter").addEventListener("click", () => learn().catch(show));
$("token").addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); learn().catch(show); } // not the query's form
});
$("about").addEventListener("click", () => openItem(entry));
$("similar").addEventListener("click", () => { $("opened").close(); chooseItem(opened); });
$("close").addEventListener("click", () => $("opened").close());
for (const id of ["modality", "vectors"]) $(id).addEventListener("change", () => { if (asked()) ask(); });
$("reset").addEventListener("click", () => { $("classes").value = served ? served.labels.map(text).join("\n") : ""; });
$("more").addEventListener("click", () => limit($("more").getAttribute("aria-expanded") === "true"));

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
  else show(new Error("That was no file. Drop a file, or type words."));
});

learn().catch(show);
