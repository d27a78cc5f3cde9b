// Filming: a picture of yourself, words to read, hints as you go, and a recording that is on disk as it grows.
import { postBlob } from "./api.js";
import { button, clock, doing, fill, h, icon } from "./dom.js";
import { t } from "./texts.js";

const LEAST_SECONDS = 20;
const GOOD_SECONDS = 60;
const HINT_MS = 900;
const KINDS = ["video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const WANTED = {
  video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 }, facingMode: "user" },
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: true },
};
const VIDEO_BITS = 6e6;

export function camera(calls) {
  return new Camera(calls);
}

class Camera {
  constructor(calls) {
    this.calls = calls;
    this.video = h("video", { muted: true, playsInline: true, autoplay: true, "aria-label": t("camera-picture") });
    this.hints = h("ul.hints", { "aria-live": "polite" });
    this.level = h("div.level", { "aria-hidden": "true" }, h("div.fill"));
    this.count = h("div.count", { "aria-live": "assertive" });
    this.time = h("span.time", {}, "0:00");
    this.record = h("button.record", { type: "button", disabled: true, onclick: () => this.toggle() }, h("span.dot"),
      h("span.words", {}, t("record")));
    this.element = h("div.film", {},
      h("p", {}, button(t("back"), () => { this.close(); calls.onback(); }, { sign: "back", kind: "link" })),
      h("div.stage", {}, this.video, h("div.oval"), this.count, this.hints,
        h("div.controls", {}, this.level, this.record, this.time)),
      h("aside.script", {}, h("h2", {}, t("script-title")), h("p.quiet", {}, t("script-hint")),
        t("script").split("\n").map((one) => h("p", {}, one))));
  }

  async open() {
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "SecurityError");
      this.media = await navigator.mediaDevices.getUserMedia(WANTED);
    } catch (error) {
      this.refused(error);
      return;
    }
    this.video.srcObject = this.media;
    await this.video.play().catch(() => {});
    this.record.disabled = false;
    this.watchLevel();
    this.hinting = setInterval(() => this.hint(), HINT_MS);
  }

  refused(error) {
    const which = { NotAllowedError: "refused", SecurityError: "refused", NotFoundError: "missing", NotReadableError: "in-use",
      OverconstrainedError: "missing" }[error.name] || "missing";
    fill(this.element, h("div.notice.bad", { role: "alert" }, h("h2", {}, t(`camera-${which}`)), h("p", {}, t(`camera-${which}-hint`)),
      h("div.row", {}, button(t("try-again"), doing(() => { this.calls.onback(); }), { kind: "primary", sign: "again" }))));
  }

  watchLevel() {
    const sound = this.context = new AudioContext();
    const meter = sound.createAnalyser();
    meter.fftSize = 1024;
    sound.createMediaStreamSource(this.media).connect(meter);
    const values = new Float32Array(meter.fftSize);
    const draw = () => {
      if (!this.media) return;
      meter.getFloatTimeDomainData(values);
      const loud = Math.sqrt(values.reduce((sum, one) => sum + one * one, 0) / values.length);
      const share = Math.max(0, Math.min(1, 1 + Math.log10(loud + 1e-6) / 2.5));
      this.level.firstChild.style.height = `${Math.round(100 * share)}%`;
      this.level.classList.toggle("loud", loud > 0.5);
      this.loudest = Math.max((this.loudest || 0) * 0.995, loud);
      requestAnimationFrame(draw);
    };
    draw();
  }

  async hint() {
    if (this.asking || !this.video.videoWidth || document.hidden) return;
    this.asking = true;
    try {
      const canvas = this.canvas ||= document.createElement("canvas");
      canvas.width = 320;
      canvas.height = Math.round(320 * this.video.videoHeight / this.video.videoWidth);
      canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
      const found = await postBlob("/api/hints", blob);
      const all = [...found.hints, ...(this.recorder && this.loudest < 0.01 && this.seconds > 4 ? ["no-sound"] : [])];
      this.element.querySelector(".oval")?.classList.toggle("good", all.length === 0);
      const words = all.length ? all.slice(0, 2).map((one) => t(`hints.${one}`)) : [t("hints.good")];
      if (words.join() !== this.shown) fill(this.hints, words.map((one) => h(`li${all.length ? "" : ".good"}`, {}, one)));
      this.shown = words.join();
    } catch {
      fill(this.hints);
    } finally {
      this.asking = false;
    }
  }

  async toggle() {
    if (this.recorder) {
      this.recorder.stop();
      return;
    }
    this.record.disabled = true;
    for (const number of [3, 2, 1]) {
      this.count.textContent = String(number);
      await new Promise((resolve) => setTimeout(resolve, 800));
      if (!this.media) return;
    }
    this.count.textContent = "";
    this.start();
  }

  start() {
    const mimeType = KINDS.find((one) => MediaRecorder.isTypeSupported(one)) || "";
    const recorder = this.recorder = new MediaRecorder(this.media, { mimeType, videoBitsPerSecond: VIDEO_BITS });
    this.calls.onstart(mimeType.startsWith("video/mp4") ? "recording.mp4" : "recording.webm");
    recorder.addEventListener("dataavailable", (event) => { if (event.data.size) this.calls.ondata(event.data); });
    recorder.addEventListener("stop", () => { this.close(); this.calls.ondone(); });
    recorder.start(1000);
    this.began = performance.now();
    this.record.classList.add("on");
    this.record.querySelector(".words").textContent = t("stop");
    this.ticking = setInterval(() => this.tick(), 250);
    setTimeout(() => { this.record.disabled = false; }, 1000);
  }

  get seconds() {
    return this.began ? (performance.now() - this.began) / 1000 : 0;
  }

  tick() {
    const seconds = this.seconds;
    this.time.textContent = clock(seconds);
    this.record.querySelector(".words").textContent = t(seconds < LEAST_SECONDS ? "stop-early" : seconds < GOOD_SECONDS ? "stop-soon" : "stop");
  }

  close() {
    clearInterval(this.hinting);
    clearInterval(this.ticking);
    this.media?.getTracks().forEach((one) => one.stop());
    this.context?.close().catch(() => {});
    this.media = null;
  }
}
