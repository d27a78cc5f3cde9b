// The moving preview: frames as they are drawn on the server, in time with the speech where it is played.
import { person, stream } from "./api.js";
import { button, explain, h, icon, fill } from "./dom.js";
import { t } from "./texts.js";

const QUIET_MS = 110; // after a change, so that a slider in motion asks once
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Preview {
  /** poster: the address of a picture to show until the first frame is there. */
  constructor(key, poster) {
    this.key = key;
    this.canvas = h("canvas", { role: "img", "aria-label": t("preview"), width: 320, height: 320 });
    this.said = h("p.said", { role: "status" });
    this.audio = new Audio();
    this.audio.addEventListener("ended", () => this.pause());
    this.button = button(t("play"), () => (this.playing ? this.pause() : this.play()), { sign: "play", kind: "play" });
    this.element = h("div.preview", {}, this.canvas, this.said, this.button);
    this.frames = [];
    this.fps = 25;
    if (poster) this.drawPoster(poster);
  }

  async drawPoster(poster) {
    const picture = new Image();
    picture.src = poster;
    await picture.decode().catch(() => {});
    if (!this.drawn && picture.width) this.canvas.getContext("2d").drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
  }

  /** Draw with other settings, soon. */
  change(settings) {
    clearTimeout(this.waiting);
    this.asked = performance.now();
    this.waiting = setTimeout(() => this.load(settings), QUIET_MS);
  }

  async load(settings) {
    this.abort?.abort();
    const abort = this.abort = new AbortController();
    this.element.classList.add("loading");
    try {
      const response = await stream(person(this.key, "/preview"), settings, abort.signal);
      await this.read(response.body.getReader(), abort.signal);
      this.said.textContent = "";
    } catch (error) {
      if (error.name !== "AbortError") this.said.textContent = explain(error);
    } finally {
      if (this.abort === abort) this.element.classList.remove("loading");
    }
  }

  async read(reader, signal) {
    const bytes = new Bytes(reader);
    const head = JSON.parse(await bytes.line());
    if (head.speech !== this.speech) {
      this.speech = head.speech;
      this.audio.src = person(this.key, `/sound/${encodeURIComponent(head.speech)}`);
    }
    const frames = [];
    while (!signal.aborted) {
      const line = await bytes.line();
      if (line === null) break;
      frames.push(new Blob([await bytes.take(Number(line))], { type: "image/jpeg" }));
      if (frames.length === 1) {
        this.frames = frames;
        this.fps = head.fps;
        await this.draw(0);
        this.element.dataset.first = String(Math.round(performance.now() - this.asked));
        this.element.dataset.changes = String(Number(this.element.dataset.changes || 0) + 1);
        if (!this.playing && !still()) this.loop();
      }
    }
  }

  async draw(index) {
    const blob = this.frames[Math.min(index, this.frames.length - 1)];
    if (!blob || this.drawing || blob === this.drawn) return;
    this.drawing = true;
    try {
      const picture = await createImageBitmap(blob);
      if (this.canvas.width !== picture.width || this.canvas.height !== picture.height) {
        this.canvas.width = picture.width;
        this.canvas.height = picture.height;
      }
      this.canvas.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      this.drawn = blob;
    } finally {
      this.drawing = false;
    }
  }

  /** Move silently, over and over, until it is left or played. */
  loop() {
    const began = performance.now();
    const token = this.token = {};
    const step = () => {
      if (this.token !== token || !this.canvas.isConnected) return;
      const index = Math.floor((performance.now() - began) / 1000 * this.fps);
      if (this.frames.length) this.draw(index % Math.max(1, this.frames.length));
      requestAnimationFrame(step);
    };
    step();
  }

  async play() {
    const token = this.token = {};
    this.playing = true;
    fill(this.button, icon("pause"), h("span", {}, t("pause")));
    this.audio.currentTime = 0;
    await this.audio.play().catch(() => {});
    const step = () => {
      if (this.token !== token || !this.canvas.isConnected) return;
      const index = Math.floor(this.audio.currentTime * this.fps);
      if (index >= this.frames.length && this.element.classList.contains("loading")) {
        this.audio.pause();
        setTimeout(() => { if (this.token === token) this.audio.play().catch(() => {}); }, 400);
      }
      this.draw(index);
      requestAnimationFrame(step);
    };
    step();
  }

  pause() {
    this.audio.pause();
    this.playing = false;
    fill(this.button, icon("play"), h("span", {}, t("play")));
    if (!still()) this.loop();
    else this.token = null;
  }

  leave() {
    clearTimeout(this.waiting);
    this.abort?.abort();
    this.token = null;
    this.audio.pause();
  }
}

/** Lines and runs of bytes of a stream. */
class Bytes {
  constructor(reader) {
    this.reader = reader;
    this.rest = new Uint8Array(0);
    this.over = false;
  }

  async more() {
    const { value, done } = await this.reader.read();
    if (done) {
      this.over = true;
      return false;
    }
    const joined = new Uint8Array(this.rest.length + value.length);
    joined.set(this.rest);
    joined.set(value, this.rest.length);
    this.rest = joined;
    return true;
  }

  async line() {
    let end;
    while ((end = this.rest.indexOf(10)) < 0) if (!await this.more()) return null;
    const text = new TextDecoder().decode(this.rest.subarray(0, end));
    this.rest = this.rest.slice(end + 1);
    return text;
  }

  async take(count) {
    while (this.rest.length < count) if (!await this.more()) break;
    const found = this.rest.slice(0, count);
    this.rest = this.rest.slice(count);
    return found;
  }
}
