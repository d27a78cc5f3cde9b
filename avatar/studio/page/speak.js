// Speaking: what is said, how it looks and moves, a preview that follows, films that were made.
import { Upload, get, person, post, remove } from "./api.js";
import { ask, button, bytes, doing, droppable, explain, fill, h, icon, pickFile, say, segmented } from "./dom.js";
import { actionsOf, isActive, progressOf, reasonOf, titleOf } from "./jobs.js";
import { Preview } from "./preview.js";
import { t } from "./texts.js";

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
    const [voice] = frame.about.voices;
    this.settings = { speech: one.speech[0]?.name || "sample", background: "own", value: "", size: "usual", controls: {}, emotion: "",
      text: "", voice: voice?.voice || "", language: voice?.languages[0] || "", captions: "" };
    this.element = h("div.speak");
  }

  begin() {
    this.own = Object.fromEntries(this.frame.about.sliders.map((name) => [name, 1]));
    this.films = h("ul.films");
    this.said = h("div.says");
    this.looks = h("div.looks");
    this.moves = h("div.moves");
    this.uses = h("div");
    fill(this.element,
      h("div.studio", {},
        h("div.left", {}, this.preview.element, this.said),
        h("div.right", {}, this.looks, this.moves, this.uses,
          h("div.make", {}, h("button.primary.big", { type: "button", onclick: doing(() => this.make()) }, t("make-film"))))),
      h("section.gallery", {}, h("h2", {}, t("films")), this.films));
    this.drawSays();
    this.drawLooks();
    this.drawMoves();
    this.drawUses();
    this.changed();
    this.filmKey = null;
    this.frame.watch((queue) => this.drawFilms(queue));
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
    const { voices } = this.frame.about;
    const both = voices.flatMap((one) => one.languages.map((language) => [`${one.voice} ${language}`,
      `${new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(language)} · ${one.voice}`]));
    return h("div.fields", {},
      h("label", { for: "text" }, t("text-label")),
      h("textarea", { id: "text", rows: "4", maxlength: "20000", placeholder: t("text-example"), oninput: (event) => {
        this.settings.text = event.target.value;
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.changed(), TYPING_MS);
      } }, this.settings.text),
      h("div.row", {},
        h("select", { "aria-label": t("voice"), onchange: (event) => {
          const [voice, language] = event.target.value.split(" ");
          this.set({ voice, language });
        } }, both.map(([value, words]) => h("option", { value, selected: value === `${this.settings.voice} ${this.settings.language}` }, words))),
        h("select", { "aria-label": t("captions"), onchange: (event) => { this.settings.captions = event.target.value; } },
          ["", "srt", "burn"].map((value) => h("option", { value, selected: value === this.settings.captions }, t(`caption-kinds.${value || "none"}`))))));
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

  drawUses() {
    if (!this.one.uses.length) return;
    this.settings.use = this.one.uses[0];
    fill(this.uses, h("label", { for: "use" }, t("use")), h("select", { id: "use", onchange: (event) => { this.settings.use = event.target.value; } },
      this.one.uses.map((one) => h("option", { value: one }, one))));
  }

  async make() {
    const { background, ...rest } = this.settings;
    await post(person(this.one.key, "/films"), { ...rest, background: background === "footage" ? "own" : background, footage: background === "footage" });
    say(t("film-queued"));
    this.films.scrollIntoView({ behavior: "smooth", block: "nearest" });
  }

  async drawFilms(queue) {
    const jobs = queue.jobs.filter((job) => job.person === this.one.key && ["speak", "dub", "say"].includes(job.kind));
    const ids = jobs.map((job) => job.id).join();
    if (this.ids !== undefined && this.ids !== ids) {
      const now = await get(person(this.one.key)).catch(() => this.one);
      this.one.films = now.films;
    }
    const key = `${jobs.map((job) => job.id + job.state + job.reason).join()} ${this.one.films.map((film) => film.url).join()}`;
    if (key === this.filmKey) {
      for (const job of jobs.filter(isActive)) {
        this.films.querySelector(`[data-job="${CSS.escape(job.id)}"] .progress, [data-job="${CSS.escape(job.id)}"] p.quiet`)?.replaceWith(progressOf(job));
      }
    } else {
      fill(this.films, jobs.map((job) => this.pending(job)), this.one.films.map((film) => this.film(film)),
        !jobs.length && !this.one.films.length && h("li.quiet", {}, t("no-films")));
    }
    this.ids = ids;
    this.filmKey = key;
  }

  pending(job) {
    return h(`li.card.pending.${job.state}`, { "data-job": job.id }, h("h3", {}, titleOf(job)),
      isActive(job) ? progressOf(job) : h("p.problem", { role: "alert" }, reasonOf(job)), actionsOf(job, this.frame));
  }

  film(film) {
    const name = film.name.replace(/\.[^.]+$/, "");
    const command = film.command && h("details.command", {}, h("summary", {}, icon("terminal"), t("command")),
      h("pre", { tabindex: "0" }, `cd ${this.frame.about.folder}\n${film.command}`));
    return h("li.card.film-card", {},
      h("video", { src: film.url, controls: true, preload: "metadata", playsInline: true, "aria-label": name }),
      h("h3", {}, name), h("p.quiet", {}, `${bytes(film.bytes)} · ${new Date(film.made * 1000).toLocaleString()}`),
      h("div.row", {},
        h("a.button.plain", { href: `${film.url}&download`, download: film.name }, icon("download"), h("span", {}, t("download"))),
        film.job && button(t("make-again"), () => this.again(film.job, film.text), { sign: "again" }),
        button(t("delete"), doing(async () => {
          if (!await ask(t("delete-file", { name: film.name }), t("delete-file-detail"), t("delete"))) return;
          await remove(person(this.one.key, `/films/${encodeURIComponent(film.name)}`));
          this.one.films = this.one.films.filter((one) => one !== film);
          await this.drawFilms(this.frame.queue);
        }), { sign: "trash", "aria-label": t("delete-file", { name: film.name }) })),
      command);
  }

  /** Take over the settings of a film. */
  again(job, text) {
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
