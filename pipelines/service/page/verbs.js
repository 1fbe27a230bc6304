"use strict";
// A question about the dropped file, and what is looked for in a dropped picture.

const ZERO_SHOT = "zero-shot", WINDOWS = "windows"; // what answers without a further model
const COLOURS = 4;
let verbsFile = null;
let asking = null; // ends the question under way

function hideVerbs() {
  if (asking) asking.abort();
  verbsFile = null;
  $("asking").hidden = $("looking").hidden = true;
  $("said").textContent = $("looking-note").textContent = "";
  $("boxes").replaceChildren();
}

// Only what the service offers, and once for a file: its answers stay when it is read otherwise.
function showVerbs() {
  if (file === verbsFile) return;
  hideVerbs();
  verbsFile = file;
  if (!file) return;
  $("asking").hidden = !served.verbs.ask;
  $("asking-note").textContent = served.verbs.ask === ZERO_SHOT
    ? "There is no question model here: the answer is the nearest of the classes, whatever is asked."
    : `Answered by ${served.verbs.ask}.`;
  const isPicture = !$("preview").hidden && modalityOf(file.name) === "image";
  $("looking").hidden = !(served.verbs.detect && isPicture);
  if (isPicture) $("scene").src = $("preview").src;
  $("scene").alt = file.name;
}

// Sends a question while its button rests; null if another file was dropped meanwhile, or it failed.
async function sent(path, options, button, read = (response) => response.json()) {
  const mine = file;
  show(null);
  button.disabled = true;
  try {
    const answer = await read(await call(path, options));
    return file === mine ? answer : null;
  } catch (error) {
    if (file === mine) show(error);
    return null;
  } finally {
    button.disabled = false;
  }
}

// Reads server-sent events: words as they come, and at the end the whole answer.
async function heard(response, hear) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer broke off. Ask again.");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, kind, data] = /^event: (\w+)\ndata: ([^\n]*)$/.exec(event);
      const told = JSON.parse(data);
      if (kind === "answer") return told;
      if (kind === "error") throw new Error(`${told.error}. Expected: ${told.expected}.`);
      hear(told.text);
    }
  }
}

async function askAboutIt() {
  const settings = { question: $("asked").value.trim(), answers: served.verbs.ask === ZERO_SHOT ? statedClasses() : [] };
  const mine = asking = new AbortController();
  let words = "";
  const hear = (more) => { words += more; if (asking === mine) $("said").textContent = `${words} …`; };
  $("said").textContent = "…";
  const options = question(settings, mine.signal);
  options.headers = { ...options.headers, accept: "text/event-stream" };
  const answer = await sent("ask", options, $("asking-form").querySelector("button"), (response) => heard(response, hear));
  if (asking !== mine) return;
  const said = answer && answer.answers[0];
  $("said").textContent = !said ? "" : said.probability === null ? said.text || "(no words)"
    : `${text(said.text)} (zero-shot, no question model; probability ${said.probability.toFixed(2)})`;
}

// What is looked for: words, or one file of any modality.
async function look(chosen) {
  const form = new FormData();
  form.append("picture.image", file, file.name);
  if (chosen) form.append(`queries.${modalityOf(chosen.name)}`, chosen, chosen.name);
  else for (const words of $("sought").value.split(",").map((one) => one.trim()).filter(Boolean)) form.append("queries.text", words);
  $("looking-note").textContent = "Looking …";
  $("boxes").replaceChildren();
  const answer = await sent("detect", { method: "POST", body: form }, $("looking-form").querySelector("button"));
  if (!answer) { $("looking-note").textContent = ""; return; }
  $("boxes").replaceChildren(...answer.boxes.map((found) => frame(found, answer)));
  const scores = answer.by === WINDOWS ? "scores are cosines of windows of the picture" : `scores are probabilities of ${answer.by}`;
  $("looking-note").textContent = answer.boxes.length ? `The figures: ${scores}.` : "Nothing was found.";
}

function frame({ query, name, score, box: [left, top, right, bottom] }, { width, height }) {
  const made = document.createElement("div");
  made.className = `box of-${query % COLOURS}`;
  made.append(Object.assign(document.createElement("span"), { textContent: `${name} ${score.toFixed(2)}` }));
  const share = { left: left / width, top: top / height, width: (right - left) / width, height: (bottom - top) / height };
  for (const [side, part] of Object.entries(share)) made.style[side] = `${100 * part}%`;
  return made;
}

$("asking-form").addEventListener("submit", (event) => { event.preventDefault(); askAboutIt().catch(show); });
$("looking-form").addEventListener("submit", (event) => { event.preventDefault(); look().catch(show); });
$("sought-file").addEventListener("click", () => { $("sought-file").value = ""; }); // the same file again
$("sought-file").addEventListener("change", () => { if ($("sought-file").files[0]) look($("sought-file").files[0]).catch(show); });
