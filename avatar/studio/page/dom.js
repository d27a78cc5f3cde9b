// Elements, icons, dialogs: the little that every view needs.
import { t } from "./texts.js";

/** An element: h("button.primary", {onclick}, "text", child, ...). Null and false children are left out. */
export function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name in element && !name.startsWith("aria") && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  camera: "M3 7h11a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H3zM16 11l5-3v8l-5-3",
  file: "M12 16V4m0 0L7 9m5-5 5 5M4 20h16",
  mic: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5 11a7 7 0 0 0 14 0M12 18v3",
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  stop: "M7 7h10v10H7z",
  download: "M12 4v12m0 0 5-5m-5 5-5-5M4 20h16",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
  again: "M4 12a8 8 0 0 1 14-5l2 2M20 4v5h-5M20 12a8 8 0 0 1-14 5l-2-2M4 20v-5h5",
  check: "M5 12l5 5L20 7",
  close: "M6 6l12 12M18 6 6 18",
  back: "M15 5l-7 7 7 7",
  terminal: "M5 7l4 5-4 5M12 18h7",
  shield: "M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon and words; `quiet` ones look like links. */
export function button(words, onclick, { sign = null, kind = "", ...rest } = {}) {
  return h(`button.${kind || "plain"}`, { type: "button", onclick, ...rest }, sign && icon(sign), h("span", {}, words));
}

export function fill(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter(Boolean));
  return place;
}

/** A sentence that is shown for a while, and read out. */
export function say(text, kind = "") {
  const toast = h(`p.toast${kind ? `.${kind}` : ""}`, {}, text);
  document.getElementById("said").append(toast);
  setTimeout(() => toast.remove(), kind === "bad" ? 9000 : 4000);
}

/** Run what a click starts; an error becomes a sentence. */
export function doing(act) {
  return async (event) => {
    const pressed = event?.currentTarget;
    if (pressed) pressed.disabled = true;
    try {
      await act(event);
    } catch (error) {
      say(explain(error), "bad");
    } finally {
      if (pressed?.isConnected) pressed.disabled = false;
    }
  };
}

/** An error in the words of the page's language. */
export function explain(error) {
  if (error.code) {
    const known = t(`errors.${error.code}`, error.values);
    if (known) return known;
  }
  return error.message || String(error);
}

/** A yes-or-no question; resolves to whether it was confirmed. */
export function ask(question, detail, confirm) {
  return new Promise((resolve) => {
    const dialog = h("dialog.ask", { "aria-labelledby": "ask-title" },
      h("h2", { id: "ask-title" }, question),
      h("p", {}, detail),
      h("form.row.end", { method: "dialog" },
        h("button.plain", { value: "no" }, t("cancel")),
        h("button.danger", { value: "yes" }, confirm)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A choice of few, as radio buttons that look like one row. */
export function segmented(legend, name, options, value, onchange, kind = "segments") {
  return h("fieldset", { class: kind },
    h("legend", {}, legend),
    h("div.options", {}, options.map((one) =>
      h("label", { title: one.hint },
        h("input", { type: "radio", name, value: one.value, checked: one.value === value, disabled: one.disabled,
          onchange: () => onchange(one.value) }),
        h("span.option", {}, one.picture, h("span", {}, one.words), one.hint && h("small", {}, one.hint))))));
}

export function bytes(count) {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} GB`;
  if (count >= 1e6) return `${Math.round(count / 1e6)} MB`;
  return `${Math.max(1, Math.round(count / 1e3))} kB`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 55) return t("seconds", { n: whole });
  if (whole < 3300) return t("minutes", { n: Math.max(1, Math.round(whole / 60)) });
  return t("hours", { n: (whole / 3600).toFixed(1) });
}

export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

export function bar(share, label) {
  const inner = h("div.fill");
  if (share !== null) inner.style.width = `${Math.round(100 * Math.min(1, share))}%`;
  return h(`div.bar${share === null ? ".unknown" : ""}`,
    { role: "progressbar", "aria-label": label, "aria-valuenow": share === null ? null : String(Math.round(100 * share)),
      "aria-valuemin": "0", "aria-valuemax": "100" }, inner);
}

/** Files that are dropped on an element or chosen by a button: onfile(first, all). */
export function pickFile(accept, onfile, attributes = {}) {
  const input = h("input", { type: "file", accept, hidden: true, tabindex: "-1", "aria-hidden": "true", ...attributes,
    onchange: () => { if (input.files[0]) onfile(input.files[0], [...input.files]); input.value = ""; } });
  return input;
}

export function droppable(element, onfile) {
  let depth = 0;
  const over = (on) => element.classList.toggle("dropping", on);
  element.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; over(true); });
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("dragleave", () => { depth -= 1; over(depth > 0); });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    if (event.dataTransfer.files[0]) onfile(event.dataTransfer.files[0], [...event.dataTransfer.files]);
  });
  return element;
}
