// Slides: a deck, what is on its slides and said over them, and the film of it with the person.
import { Upload, get, person, post, remove } from "./api.js";
import { ask, bar, button, doing, droppable, duration, explain, fill, h, icon, pickFile, say, segmented } from "./dom.js";
import { Gallery } from "./gallery.js";
import { advice, t } from "./texts.js";
import { captionsChoice, firstVoice, useChoice, voiceChoice } from "./voices.js";
import { pack } from "./zip.js";

const DECKS = ".pptx,.pptm,.ppsx,.ppsm,.potx,.pdf,.md,.markdown,.zip,.png,.jpg,.jpeg,.webp,.wav,.mp3,.txt";

export async function slidesView(frame, one) {
  const view = new Slides(frame, one);
  await view.begin();
  return { element: view.element, leave: () => view.upload?.stop() };
}

class Slides {
  constructor(frame, one) {
    Object.assign(this, { frame, one, deck: null });
    this.settings = { layout: "corner", aspect: "16:9", size: "usual", draft: false, captions: "vtt", read_titles: false, avatar: "", slides: "",
      background: "", light: "keep",
      ...firstVoice(frame.about) };
    this.element = h("div.slides-tab");
  }

  async begin() {
    this.chooser = h("div.chooser");
    this.shown = h("div.deck");
    this.asked = h("div.right");
    this.gallery = new Gallery(this.frame, this.one, { slides: true, onagain: (film) => this.again(film) });
    fill(this.element, h("div.studio", {}, h("div.deck-side", {}, this.chooser, this.shown), this.asked), this.gallery.element);
    if (this.one.decks.length) await this.open(this.one.decks[0]);
    else this.drawChooser();
  }

  async open(name) {
    try {
      this.deck = await get(person(this.one.key, `/decks/${encodeURIComponent(name)}`));
    } catch (error) {
      this.deck = null;
      say(explain(error), "bad");
    }
    this.draw();
  }

  draw() {
    this.drawChooser();
    this.drawDeck();
    this.drawSettings();
  }

  drawChooser() {
    const files = pickFile(DECKS, (_, all) => this.take(all), { multiple: true });
    const folder = pickFile("", (_, all) => this.take(all), { webkitdirectory: true });
    const version = pickFile(DECKS, (_, all) => this.take(all, this.deck.name), { multiple: true });
    const { decks } = this.one;
    const choose = h("div.row", {}, button(t("choose-deck"), () => files.click(), { sign: "file", kind: decks.length ? "plain" : "primary" }),
      button(t("choose-folder"), () => folder.click()), files, folder);
    fill(this.chooser,
      !this.frame.about.present && h("p.notice", {}, t("needs-present")),
      decks.length > 0 && segmented(t("deck"), "deck", decks.map((name) => ({ value: name, words: name })), this.deck?.name,
        (name) => this.open(name), "chips"),
      decks.length ? choose : h("div.drop", {}, h("h2", {}, t("slides-title")), h("p.quiet", {}, t("slides-lead")), choose,
        h("p.quiet", {}, t("drop-hint"))),
      this.deck && h("div.row", {}, button(t("new-version"), () => version.click(), { sign: "again" }), version,
        button(t("delete"), doing(() => this.drop()), { sign: "trash", "aria-label": t("delete-file", { name: this.deck.name }) })),
      this.sending = h("div", { "aria-live": "polite" }));
    if (!this.dropping) this.dropping = droppable(this.chooser, (_, all) => this.take(all));
  }

  /** Send a deck, or several files as one; replaces: the deck whose new version it is. */
  async take(chosen, replaces = "") {
    const visible = chosen.filter((file) => !file.name.startsWith("."));
    const [first] = visible;
    if (!first) return;
    const name = first.webkitRelativePath.split("/")[0] || first.name.replace(/\.[^.]+$/, "");
    const words = t("sending", { name });
    const held = h("p.problem", { role: "alert" });
    const show = (text, share) => fill(this.sending, h("p.busy", {}, text), bar(share, text), held);
    show(words, 0);
    try {
      const file = visible.length > 1 || first.webkitRelativePath ? await pack(visible, name) : first;
      this.upload?.stop();
      this.upload = Upload.of("deck", file, { onprogress: (sent, size) => show(words, sent / size),
        onhold: (error) => { held.textContent = error ? explain(error) : ""; } });
      const id = await this.upload.run();
      if (!id) return;
      show(t("reading-deck"), null);
      this.deck = await post(person(this.one.key, "/decks"), { upload: id, replaces });
      this.one.decks = [this.deck.name, ...this.one.decks.filter((one) => one !== this.deck.name)];
      this.settings.slides = "";
      this.draw();
    } catch (error) {
      fill(this.sending, h("p.problem", { role: "alert" }, explain(error)));
    }
  }

  async drop() {
    const { name } = this.deck;
    if (!await ask(t("delete-file", { name }), t("delete-deck-detail"), t("delete"))) return;
    await remove(person(this.one.key, `/decks/${encodeURIComponent(name)}`));
    this.one.decks = this.one.decks.filter((one) => one !== name);
    this.deck = null;
    if (this.one.decks.length) await this.open(this.one.decks[0]);
    else this.draw();
  }

  drawDeck() {
    if (!this.deck) return void fill(this.shown);
    const { slides, remarks, problem, drawn_by: drawnBy } = this.deck;
    const seconds = slides.reduce((sum, one) => sum + one.seconds, 0);
    fill(this.shown,
      h("p.quiet", {}, [t("deck-slides", { n: slides.length }), seconds > 0 && t("deck-length", { time: duration(seconds) }),
        t("drawn-by", { name: drawnBy })].filter(Boolean).join(" · ")),
      remarks.length > 0 && h("ul.remarks", {}, remarks.map((one) => h("li.quiet", {}, advice(one)))),
      problem && h("p.problem", { role: "alert" }, problem),
      h("ol.slides", { tabindex: "0", "aria-label": t("tabs.slides") }, slides.map((one) => this.slide(one))));
  }

  slide(one) {
    return h(`li.card.slide${one.problem ? ".wrong" : ""}`, {}, h("img", { src: one.picture, alt: "", loading: "lazy" }),
      h("div.words", {}, h("h2", {}, `${one.number}. ${one.title}`),
        one.problem && h("p.problem", { role: "alert" }, t("slide-problem", { n: one.number, text: one.problem })),
        one.recorded && h("p.quiet", {}, t("recorded")),
        one.film && h("p.quiet", {}, t("film-inside")),
        one.silent && h("p.quiet", {}, t("nothing-said")),
        one.notes.trim() && h("p.notes", { tabindex: "0" }, one.notes)));
  }

  drawSettings() {
    if (!this.deck) return void fill(this.asked);
    const { about } = this.frame;
    const choice = (key, values, group, kind) => segmented(t(key), key,
      values.map((value) => ({ value, words: t(`${group}.${value}`) })), this.settings[key], (value) => { this.settings[key] = value; }, kind);
    const box = (key, words) => h("label.row", {}, h("input", { type: "checkbox", checked: this.settings[key],
      onchange: (event) => { this.settings[key] = event.target.checked; } }), h("span", {}, words));
    const { slides, problem } = this.deck;
    const wrong = Boolean(problem) || slides.some((one) => one.problem);
    const needsVoice = slides.some((one) => !one.recorded && !one.silent);
    fill(this.asked,
      choice("layout", ["corner", "side", "full", "slide"], "layouts"),
      choice("aspect", ["16:9", "9:16", "1:1"], "aspects"),
      choice("size", ["small", "usual", "large"], "lines"),
      box("draft", t("draft")),
      this.one.avatars.length > 1 && h("div", {}, h("label", { for: "avatar" }, t("avatar")), h("select", { id: "avatar",
        onchange: (event) => { this.settings.avatar = event.target.value; } },
      this.one.avatars.map((one) => h("option", { value: one.name, selected: one.name === this.settings.avatar }, one.name)))),
      about.voices.length ? h("div.row", {}, voiceChoice(about, this.settings, (voice) => Object.assign(this.settings, voice)),
        captionsChoice(["", "vtt", "srt", "burn"], this.settings)) : needsVoice && h("p.notice", {}, t("needs-voice")),
      this.looks(),
      slides.some((one) => one.silent) && box("read_titles", t("read-titles")),
      h("div", {}, h("label", { for: "slides" }, t("only-slides")), h("input", { id: "slides", type: "text", value: this.settings.slides,
        placeholder: "7,9-11", inputMode: "numeric", oninput: (event) => { this.settings.slides = event.target.value; } })),
      useChoice(this.one, this.settings),
      h("div.make", {}, h("button.primary.big", { type: "button", disabled: wrong, "aria-describedby": "make-hint",
        onclick: doing(() => this.make()) }, icon("play"), h("span", {}, t("make-film"))),
      h("p.quiet", { id: "make-hint" }, t(wrong ? "mend-slides" : "only-changed"))));
  }

  /** What is behind the person, and which light they stand in. */
  looks() {
    const choice = (key, options) => h("div", {}, h("label", { for: key }, t(key)), h("select", { id: key,
      onchange: (event) => { this.settings[key] = event.target.value; } },
    options.map(([value, words]) => h("option", { value, selected: value === this.settings[key] }, words))));
    const files = this.one.backgrounds.filter((one) => one.name !== "blurred.png").map((one) => [one.name, one.name]);
    return h("div.row", {},
      choice("background", [["", t("backgrounds.brand")], ["blur", t("backgrounds.blur")], ...files]),
      choice("light", this.frame.about.lights.map((name) => [name, t(`lights.${name}`)])));
  }

  async make() {
    await post(person(this.one.key, `/decks/${encodeURIComponent(this.deck.name)}/film`), this.settings);
    say(t("film-queued"));
    this.gallery.show();
  }

  /** Take over the settings of a film, and its deck. */
  async again({ job }) {
    const [, kind, name] = job.deck.split("/");
    const size = { 720: "small", 1080: "usual", 2160: "large" }[job.lines] || "usual";
    Object.assign(this.settings, { size, draft: !!job.draft, captions: job.captions || "", read_titles: !!job.read_titles, slides: job.slides || "",
      layout: job.layout || "corner", light: job.light || "keep", background: (job.background || "").split("/").pop(), aspect: job.aspect || "16:9", voice: job.voice || this.settings.voice, language: job.language || this.settings.language });
    if (kind === "decks" && this.one.decks.includes(name)) await this.open(name);
    else this.draw();
    say(t("again-said"));
    this.element.scrollIntoView({ behavior: "smooth" });
  }
}
