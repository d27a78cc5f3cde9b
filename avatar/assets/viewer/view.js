'use strict';
// A canvas that shows an avatar: it keeps the size that it is shown at, is turned by the pointer, draws when it can.

const EASE = 0.15; // of the way to where the pointer is, each time the display shows a picture
const STILL = 0.05; // degrees from there that need no other picture

class AvatarView {
  /** canvas: square; clock: () => which frame's values [modes + 20] and number are due, or null. */
  constructor(canvas, drawing, choice) {
    Object.assign(this, {canvas, drawing, choice});
    this.turn = this.wanted = 0; // degrees
    this.shown = {frame: -1, turn: 0, size: 0};
    this.drawn = 0; // pictures that were finished
    this.onfree = null; // called when a picture is there: where drawing is slow, the next need not wait for the display
    this.leads = 0.02; // s from asking for a picture until it is there, on the average
    this.open(choice);
    this.followPointer(canvas);
  }

  open(choice) {
    this.engine = openEngine(this.canvas, this.drawing, choice);
    this.size = 0;
    this.canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      const canvas = this.canvas.cloneNode(); // the old one can do nothing but WebGL
      this.canvas.replaceWith(canvas);
      this.canvas = canvas;
      this.followPointer(canvas);
      this.open('painter');
      this.followSize();
    });
    this.followSize();
  }

  followSize() {
    this.observer?.disconnect();
    this.observer = new ResizeObserver(([entry]) => {
      const box = entry.devicePixelContentBoxSize?.[0].inlineSize ?? entry.contentRect.width * devicePixelRatio;
      this.wantedSize = Math.max(64, Math.min(MOST_SIZE, Math.round(box)));
    });
    try {
      this.observer.observe(this.canvas, {box: 'device-pixel-content-box'});
    } catch {
      this.observer.observe(this.canvas);
    }
  }

  followPointer(canvas) {
    canvas.style.touchAction = 'pan-y';
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.grip = {x: event.clientX, turn: this.wanted};
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!this.grip) return;
      const share = 2 * (event.clientX - this.grip.x) / canvas.clientWidth, most = this.drawing.turn;
      this.wanted = Math.max(-most, Math.min(most, this.grip.turn - most * share));
    });
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { this.grip = null; });
  }

  /** Draw one picture of a frame's values, when the engine is free; whoever waits gets the newest. */
  async show(frame, values) {
    if (this.busy) return;
    if (this.wantedSize && this.wantedSize !== this.size) this.engine.resize(this.size = this.wantedSize);
    if (!this.size) return;
    if (Math.abs(this.wanted - this.turn) > STILL) this.turn += EASE * (this.wanted - this.turn);
    const {shown, turn, size} = this;
    if (shown.frame === frame && Math.abs(shown.turn - turn) < STILL / 2 && shown.size === size) return;
    this.busy = true;
    const start = performance.now();
    try {
      await this.engine.draw(values, sideView(turn));
    } finally {
      this.busy = false;
    }
    this.shown = {frame, turn, size};
    this.leads += 0.1 * ((performance.now() - start) / 1000 - this.leads);
    this.drawn += 1;
    this.onfree?.();
  }
}
