// Choices of a voice and of captions, wherever words are said.
import { h } from "./dom.js";
import { t } from "./texts.js";

/** The first voice that is installed, as settings of a form. */
export function firstVoice(about) {
  const [voice] = about.voices;
  return { voice: voice?.voice || "", language: voice?.languages[0] || "" };
}

/** Voices, each with its languages; onchange({voice, language}). */
export function voiceChoice(about, settings, onchange) {
  const both = about.voices.flatMap((one) => one.languages.map((language) => [`${one.voice} ${language}`,
    `${new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(language)} · ${one.voice}`]));
  return h("select", { "aria-label": t("voice"), onchange: (event) => {
    const [voice, language] = event.target.value.split(" ");
    onchange({ voice, language });
  } }, both.map(([value, words]) => h("option", { value, selected: value === `${settings.voice} ${settings.language}` }, words)));
}

export function captionsChoice(kinds, settings) {
  return h("select", { "aria-label": t("captions"), onchange: (event) => { settings.captions = event.target.value; } },
    kinds.map((value) => h("option", { value, selected: value === settings.captions }, t(`caption-kinds.${value || "none"}`))));
}

/** Uses that the person agreed to; the chosen one, where there are any, is settings.use. */
export function useChoice(one, settings) {
  if (!one.uses.length) return null;
  settings.use ||= one.uses[0];
  return h("div", {}, h("label", { for: "use" }, t("use")), h("select", { id: "use", onchange: (event) => { settings.use = event.target.value; } },
    one.uses.map((use) => h("option", { value: use, selected: use === settings.use }, use))));
}
