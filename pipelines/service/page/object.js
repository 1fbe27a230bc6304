"use strict";
// The dropped object, turning beside what was found. The viewer is loaded when it is first needed.

const VIEWER = "./model-viewer-4.1.0/model-viewer.min.js";
// Their decoders are programs of other sites; this page loads nothing from there.
const COMPRESSIONS = { KHR_draco_mesh_compression: "Draco", EXT_meshopt_compression: "meshopt", KHR_texture_basisu: "Basis" };
let shownObject = null;

// What a GLB's head says it needs; an empty list for a file that is none.
async function requiredExtensions(chosen) {
  const head = new DataView(await chosen.slice(0, 20).arrayBuffer());
  if (head.byteLength < 20 || head.getUint32(0, true) !== 0x46546c67) return [];
  const json = await chosen.slice(20, 20 + head.getUint32(12, true)).text();
  try { return JSON.parse(json).extensionsRequired || []; } catch { return []; }
}

function hideObject() {
  shownObject = null;
  const old = $("stage").firstElementChild;
  if (old && old.src) URL.revokeObjectURL(old.src);
  $("stage").replaceChildren();
  $("object").hidden = true;
}

async function showObject(chosen) {
  hideObject();
  if (!chosen.name.toLowerCase().endsWith(".glb")) return;
  shownObject = chosen;
  const compressed = (await requiredExtensions(chosen)).map((name) => COMPRESSIONS[name]).find(Boolean);
  if (!compressed) await import(VIEWER);
  if (shownObject !== chosen) return; // another file was chosen meanwhile
  $("object").hidden = false;
  if (compressed) tellObject(`It is compressed with ${compressed}, which the viewer here does not read.`);
  else turn(chosen);
}

function tellObject(words) {
  $("stage").replaceChildren();
  $("object-note").textContent = words;
}

function turn(chosen) {
  const viewer = document.createElement("model-viewer");
  viewer.src = URL.createObjectURL(chosen);
  viewer.alt = `${chosen.name} in 3D`;
  viewer.cameraControls = true;
  viewer.autoRotate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  viewer.setAttribute("interaction-prompt", "none");
  viewer.setAttribute("touch-action", "pan-y"); // a phone's page scrolls under the finger
  viewer.setAttribute("shadow-intensity", "0.6");
  viewer.addEventListener("error", () => tellObject("The viewer cannot show this file."));
  $("object-note").textContent = `${chosen.name}; drag to turn it.`;
  $("stage").replaceChildren(viewer);
}
