// Fragmented MP4 into a video element, for browsers without WebCodecs: the browser keeps picture and sound together.
const NEAR = 0.15, FAR = 0.6; // s from the end of what has come: where it is played from; beyond which it is caught up with
const KEPT = 10; // s of what was played that stay

export class Film {
  // type: of the media, as `addSourceBuffer` takes it; onshown(seconds, now): a picture was shown.
  constructor(video, type, onshown) {
    if (!window.MediaSource?.isTypeSupported(type)) throw new Error(`this browser does not play ${type}`);
    Object.assign(this, { video, waiting: [], over: false });
    const source = new MediaSource();
    source.addEventListener("sourceopen", () => {
      if (this.buffer || this.over) return;
      this.buffer = source.addSourceBuffer(type);
      this.buffer.addEventListener("updateend", () => this.next());
      this.next();
    });
    video.src = this.url = URL.createObjectURL(source);
    const shown = (now, { mediaTime }) => {
      if (this.over) return;
      onshown(mediaTime, now / 1e3);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback?.(shown);
  }

  // Bytes of the file, in order.
  push(bytes) {
    this.waiting.push(bytes);
    this.next();
  }

  next() {
    if (!this.buffer || this.buffer.updating || this.over) return;
    const { buffered } = this.buffer, { video } = this;
    if (buffered.length) {
      const end = buffered.end(buffered.length - 1);
      if (video.currentTime < end - FAR) video.currentTime = end - NEAR;
      if (video.paused) video.play().catch(() => {}); // a browser that wants a click first
      if (video.currentTime - buffered.start(0) > 2 * KEPT) {
        this.buffer.remove(0, video.currentTime - KEPT);
        return;
      }
    }
    if (this.waiting.length) this.buffer.appendBuffer(new Uint8Array(this.waiting.shift()));
  }

  close() {
    this.over = true;
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.url);
  }
}
