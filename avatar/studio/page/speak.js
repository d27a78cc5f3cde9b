// Speaking: what is said, how it looks and moves, a preview that follows, films that were made.
import { Upload, get, person, post } from "./api.js";
import { button, doing, droppable, explain, fill, h, pickFile, say, segmented } from "./dom.js";
import { Gallery } from "./gallery.js";
import { Preview } from "./preview.js";
import { t } from "./texts.js";
import { captionsChoice, firstVoice, useChoice, voiceChoice } from "./voices.js";

const BACKGROUNDS = ["own", "blur", "colour", "file", "transparent", "full", "footage"];
const COLOURS = ["#20a040", "#f4efe6", "#1f2a44", "#d8dee9", "#000000"];
const TYPING_MS = 700; // after which a voice says what was written
const SOUNDS = "audio/*,video/*,.m4a,.opus,.flac";

export async function speakView(frame, one) {
  const view = new Speak(frame, one);
  view.begin();
  return { element: view.element, leave: () => view.preview.leave() };
}

class Speak {
  constructor(frame, one) {
    this.frame = frame;
    this.one = one;
    this.preview = new Preview(one.key, one.poster);
    this.settings = { speech: one.speech[0]?.name || "sample", background: "own", value: "", size: "usual", controls: {}, emotion: "",
      text: "", captions: "", ...firstVoice(frame.about) };
    this.element = h("div.speak");
  }

  begin() {
    this.own = Object.fromEntries(this.frame.about.sliders.map((name) => [name, 1]));
    this.gallery = new Gallery(this.frame, this.one, { slides: false, onagain: (film) => this.again(film) });
    this.said = h("div.says");
    this.looks = h("div.looks");
    this.moves = h("div.moves");
    fill(this.element,
      h("div.studio", {},
        h("div.left", {}, this.preview.element, this.said),
        h("div.right", {}, this.looks, this.moves, useChoice(this.one, this.settings),
          h("div.make", {}, h("button.primary.big", { type: "button", onclick: doing(() => this.make()) }, t("make-film"))))),
      this.gallery.element);
    this.drawSays();
    this.drawLooks();
    this.drawMoves();
    this.changed();
    this.findOwn();
  }

  /** The person's own values of the sliders, which the avatar's recipe may have set; or why it cannot be opened. */
  async findOwn() {
    try {
      const { controls } = await get(person(this.one.key, "/controls"));
      const differs = Object.keys(controls).some((name) => controls[name] !== this.own[name]);
      this.own = controls;
      if (differs) this.drawMoves();
    } catch (error) {
      this.preview.leave();
      fill(this.element, h("div.notice.bad", { role: "alert" }, h("h2", {}, t("avatar-unusable")), h("p", {}, explain(error)),
        h("a.button", { href: `#/p/${encodeURIComponent(this.one.key)}/about` }, t("tabs.about"))));
    }
  }

  changed() {
    if (this.settings.background === "footage") return;
    if (this.settings.background === "file" && !this.settings.value) return;
    if (this.settings.speech === "text" && !this.settings.text.trim()) return;
    this.preview.change(this.settings);
  }

  set(values) {
    Object.assign(this.settings, values);
    this.changed();
  }

  drawSays() {
    const options = [...this.one.speech.map((file) => ({ value: file.name, words: file.name.replace(/\.[^.]+$/, "") })),
      { value: "sample", words: t("sample") },
      ...(this.frame.about.voices.length ? [{ value: "text", words: t("a-text") }] : [])];
    const file = pickFile(SOUNDS, (chosen) => this.addSound(chosen));
    fill(this.said,
      segmented(t("says"), "speech", options, this.settings.speech, (speech) => {
        this.set({ speech });
        this.drawSays();
        if (speech === "text") this.said.querySelector("textarea").focus();
      }, "chips"),
      this.settings.speech === "text" && this.textFields(),
      h("div.row", {}, this.recordButton(), button(t("choose-sound"), () => file.click(), { sign: "file" }), file));
    if (!this.dropping) this.dropping = droppable(this.said, (chosen) => this.addSound(chosen));
  }

  textFields() {
    return h("div.fields", {},
      h("label", { for: "text" }, t("text-label")),
      h("textarea", { id: "text", rows: "4", maxlength: "20000", placeholder: t("text-example"), oninput: (event) => {
        this.settings.text = event.target.value;
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.changed(), TYPING_MS);
      } }, this.settings.text),
      h("div.row", {},
        voiceChoice(this.frame.about, this.settings, (voice) => this.set(voice)),
        captionsChoice(["", "srt", "burn"], this.settings)));
  }

  recordButton() {
    const pressed = button(t("record-voice"), doing(async () => {
      if (this.recorder) {
        this.recorder.stop();
        return;
      }
      const media = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((error) => {
        throw new Error(t(error.name === "NotFoundError" ? "no-microphone" : "microphone-refused"));
      });
      const parts = [];
      this.recorder = new MediaRecorder(media);
      this.recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
      this.recorder.addEventListener("stop", () => {
        media.getTracks().forEach((track) => track.stop());
        const ending = this.recorder.mimeType.includes("mp4") ? "m4a" : this.recorder.mimeType.includes("ogg") ? "ogg" : "webm";
        this.recorder = null;
        this.addSound(new File(parts, `${t("voice-name")}.${ending}`));
      });
      this.recorder.start();
      pressed.classList.add("recording");
      pressed.lastChild.textContent = t("stop-voice");
    }), { sign: "mic" });
    return pressed;
  }

  async addSound(file) {
    try {
      const name = await this.add("speech", file);
      this.one.speech.unshift({ name, bytes: file.size });
      this.settings.speech = name;
      this.drawSays();
      this.changed();
    } catch (error) {
      this.drawSays();
      say(explain(error), "bad");
    }
  }

  async add(kind, file) {
    const id = await Upload.file(kind, file);
    return (await post(person(this.one.key, `/add/${kind}`), { upload: id })).name;
  }

  drawLooks() {
    const swatch = (background) => h(`span.swatch.${background}`);
    const possible = BACKGROUNDS.filter((one) => one !== "footage" || this.one.clip);
    const file = pickFile("image/*,video/*", doing(async (chosen) => {
      const name = await this.add("background", chosen);
      this.one.backgrounds.unshift({ name });
      this.set({ background: "file", value: name });
      this.drawLooks();
    }));
    const value = h("div.value");
    fill(this.looks,
      segmented(t("background"), "background", possible.map((one) => ({ value: one, words: t(`backgrounds.${one}`), picture: swatch(one) })),
        this.settings.background, (background) => { this.set({ background, value: background === "colour" ? COLOURS[0] : "" }); this.drawLooks(); }, "swatches"),
      value, file,
      !["full", "footage"].includes(this.settings.background) && segmented(t("size"), "size",
        ["small", "usual", "large"].map((one) => ({ value: one, words: t(`sizes.${one}`) })), this.settings.size, (size) => { this.settings.size = size; }));
    this.drawValue(value, file);
  }

  drawValue(place, file) {
    const { background } = this.settings;
    if (background === "colour") {
      fill(place, h("div.row", {}, COLOURS.map((one) => h("button.paint", { type: "button", style: { background: one }, "aria-label": one,
        "aria-pressed": String(one === this.settings.value), onclick: () => { this.set({ value: one }); this.drawLooks(); } })),
      h("label", {}, h("span.unseen", {}, t("own-colour")), h("input", { type: "color", value: this.settings.value || COLOURS[0],
        oninput: (event) => this.set({ value: event.target.value }) }))));
    } else if (background === "file") {
      const files = this.one.backgrounds.filter((one) => one.name !== "blurred.png");
      if (!this.settings.value && files.length) this.set({ value: files[0].name });
      fill(place, h("div.row", {}, files.length > 0 && h("select", { "aria-label": t("background"), onchange: (event) => this.set({ value: event.target.value }) },
        files.map((one) => h("option", { value: one.name, selected: one.name === this.settings.value }, one.name))),
      button(t("choose-picture"), () => file.click(), { sign: "file" })));
    } else if (background === "full" || background === "footage" || background === "transparent") {
      fill(place, h("p.quiet", {}, t(`${background}-hint`)));
    }
  }

  drawMoves() {
    const rows = this.frame.about.sliders.filter((name) => name in this.own).map((name) => {
      const own = this.own[name] || 1;
      const shown = h("output", { for: `slider-${name}` });
      const slider = h("input", { type: "range", id: `slider-${name}`, min: "0", max: String(2 * own), step: String(own / 20),
        value: String(this.settings.controls[name] ?? own) });
      const draw = () => {
        const times = Number(slider.value) / own;
        shown.textContent = Math.abs(times - 1) < 0.01 ? t("as-they-are") : `× ${times.toFixed(1)}`;
        slider.setAttribute("aria-valuetext", shown.textContent);
      };
      slider.addEventListener("input", () => {
        draw();
        const value = Number(slider.value);
        if (Math.abs(value - own) < own / 40) delete this.settings.controls[name];
        else this.settings.controls[name] = value;
        this.changed();
      });
      draw();
      return h("div.slider", {}, h("label", { for: `slider-${name}` }, t(`sliders.${name}`) || name), shown, slider);
    });
    fill(this.moves, h("fieldset", {}, h("legend", {}, t("motion")), rows,
      h("div.row.spread", {}, h("label", { for: "emotion" }, t("emotion")),
        h("select", { id: "emotion", onchange: (event) => this.set({ emotion: event.target.value }) },
          ["", ...this.frame.about.emotions].map((value) => h("option", { value, selected: value === this.settings.emotion },
            t(`emotions.${value || "own"}`))))),
      button(t("reset"), () => { Object.assign(this.settings, { controls: {}, emotion: "" }); this.drawMoves(); this.changed(); }, { kind: "link" })));
  }

  async make() {
    const { background, ...rest } = this.settings;
    await post(person(this.one.key, "/films"), { ...rest, background: background === "footage" ? "own" : background, footage: background === "footage" });
    say(t("film-queued"));
    this.gallery.show();
  }

  /** Take over the settings of a film. */
  again({ job, text }) {
    const speech = job.kind === "say" ? "text" : job.speech.split("/").pop();
    const background = job.kind === "dub" ? "footage" : job.full_frame ? "full" : !job.background ? "own"
      : job.background === "transparent" ? "transparent" : job.background.endsWith("/blurred.png") ? "blur"
        : job.background.includes("/") ? "file" : "colour";
    const controls = Object.fromEntries(this.frame.about.sliders.filter((name) => typeof job[name] === "number").map((name) => [name, job[name]]));
    this.settings = { ...this.settings, controls, background, value: ["file", "colour"].includes(background) ? job.background.split("/").pop() : "",
      speech: speech === "text" || this.one.speech.some((one) => one.name === speech) ? speech : "sample",
      emotion: job.emotion || "", text: text || this.settings.text, voice: job.voice || this.settings.voice,
      language: job.language || this.settings.language, captions: job.captions || "",
      size: job.size === 256 ? "small" : job.size === 1024 ? "large" : "usual" };
    this.drawSays();
    this.drawLooks();
    this.drawMoves();
    this.changed();
    say(t("again-said"));
    this.element.scrollIntoView({ behavior: "smooth" });
  }
}
