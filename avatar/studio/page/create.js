// A new avatar: a clip, what is in it, who it is of, and off.
import { Upload, checked, get, post, remove } from "./api.js";
import { camera } from "./camera.js";
import { bar, button, bytes, clock, doing, droppable, explain, fill, h, icon, pickFile, say, segmented } from "./dom.js";
import { advice, t } from "./texts.js";

const CLIPS = "video/*,image/*,.mkv,.mov,.heic";
const RECORDING = "recording";

export async function create(frame) {
  const page = new Create(frame);
  await page.begin();
  return { title: t("new-avatar"), element: page.element, leave: () => page.leave() };
}

class Create {
  constructor(frame) {
    this.frame = frame;
    this.element = h("section.create");
    this.left = false;
  }

  async begin() {
    const id = localStorage.getItem(RECORDING);
    const before = id && await get(`/api/uploads/${id}`).catch(() => null);
    if (id && !before) localStorage.removeItem(RECORDING);
    this.choose(before && before.received > 0 && !before.whole ? before : null);
  }

  leave() {
    this.left = true;
    this.camera?.close();
    this.upload?.stop();
  }

  choose(unfinished) {
    this.upload?.stop();
    const file = pickFile(CLIPS, (one) => this.useFile(one));
    const drop = droppable(h("div.drop", {},
      h("div.choices", {},
        h("button.choice", { type: "button", onclick: () => this.film() }, icon("camera"), h("strong", {}, t("film-yourself")),
          h("span", {}, t("film-hint"))),
        h("button.choice", { type: "button", onclick: () => file.click() }, icon("file"), h("strong", {}, t("choose-clip")),
          h("span", {}, t("choose-hint")))),
      file, h("p.quiet", {}, t("drop-hint"))), (one) => this.useFile(one));
    fill(this.element,
      h("h1", {}, t("new-avatar")), h("p.lead", {}, t("clip-lead")),
      unfinished && h("div.notice", {}, h("p", {}, t("unfinished", { size: bytes(unfinished.received) })),
        h("div.row", {}, button(t("use-it"), doing(() => this.useUnfinished(unfinished)), { kind: "primary" }),
          button(t("discard"), doing(() => this.discard(unfinished))))),
      drop,
      h("p.try", {}, t("no-camera-here"), " ", button(t("try-actor"), doing(() => this.useActor()), { kind: "link" })));
  }

  async discard(unfinished) {
    await remove(`/api/uploads/${unfinished.id}`);
    localStorage.removeItem(RECORDING);
    this.choose(null);
  }

  async useUnfinished(unfinished) {
    await post(`/api/uploads/${unfinished.id}/finish`);
    localStorage.removeItem(RECORDING);
    this.look(unfinished.id, unfinished.name);
  }

  async useActor() {
    this.drawForm(t("actor-name"), "nobody");
    const { verdict } = this;
    fill(verdict, h("p.busy", {}, t("filming-actor")), bar(null, t("filming-actor")));
    try {
      const made = await post("/api/actor");
      if (this.verdict === verdict) await this.check(made.id);
    } catch (error) {
      if (this.verdict === verdict) this.fail(error);
    }
  }

  async film() {
    this.camera = camera({
      onstart: (name) => {
        this.upload = new Upload("clip", name, { onhold: (error) => error && say(explain(error), "bad") });
        this.sending = this.upload.run();
        this.sending.catch((error) => say(explain(error), "bad"));
      },
      ondata: (blob) => {
        this.upload.push(blob);
        if (this.upload.id) localStorage.setItem(RECORDING, this.upload.id);
      },
      ondone: async () => {
        this.upload.end();
        this.drawForm("", "self");
        try {
          const id = await this.sending;
          localStorage.removeItem(RECORDING);
          if (id) await this.check(id);
        } catch (error) {
          this.fail(error);
        }
      },
      onback: () => this.choose(null),
    });
    fill(this.element, this.camera.element);
    await this.camera.open();
  }

  async useFile(file) {
    this.drawForm("", "");
    const words = t("sending", { name: file.name });
    const place = h("div", {}, bar(0, words)), held = h("p.problem", { role: "alert" });
    fill(this.verdict, h("p.busy", {}, words), place, held);
    this.upload = Upload.of("clip", file, {
      onprogress: (sent, size) => fill(place, bar(sent / size, words)),
      onhold: (error) => { held.textContent = error ? explain(error) : ""; },
    });
    try {
      const id = await this.upload.run();
      if (id) await this.check(id);
    } catch (error) {
      this.fail(error);
    }
  }

  async look(id, name) {
    this.drawForm("", "self");
    await this.check(id).catch((error) => this.fail(error));
  }

  drawForm(name, who) {
    this.values = { who, quality: "good" };
    this.wanted = this.checkedId = null; // of the clip before
    this.usable = this.force = false;
    this.verdict = h("div.verdict", { "aria-live": "polite" });
    this.name = h("input", { id: "name", value: name, maxlength: 200, autocomplete: "name", required: true,
      oninput: () => this.ready() });
    this.more = h("div.more");
    this.go = h("button.primary.big", { type: "submit" }, t("build"));
    this.why = h("p.quiet", { id: "why" });
    fill(this.element,
      h("p", {}, button(t("other-clip"), () => this.choose(null), { sign: "back", kind: "link" })),
      h("div.halves", {},
        this.verdict,
        h("form.card", { onsubmit: doing((event) => { event.preventDefault(); return this.build(); }) },
          h("h2", {}, t("who-is-it")),
          h("label", { for: "name" }, t("name")), this.name,
          segmented(t("who-agreed"), "who", ["self", "other", "nobody"].map((one) =>
            ({ value: one, words: t(`who.${one}`), hint: t(`who.${one}-hint`) })), who, (value) => this.setWho(value), "stack"),
          this.more,
          segmented(t("quality"), "quality", ["preview", "quick", "good", "best"].map((one) =>
            ({ value: one, words: t(`qualities.${one}`), hint: t(`qualities.${one}-hint`) })), "good",
          (value) => { this.values.quality = value; }, "segments pairs"),
          this.go, this.why)));
    this.drawMore();
    this.ready();
  }

  setWho(value) {
    this.values.who = value;
    this.drawMore();
    this.ready();
  }

  drawMore() {
    const field = (name, words, attributes = {}) => [h("label", { for: name }, words),
      h("input", { id: name, name, oninput: (event) => { this.values[name] = event.target.value; this.ready(); }, ...attributes })];
    fill(this.more,
      this.values.who === "other" && h("div.fields", {},
        field("attested_by", t("attested-by"), { required: true, autocomplete: "off" }),
        field("contact", t("contact"), { required: true, autocomplete: "off" }),
        field("date", t("agreed-on"), { type: "date" })),
      this.values.who !== "nobody" && this.values.who && h("details", {}, h("summary", {}, t("limits")),
        field("uses", t("uses"), { placeholder: t("uses-example") }), field("expires", t("expires"), { type: "date" })));
  }

  ready() {
    const missing = !this.checkedId ? "wait-check" : !this.usable ? "not-usable" : !this.name.value.trim() ? "needs-name"
      : !this.values.who ? "needs-who" : this.values.who === "other" && !(this.values.attested_by && this.values.contact)
        ? "needs-consent" : "";
    this.go.disabled = !!missing;
    this.why.textContent = missing ? t(missing) : t(`confirm.${this.values.who}`);
    return !missing;
  }

  async check(id) {
    fill(this.verdict, h("h2", {}, t("looking")), h("p.quiet", {}, t("looking-hint")), bar(null, t("looking")),
      h("div.thumbs.ghost", {}, Array.from({ length: 6 }, () => h("span"))));
    this.wanted = id;
    const found = await checked(id, () => this.left || this.wanted !== id);
    if (!found || this.wanted !== id) return;
    this.checkedId = id;
    this.usable = found.usable || this.force;
    this.drawVerdict(id, found);
    this.ready();
  }

  drawVerdict(id, found) {
    const picture = (name) => `/api/uploads/${id}/check/${name}`;
    const facts = found.photo ? t("photo-facts", found) : t("clip-facts", { ...found, length: clock(found.seconds) });
    fill(this.verdict,
      h(`p.grade.${found.grade}`, {}, icon(found.grade === "poor" ? "close" : "check"), t(`grades.${found.grade}`)),
      h("p.quiet", {}, facts, found.looked_at && found.looked_at < found.seconds - 1 ? ` ${t("looked-at", { n: found.looked_at })}` : ""),
      [...found.advice, ...found.notes].length > 0 && h("ul.advice", {}, [...found.advice, ...found.notes].map((one) => h("li", {}, advice(one)))),
      h("div.thumbs", {}, found.pictures.map((one) => h("img", { src: picture(one), alt: "" }))),
      found.left_out.length > 0 && [h("h3", {}, t("left-out")), h("div.thumbs", {}, found.left_out.map((one) =>
        h("figure", {}, h("img.struck", { src: picture(one.picture), alt: "" }),
          h("figcaption", {}, `${one.from}–${one.to} s: ${advice(one.reason)}`))))],
      !found.usable && h("label.check", {}, h("input", { type: "checkbox", onchange: (event) => {
        this.force = event.target.checked;
        this.usable = this.force;
        this.ready();
      } }), t("build-anyway")));
  }

  fail(error) {
    fill(this.verdict, h("p.grade.poor", {}, icon("close"), t("unusable-title")), h("p", { role: "alert" }, explain(error)),
      button(t("other-clip"), () => this.choose(null), { sign: "again", kind: "primary" }));
  }

  async build() {
    if (!this.ready()) return;
    const { who, attested_by, contact, date, uses, expires, quality } = this.values;
    const made = await post("/api/people", {
      upload: this.checkedId, name: this.name.value, build: true, quality, force: !!this.force,
      consent: { who, agreed: true, attested_by, contact, date, uses, expires },
    });
    this.frame.go(`#/p/${encodeURIComponent(made.key)}`);
  }
}
