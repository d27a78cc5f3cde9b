'use strict';
// What draws: a GPU by WebGL2, or painters in workers. Both draw a frame of motion into a canvas and say when it is done.

const MOST_SIZE = 1024; // px a side; displays with more show it enlarged
const PAINTERS = 2; // workers, each with a stretch of rows, where there are cores for them and for the page

/** This page's scripts that workers run, as a URL: their text, or where they lie. */
function scriptUrl(...names) {
  const text = names.map((name) => {
    const script = document.getElementById(`script-${name}`);
    return script.src ? `importScripts(${JSON.stringify(script.src)});` : script.textContent;
  }).join('\n');
  return URL.createObjectURL(new Blob([text], {type: 'text/javascript'}));
}

/** The drawing's plate at another size, RGBA bytes. */
function resizedPlate(drawing, size) {
  if (size === drawing.size) return drawing.plate;
  const [source, target] = [drawing.size, size].map((side) => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = side;
    return canvas.getContext('2d', {willReadFrequently: true});
  });
  source.putImageData(new ImageData(drawing.plate, drawing.size), 0, 0);
  target.imageSmoothingQuality = 'high';
  target.drawImage(source.canvas, 0, 0, size, size);
  return target.getImageData(0, 0, size, size).data;
}

class WebGLEngine {
  constructor(canvas, drawing, opened) {
    Object.assign(this, {canvas, drawing, name: 'webgl', gl: opened.gl});
    this.splats = new Splats(drawing);
    this.screen = new WebGLScreen(opened.gl, drawing.splats);
  }

  resize(size) {
    this.canvas.width = this.canvas.height = size;
    this.screen.resize(size, resizedPlate(this.drawing, size));
  }

  /** Draw a frame's values, seen from a view; what software draws is waited for. */
  async draw(values, view) {
    this.screen.draw(this.splats, this.splats.prepare(values, this.screen.size, view));
  }
}

class PainterEngine {
  constructor(canvas, drawing, painters) {
    Object.assign(this, {canvas, drawing, name: 'painter'});
    this.context = canvas.getContext('2d', {alpha: false, willReadFrequently: true});
    this.url = scriptUrl('drawing_file', 'motion', 'light', 'splats', 'assembler', 'blending', 'painter', 'worker');
    const {plate, ...splats} = drawing;
    this.workers = Array.from({length: painters}, () => {
      const worker = new Worker(this.url);
      worker.postMessage({drawing: splats});
      return worker;
    });
    this.share = 1 / painters; // of the rows, that the first worker paints
  }

  resize(size) {
    this.canvas.width = this.canvas.height = this.size = size;
    this.plate = resizedPlate(this.drawing, size);
    this.divide();
  }

  /** Give each worker its rows. */
  divide() {
    const middle = this.workers.length > 1 ? Math.round(this.share * this.size) : this.size;
    this.workers.forEach((worker, i) => {
      const [top, bottom] = i === 0 ? [0, middle] : [middle, this.size];
      worker.postMessage({size: this.size, top, bottom, plate: this.plate});
    });
    this.middle = middle;
  }

  /** Draw a frame's values, seen from a view, when all workers are done; one frame at a time. */
  async draw(values, view) {
    const parts = await Promise.all(this.workers.map((worker) => new Promise((resolve) => {
      worker.onmessage = ({data}) => resolve(data);
      worker.postMessage({values, view});
    })));
    for (const {bytes, top, size} of parts) {
      if (size === this.size && bytes.length) this.context.putImageData(new ImageData(bytes, size), 0, top);
    }
    if (parts.length > 1) this.balance(parts[0].spent, parts[1].spent);
  }

  /** Move the border between the workers, so that both take as long. */
  balance(first, second) {
    this.share = Math.min(0.9, Math.max(0.1, this.share + 0.1 * this.share * (second - first) / (first + second)));
    if (Math.abs(this.share * this.size - this.middle) > this.size / 32) this.divide();
  }
}

/**
 * The engine for a canvas: `webgl`, `painter`, or `auto`: a GPU where there is one.
 *
 * A canvas that was asked for WebGL can do nothing else, so a painter may get a new one in its place.
 */
function openEngine(canvas, drawing, choice = 'auto') {
  if (choice !== 'painter') {
    const trial = document.createElement('canvas'), found = openWebGL(trial);
    found?.gl.getExtension('WEBGL_lose_context')?.loseContext();
    if (found && (choice === 'webgl' || !found.software)) return new WebGLEngine(canvas, drawing, openWebGL(canvas));
  }
  return new PainterEngine(canvas, drawing, (navigator.hardwareConcurrency || 1) > PAINTERS ? PAINTERS : 1);
}
