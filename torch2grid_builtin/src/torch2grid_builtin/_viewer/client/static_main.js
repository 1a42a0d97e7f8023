// Starts a page that was exported: everything is beside it, or in the file that it was made of.

import { element } from "./elements.js";
import { Explorer } from "./explore.js";
import { Static } from "./static.js";

const root = document.body;
const provider = new Static();
provider.model().then((model) => {
  const explorer = new Explorer(provider, model, root);
  Object.assign(root, { explorer });
  const { camera } = explorer.view;
  camera.finest = provider.deep ? 0 : model.static.first;
  explorer.finished();
  provider.changed = () => {
    camera.finest = 0;
    explorer.view.tiles.forget(); // they may be of another file
    explorer.view.changed();
  };
  if (!model.static.files.length) return;
  const hint = element("div", { class: "facts", text: model.static.source ? "finer cells come from the file's own server" : `finer cells: drop ${model.static.files.map((/** @type {any[]} */ [name]) => name).join(", ")} here; nothing is uploaded` });
  const chosen = element("input", { type: "file", multiple: true, "aria-label": "the file, for finer cells; it stays on this machine" });
  const take = async (/** @type {Iterable<File>} */ files) => {
    const wrong = await provider.drop([...files]).catch((error) => String(error.message ?? error));
    explorer.banner.hidden = !wrong;
    if (wrong) explorer.say(wrong);
    else hint.textContent = "finer cells come from the file on this machine";
  };
  chosen.addEventListener("change", () => take(chosen.files ?? []));
  explorer.more?.append(element("label", { class: "choice" }, hint, chosen));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer?.files ?? []);
  });
}).catch((error) => root.append(element("p", { class: "banner", role: "alert", text: String(error.message ?? error) })));
