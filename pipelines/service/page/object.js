"use strict";
// The dropped object, turning beside what was found. The viewer is loaded when it is first needed.

const VIEWER = "./model-viewer-4.1.0/model-viewer.min.js";
// The viewer's decoders for these are programs of other sites; this page loads nothing from there.
const COMPRESSIONS = ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu"];
let shownObject = null;

// Whether the viewer reads a file as it is: a GLB without compression.
async function isPlain(chosen) {
  const head = new DataView(await chosen.slice(0, 20).arrayBuffer());
  if (head.byteLength < 20 || head.getUint32(0, true) !== 0x46546c67) return false;
  const json = await chosen.slice(20, 20 + head.getUint32(12, true)).text();
  try {
    return !(JSON.parse(json).extensionsRequired || []).some((name) => COMPRESSIONS.includes(name));
  } catch { return false; }
}

// Every other format is read by the service, in its sandbox, and comes back as a plain GLB.
async function converted(chosen) {
  const form = new FormData();
  form.append("point_cloud", chosen, chosen.name);
  return (await call("shape", { method: "POST", body: form })).blob();
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
  if (!served) await learn();
  if (modalityOf(chosen.name) !== "point_cloud") return;
  shownObject = chosen;
  let glb = null;
  let reason = null;
  try {
    glb = (await isPlain(chosen)) ? chosen : await converted(chosen);
    await import(VIEWER);
  } catch (error) {
    reason = error;
  }
  if (shownObject !== chosen || (reason && !reason.message)) return; // another file was chosen, or the token is asked for
  $("object").hidden = false;
  if (reason) tellObject(`It cannot be shown: ${reason.message}`);
  else turn(chosen.name, glb);
}

function tellObject(words) {
  $("stage").replaceChildren();
  $("object-note").textContent = words;
}

function turn(name, glb) {
  const viewer = document.createElement("model-viewer");
  viewer.src = URL.createObjectURL(glb);
  viewer.alt = `${name} in 3D`;
  viewer.cameraControls = true;
  viewer.autoRotate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  viewer.setAttribute("interaction-prompt", "none");
  viewer.setAttribute("touch-action", "pan-y"); // a phone's page scrolls under the finger
  viewer.setAttribute("shadow-intensity", "0.6");
  viewer.addEventListener("error", () => tellObject("The viewer cannot show this file."));
  $("object-note").textContent = `${name}; drag to turn it.`;
  $("stage").replaceChildren(viewer);
}
