"use strict";
// Items of the corpus: those to try, their cards, and what is known of one.

const SPLITS = { train: "training", val: "validation", test: "held out" };

// Held-out items to click on an empty page; none without an index.
async function showItems() {
  const { items } = await (await call("examples")).json();
  $("tries").hidden = !items.length;
  $("strip").replaceChildren(...items.map((item) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: `${item.name}: ${summaryOf(item)}` });
    const label = Object.assign(document.createElement("span"), { textContent: item.label ? text(item.label) : item.name });
    button.append(pictureOf(item), label);
    button.addEventListener("click", () => chooseItem(item));
    const place = document.createElement("li");
    place.append(button);
    return place;
  }));
}

// Ask with the embedding that the index has of an item.
function chooseItem(item) {
  forget();
  entry = item;
  $("words").value = "";
  $("preview").hidden = !item.thumbnail;
  if (item.thumbnail) load($("preview"), item.thumbnail).catch(show);
  $("drop-hint").textContent = [item.name, summaryOf(item)].filter(Boolean).join(" · ");
  $("about").hidden = false;
  ask();
}

// The service has opened another index since this page listed its items.
async function othersNow() {
  forget();
  await learn();
  return new Error("Another version is served by now, and this object is not in its index. Choose one again.");
}

function pictureOf(item) {
  if (!item.thumbnail) return Object.assign(document.createElement("i"), { className: "blank" });
  const picture = Object.assign(document.createElement("img"), { alt: item.name, loading: "lazy", width: 160, height: 160 });
  load(picture, item.thumbnail).catch(() => { picture.alt = `${item.name} (no picture)`; });
  return picture;
}

function summaryOf(item) {
  const origin = [licenceOf(item), item.creator].filter(Boolean).join(", ");
  return [item.label && text(item.label), origin].filter(Boolean).join(" · ");
}

function card(item) {
  const made = $("card").content.cloneNode(true).firstElementChild;
  made.querySelector("button").prepend(pictureOf(item));
  made.querySelector("b").textContent = item.name;
  made.querySelector(".score").textContent = item.score.toFixed(2);
  made.querySelector("small").textContent = summaryOf(item);
  made.querySelector(".open").addEventListener("click", () => openItem(item));
  return made;
}

function licenceOf(item) {
  return item.licence && item.licence.replace(/^by/i, "CC BY").replace(/^cc0/i, "CC0");
}

let opened = null;

// What is known of an item, larger than on its card.
function openItem(item) {
  opened = item;
  $("opened-name").textContent = item.name;
  $("opened-picture").hidden = !item.thumbnail;
  $("opened-picture").alt = item.name;
  if (item.thumbnail) load($("opened-picture"), item.thumbnail);
  const facts = { Class: item.label && text(item.label), Licence: licenceOf(item), Creator: item.creator,
    Split: SPLITS[item.split], Key: item.key, Cosine: item.score?.toFixed(3) };
  $("opened-facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value }),
  ]));
  $("opened").showModal();
}

// An img cannot carry a token; without one the browser may load and keep pictures itself.
async function load(picture, path) {
  if (!$("token").value) { picture.src = path; return; }
  const blob = await (await call(path)).blob();
  picture.src = URL.createObjectURL(blob);
  picture.onload = () => URL.revokeObjectURL(picture.src);
}
