// A session of the server: the WebSocket of /v1/live, and what comes through it (docs/live.md, docs/live.schema.json).
import { Film } from "./film.js";
import { readMotion } from "./motion.js";
import { FRAME_SECONDS, PictureQueue, SentLog } from "./player.js";

const HEADER = 16;
const VIDEO = 1, MOTION = 3, MP4 = 4;
const DISPLAY_SECONDS = 0.008; // from drawing to when a display of 60 Hz has shown half of it
const MOST_DECODING = 10; // pictures that wait for the decoder

export class Link extends EventTarget {
  // server: base address; start: fields of the `start` message; canvas: where pictures are drawn, of mp4 a video.
  constructor(server, token, start, canvas) {
    super();
    this.start = { type: "start", rate: 24000, transport: "media", ...start };
    this.canvas = canvas;
    // what draws motion chooses its own context
    this.painter = ["motion", "mp4"].includes(start.transport) ? null : canvas.getContext("2d", { alpha: false, desynchronized: true });
    this.view = null; // an AvatarView, once it is open
    this.pictures = new PictureQueue((picture) => picture.close?.());
    this.sentLog = new SentLog(this.start.rate);
    this.stats = { shown: 0, drift: 0, latency: null, trip: null, waiting: 0, gaps: 0 };
    this.clock = { played: -1, playing: false, time: 0 };
    this.ready = null;
    const address = new URL("v1/live", server);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address, token ? ["avatar.v1", `bearer.${token}`] : ["avatar.v1"]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.send(this.start);
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.event(JSON.parse(data)) : this.media(data));
    this.socket.onclose = ({ code, reason }) => this.ended(reason || `the connection was closed (${code})`);
  }

  // The audio context in which sound is played; call it after a click, as browsers demand.
  async openSound() {
    this.audio = new AudioContext({ sampleRate: this.start.rate, latencyHint: "interactive" });
    await this.audio.audioWorklet.addModule(new URL("./sound-worklet.js", import.meta.url));
    if (["webrtc", "mp4"].includes(this.start.transport)) return;
    this.player = new AudioWorkletNode(this.audio, "playing", { outputChannelCount: [1] });
    this.player.port.onmessage = ({ data }) => { this.clock = data; };
    this.player.connect(this.audio.destination);
    await this.audio.resume();
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // PCM16 of the session's rate.
  push(samples) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.sentLog.sent(samples.length, performance.now() / 1e3);
    this.socket.send(samples);
  }

  clear() {
    this.send({ type: "clear" });
    this.player?.port.postMessage("clear");
    this.sentLog.restart();
  }

  event(message) {
    if (message.type === "ready") this.open(message);
    if (message.type === "playback_started") this.sentLog.started(message.frame);
    if (message.type === "playback_finished" && this.sentLog.frame !== null) this.sentLog.restart();
    if (message.type === "pong") this.stats.trip = performance.now() / 1e3 - this.pinged;
    if (message.type === "closing") this.reason = message.reason;
    if (message.type === "error" && !this.ready) this.reason = message.error;
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  open(ready) {
    this.ready = ready;
    Object.assign(this.canvas, { width: ready.width, height: ready.height });
    this.timer = setInterval(() => {
      this.pinged = performance.now() / 1e3;
      this.send({ type: "ping" });
      const { latency, drift } = this.stats;
      if (latency !== null) this.send({ type: "stats", latency_ms: Math.max(0, latency * 1e3), drift_ms: drift * 1e3 });
    }, 2000);
    if (this.start.transport === "webrtc") return;
    if (this.start.transport === "mp4") {
      this.openFilm(ready.codec);
      return;
    }
    if (this.start.transport === "media") this.openDecoder(ready.codec);
    const draw = () => {
      if (this.over) return;
      this.draw();
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  openFilm(type) {
    const shown = (seconds, now) => {
      const index = Math.round(seconds / FRAME_SECONDS), { stats } = this;
      stats.shown++;
      stats.latency = this.sentLog.since(index, now) ?? stats.latency;
      this.dispatchEvent(new CustomEvent("shown", { detail: { index, place: index, now } }));
    };
    try {
      this.film = new Film(this.canvas, type, shown);
    } catch (error) {
      this.ended(error.message);
    }
  }

  openDecoder(codec) {
    this.decoder = new VideoDecoder({
      output: (frame) => this.pictures.push(frame.timestamp / 1e6 / FRAME_SECONDS, frame),
      error: (error) => { this.decoder = null; this.ended(`pictures cannot be decoded: ${error.message}`); },
    });
    const colorSpace = { primaries: "bt709", transfer: "bt709", matrix: "bt709", fullRange: false };
    this.decoder.configure({ codec, optimizeForLatency: true, colorSpace });
  }

  media(data) {
    const view = new DataView(data), kind = view.getUint8(0), key = view.getUint8(1) & 1, index = view.getUint32(4, true);
    if (kind === VIDEO) {
      if (!this.decoder || this.decoder.state !== "configured" || !this.keepsUp(key)) return;
      this.decoder.decode(new EncodedVideoChunk({
        type: key ? "key" : "delta", timestamp: Math.round(index * FRAME_SECONDS * 1e6), data: new Uint8Array(data, HEADER),
      }));
    } else if (kind === MP4) {
      this.film?.push(new Uint8Array(data, HEADER));
    } else if (kind === MOTION) {
      const { pcm, values } = readMotion(data);
      this.pictures.push(index, values);
      this.play(index, pcm);
    } else {
      this.play(index, new Int16Array(data, HEADER));
    }
  }

  // Whether a picture is decoded: where the decoder is behind, none is until one that needs no other.
  keepsUp(key) {
    if (this.decoder.decodeQueueSize > MOST_DECODING && !this.skips) {
      this.skips = true;
      this.send({ type: "key" });
    }
    if (this.skips && key && this.decoder.decodeQueueSize <= MOST_DECODING) this.skips = false;
    return !this.skips;
  }

  play(index, pcm) {
    const samples = Float32Array.from(pcm, (value) => value / 32768);
    this.player?.port.postMessage({ index, samples, now: performance.now() / 1e3 }, [samples.buffer]);
  }

  // Which frame is audible now, with a fraction.
  place() {
    if (!this.player || this.audio.state !== "running" || !this.clock.playing) return this.clock.playing ? -1 : Infinity;
    const latency = Math.min(this.audio.outputLatency || 0, 0.3);
    return this.clock.played + (this.audio.currentTime - this.clock.time - latency) / FRAME_SECONDS;
  }

  draw() {
    const place = this.place(), found = this.pictures.take(place + DISPLAY_SECONDS / FRAME_SECONDS);
    if (this.view && found) this.latest = found;
    if (this.latest) this.view.show(this.latest.index, this.latest.picture).catch((error) => this.ended(error.message));
    if (!found) return;
    if (this.painter) {
      this.painter.drawImage(found.picture, 0, 0);
      found.picture.close();
    }
    const now = performance.now() / 1e3, { stats } = this;
    stats.shown++;
    stats.waiting = this.clock.waiting ?? 0;
    stats.gaps = this.clock.gaps ?? 0;
    stats.latency = this.sentLog.since(found.index, now) ?? stats.latency;
    if (Number.isFinite(place)) stats.drift += 0.05 * ((place - found.index - 0.5) * FRAME_SECONDS - stats.drift);
    this.dispatchEvent(new CustomEvent("shown", { detail: { index: found.index, place, now } }));
  }

  close() { this.socket.close(); }

  ended(reason) {
    if (this.over) return;
    this.over = true;
    clearInterval(this.timer);
    if (this.decoder?.state === "configured") this.decoder.close();
    this.film?.close();
    this.pictures.clear();
    this.audio?.close();
    this.dispatchEvent(new CustomEvent("ended", { detail: this.reason || reason }));
  }
}
