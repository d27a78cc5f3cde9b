'use strict';
// What runs in a painter's worker: splats and painter of a stretch of rows, by messages of `PainterEngine`.

function startWorker() {
  let splats = null, painter = null;
  self.onmessage = ({data}) => {
    if (data.drawing) splats = new Splats(data.drawing);
    if (data.plate) painter = new Painter(data.size, data.top, data.bottom, data.plate);
    if (!data.values) return;
    const start = performance.now();
    const bytes = painter.paint(splats, splats.prepare(data.values, painter.size, data.view));
    const spent = performance.now() - start;
    self.postMessage({bytes, top: painter.top, size: painter.size, spent}, [bytes.buffer]);
  };
}

if (typeof document === 'undefined' && typeof WorkerGlobalScope !== 'undefined') startWorker();
