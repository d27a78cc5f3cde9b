'use strict';
// A rasterizer for where there is no GPU: rows of a picture, front to back, spans instead of tiles, no exp in a pixel.

const OPAQUE = 1e-4; // less light than this gets through: what lies behind is not seen
const MOST_ALPHA = 0.999;

const EXP_RANGE = 12, EXP_STEPS = 256; // of the table: beyond it nothing is asked for; steps for each whole number
const EXP = Float64Array.from({length: 2 * EXP_RANGE * EXP_STEPS + 2}, (_, i) => Math.exp(i / EXP_STEPS - EXP_RANGE));

/** e^x for |x| < EXP_RANGE, relative error 1e-11: a fraction of what Math.exp costs. */
function quickExp(x) {
  const place = (x + EXP_RANGE) * EXP_STEPS, index = place | 0, rest = (place - index) / EXP_STEPS;
  return EXP[index] * (1 + rest * (1 + rest * (0.5 + rest * (1 / 6))));
}

class Painter {
  /** Paints rows [top, bottom) of pictures of `size` px over a plate, RGBA bytes of all the picture. */
  constructor(size, top, bottom, plate) {
    Object.assign(this, {size, top, bottom, plate});
    this.light = null; // planes: red, green, blue so far, and what still gets through
  }

  /** Make room for the picture, in WebAssembly's memory where there is that. */
  open(splats) {
    const pixels = this.size * (this.bottom - this.top);
    try {
      this.blending = new Blending(splats.drawing.splats, pixels);
      this.light = this.blending.planes;
    } catch {
      this.light = new Float32Array(4 * pixels);
    }
  }

  /** RGBA bytes of the rows, of splats as `Splats.prepare` leaves them. */
  paint(splats, visible) {
    if (!this.light) this.open(splats);
    const {light} = this, plane = light.length / 4;
    light.fill(0, 0, 3 * plane).fill(1, 3 * plane);
    if (this.blending) this.blending.blend(splats, visible, this.size, this.top, this.bottom);
    else for (let i = 0; i < visible; ++i) this.blend(splats.records, RECORD * splats.order[i]);
    return this.compose();
  }

  /** One splat. Along a row its alpha goes on by two products: the exponent is a parabola. */
  blend(n, r) {
    const x = n[r + X], y = n[r + Y], fall = n[r + FALL], a = n[r + A], b = n[r + B], c = n[r + C];
    const red = n[r + RED], green = n[r + GREEN], blue = n[r + BLUE], {size, top, light} = this;
    const plane = light.length / 4;
    const from = Math.max(top, Math.ceil(y - n[r + HEIGHT] - 0.5)) | 0;
    const to = Math.min(this.bottom - 1, Math.floor(y + n[r + HEIGHT] - 0.5)) | 0;
    const bend = Math.exp(-2 * a), half = 0.5 / a, room = fall - LOG_CUT;
    for (let row = from; row <= to; ++row) {
      const dy = row + 0.5 - y, slope = b * dy, left = fall - c * dy * dy;
      const root = slope * slope + 4 * a * (room - c * dy * dy);
      if (root < 0) continue;
      const middle = x - slope * half, reach = Math.sqrt(root) * half;
      const first = Math.max(0, Math.ceil(middle - reach - 0.5)) | 0;
      const last = Math.min(size - 1, Math.floor(middle + reach - 0.5)) | 0;
      if (first > last) continue;
      const dx = first + 0.5 - x;
      let alpha = quickExp(left - dx * (a * dx + slope)), ratio = quickExp(-a * (2 * dx + 1) - slope);
      const end = (row - top) * size + last;
      for (let at = (row - top) * size + first; at <= end; ++at) {
        const through = light[3 * plane + at];
        if (through > OPAQUE) {
          const share = through * (alpha < MOST_ALPHA ? alpha : MOST_ALPHA);
          light[at] += share * red;
          light[plane + at] += share * green;
          light[2 * plane + at] += share * blue;
          light[3 * plane + at] = through - share;
        }
        alpha *= ratio;
        ratio *= bend;
      }
    }
  }

  compose() {
    const {light, plate} = this, plane = light.length / 4, behind = 4 * this.size * this.top;
    const bytes = new Uint8ClampedArray(light.length);
    for (let i = 0, o = 0; i < plane; ++i, o += 4) {
      const through = light[3 * plane + i], p = behind + o;
      // stored rounded to the nearest, and held between 0 and 255
      bytes[o] = 255 * light[i] + through * plate[p];
      bytes[o + 1] = 255 * light[plane + i] + through * plate[p + 1];
      bytes[o + 2] = 255 * light[2 * plane + i] + through * plate[p + 2];
      bytes[o + 3] = 255;
    }
    return bytes;
  }
}
