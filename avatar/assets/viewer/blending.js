'use strict';
// The painter's loops in WebAssembly, four pixels at a time; where a browser has none, the painter has them in JavaScript.

/** A number of the record at `r`. */
function recorded(place) {
  return `(f64.promote_f32 (f32.load (i32.add r ${4 * place})))`;
}

function everywhere(value) {
  return `(f32x4.splat (f32.demote_f64 ${value}))`;
}

/** Statements that set `name` to e^x, of four lanes, relative error 2e-7: the formula of cuda_ext/include/hd.h. */
function exponential(name, x) {
  const horner = [1.339887440e-3, 9.618437357e-3, 5.550332548e-2, 2.402264791e-1, 6.931472028e-1, 1]
    .map((factor) => `(f32x4.splat ${factor})`).reduce((sum, factor) => `(f32x4.add (f32x4.mul ${sum} rest) ${factor})`);
  return `(set rest (f32x4.pmax (f32x4.mul ${x} (f32x4.splat ${Math.LOG2E})) (f32x4.splat -126)))
    (set shifted (f32x4.add rest (f32x4.splat 12582912)))
    (set rest (f32x4.sub rest (f32x4.sub shifted (f32x4.splat 12582912))))
    (set ${name} (i32x4.add ${horner} (i32x4.shl shifted 23)))`;
}

/** Four pixels' share of a colour, added to its plane. */
function blended(plane, color) {
  return `(v128.store ${plane} (f32x4.add (v128.load ${plane}) (f32x4.mul share ${color})))`;
}

/**
 * The program: `Painter.blend` for each of `count` splats.
 *
 * Light lies in four planes: red, green, blue, and what gets through. Along a row the exponent is a parabola, so that
 * alpha goes on by two products; four lanes are four pixels, and a step goes on by four.
 */
function blendingProgram() {
  return `(set end (i32.add order (i32.mul count 4)))
  (while (i32.lt_s order end)
    (set r (i32.add records (i32.mul (i32.load order) ${4 * RECORD})))
    (set order (i32.add order 4))
    (set x ${recorded(X)}) (set y ${recorded(Y)}) (set fall ${recorded(FALL)}) (set height ${recorded(HEIGHT)})
    (set a ${recorded(A)}) (set b ${recorded(B)}) (set c ${recorded(C)})
    (set red ${everywhere(recorded(RED))}) (set green ${everywhere(recorded(GREEN))}) (set blue ${everywhere(recorded(BLUE))})
    ${exponential('bend', everywhere('(f64.mul a -32)'))}
    (set bent (f32x4.mul ${everywhere('a')} (lanes 0 -1 -4 -9)))
    (set half (f64.div 0.5 a))
    (set row (i32.trunc_sat_f64_s (f64.ceil (f64.sub (f64.sub y height) 0.5))))
    (if (i32.lt_s row top) (set row top))
    (set to (i32.trunc_sat_f64_s (f64.floor (f64.sub (f64.add y height) 0.5))))
    (if (i32.le_s bottom to) (set to (i32.sub bottom 1)))
    (while (i32.le_s row to)
      (set dy (f64.sub (f64.add (f64.convert_i32_s row) 0.5) y))
      (set slope (f64.mul b dy))
      (set left (f64.sub fall (f64.mul c (f64.mul dy dy))))
      (set root (f64.add (f64.mul slope slope) (f64.mul (f64.mul 4 a) (f64.sub left ${LOG_CUT}))))
      (if (f64.ge root 0)
        (set middle (f64.sub (f64.sub x (f64.mul slope half)) 0.5))
        (set reach (f64.mul (f64.sqrt root) half))
        (set first (i32.trunc_sat_f64_s (f64.ceil (f64.sub middle reach))))
        (if (i32.lt_s first 0) (set first 0))
        (set last (i32.trunc_sat_f64_s (f64.floor (f64.add middle reach))))
        (if (i32.le_s size last) (set last (i32.sub size 1)))
        (if (i32.le_s first last)
          (set dx (f64.sub (f64.add (f64.convert_i32_s first) 0.5) x))
          (set rise (f64.neg (f64.add (f64.mul (f64.mul 2 a) dx) slope)))
          ${exponential('alpha', `(f32x4.add (f32x4.add ${everywhere('(f64.sub left (f64.mul dx (f64.add (f64.mul a dx) slope)))')}
            (f32x4.mul ${everywhere('rise')} (lanes 0 1 2 3))) bent)`)}
          ${exponential('ratio', `(f32x4.add ${everywhere('(f64.mul 4 (f64.sub rise (f64.mul 4 a)))')}
            (f32x4.mul ${everywhere('a')} (lanes 0 -8 -16 -24)))`)}
          (set pixel (i32.add light (i32.mul 4 (i32.add first (i32.mul size (i32.sub row top))))))
          (set count (i32.add 1 (i32.sub last first)))
          (repeat (i32.gt_s count 0)
            (set behind (i32.add pixel (i32.mul 3 plane)))
            (set through (v128.load behind))
            (set seen (f32x4.gt through (f32x4.splat ${OPAQUE})))
            (if (v128.any_true seen)
              (set share (v128.and (v128.and seen (f32x4.gt (f32x4.splat (f32.convert_i32_s count)) (lanes 0 1 2 3)))
                (f32x4.mul through (f32x4.pmin alpha (f32x4.splat ${MOST_ALPHA})))))
              (v128.store behind (f32x4.sub through share))
              ${blended('pixel', 'red')} ${blended('(i32.add pixel plane)', 'green')}
              ${blended('(i32.sub behind plane)', 'blue')})
            (set count (i32.sub count 4))
            (set pixel (i32.add pixel 16))
            (if (i32.gt_s count 0)
              (set alpha (f32x4.mul alpha ratio))
              (set ratio (f32x4.mul ratio bend))))))
      (set row (i32.add row 1))))`;
}

const BLENDING = {
  parameters: ['records', 'order', 'count', 'light', 'plane', 'size', 'top', 'bottom'],
  locals: {
    i32: ['end', 'r', 'row', 'to', 'first', 'last', 'pixel', 'behind'],
    f64: ['x', 'y', 'fall', 'height', 'a', 'b', 'c', 'half', 'dy', 'slope', 'left', 'root', 'middle', 'reach', 'dx', 'rise'],
    v128: ['red', 'green', 'blue', 'bend', 'bent', 'alpha', 'ratio', 'through', 'seen', 'share', 'rest', 'shifted'],
  },
};

/** Memory of its own with a picture's light, and the function that blends splats into it. */
class Blending {
  /** Throws where the browser, or the page's policy, has no WebAssembly of this kind. */
  constructor(splats, pixels) {
    this.order = 4 * RECORD * splats;
    this.light = Math.ceil((this.order + 4 * splats) / 16) * 16;
    const bytes = this.light + 16 * pixels + 16; // the last lanes of the last row lie beyond it
    const memory = new WebAssembly.Memory({initial: Math.ceil(bytes / 65536)});
    const module = new WebAssembly.Module(assemble(BLENDING.parameters, BLENDING.locals, blendingProgram()));
    this.run = new WebAssembly.Instance(module, {env: {memory}}).exports.run;
    this.memory = memory.buffer;
    this.planes = new Float32Array(memory.buffer, this.light, 4 * pixels);
  }

  /** Blend the first `visible` splats of an order, front to back, into rows [top, bottom). */
  blend(splats, visible, size, top, bottom) {
    new Float32Array(this.memory, 0, splats.records.length).set(splats.records);
    new Uint32Array(this.memory, this.order, visible).set(splats.order.subarray(0, visible));
    this.run(0, this.order, visible, this.light, this.planes.byteLength / 4, size, top, bottom);
  }
}
