// Everything of the page around the picture: loading bar, panel, buttons, hint.

const at = (id) => document.getElementById(id);
const HINT_MS = 9000;

export const canvas = at("view");
export const stick = at("stick");

/** What is loaded and how far; `first` covers the picture. */
export function showLoading(step, fraction, first = false) {
  if (at("loading").classList.contains("failed")) return;
  at("loading").hidden = false;
  at("loading").classList.toggle("first", first);
  at("step").textContent = step;
  at("bar").firstElementChild.style.width = `${Math.round(100 * fraction)}%`;
  at("bar").setAttribute("aria-valuenow", Math.round(100 * fraction));
}

export function hideLoading() {
  at("loading").hidden = true;
}

/** Say why nothing can be seen. */
export function showFailure(text) {
  showLoading(text, 0, true);
  at("loading").classList.add("failed");
}

/** Name and rows of the panel: {label, text, tone, link}. Text is never taken for markup. */
export function fillPanel(name, rows) {
  document.title = name;
  at("name").textContent = name;
  at("facts").replaceChildren(
    ...rows.flatMap(({ label, text, tone, link }) => {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = label;
      let holder = value;
      if (link) {
        holder = value.appendChild(document.createElement("a"));
        holder.href = link;
      }
      holder.textContent = text;
      if (tone) value.className = tone;
      return [term, value];
    }),
  );
  const fold = at("fold");
  const open = (yes) => {
    fold.setAttribute("aria-expanded", yes);
    at("facts").hidden = !yes;
  };
  fold.onclick = () => open(fold.getAttribute("aria-expanded") !== "true");
  open(innerWidth > 640);
}

/** Connect a button. */
export function onClick(id, action) {
  at(id).addEventListener("click", (event) => {
    action();
    // Else the space bar and the arrows would go to the button.
    if (event.detail) canvas.focus();
  });
}

/** Do what a button does. */
export function press(id) {
  at(id).click();
}

export function setVisible(id, visible) {
  at(id).hidden = !visible;
}

export function setPressed(id, pressed) {
  at(id).setAttribute("aria-pressed", pressed);
}

/** A line at the bottom that goes away. */
export function showHint(text) {
  const hint = at("hint");
  hint.textContent = text;
  hint.classList.remove("gone");
  setTimeout(() => hint.classList.add("gone"), HINT_MS);
}

/** Hide everything but the picture, or show it again. */
export function setBare(bare) {
  document.body.classList.toggle("bare", bare);
}
