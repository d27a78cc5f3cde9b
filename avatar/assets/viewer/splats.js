'use strict';
// Splats of a frame: blendshapes, placing between head and torso, projection, order by depth.
// The formulas are those of cuda_ext/include/deform.h, place.h and splat.h.

const RECORD = 12; // floats of a projected splat, three texels
const [X, Y, FALL, HEIGHT, A, B, C, DEPTH, RED, GREEN, BLUE] = Array(11).keys(); // alpha = e^(FALL - A dx² - B dx dy - C dy²)
const NEAREST = 1; // cm
const LOW_PASS = 0.3; // px² added to the covariance in the picture
const LOG_CUT = -Math.log(255); // less than a 255th of alpha is nothing
const HELD_SLOPE = 0.65; // of the picture's side over the focal length, beyond which the linearization is held

/** base + coefficients . shapes, planar [10 N], in whole blocks. Eight columns at a time stay in registers over all rows. */
function deform(shapes, base, coefficients, out) {
  const {starts, rowOf, scaleOf, codes} = shapes, factors = new Float64Array(coefficients.length);
  for (let block = 0, column = 0; column < base.length; ++block, column += BLOCK) {
    const first = starts[block], used = starts[block + 1] - first;
    for (let i = 0; i < used; ++i) factors[i] = coefficients[rowOf[first + i]] * scaleOf[first + i];
    for (let j = 0; j < BLOCK; j += 8) {
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0, a6 = 0, a7 = 0;
      for (let i = 0, at = first * BLOCK + j; i < used; ++i, at += BLOCK) {
        const f = factors[i];
        a0 += f * codes[at]; a1 += f * codes[at + 1]; a2 += f * codes[at + 2]; a3 += f * codes[at + 3];
        a4 += f * codes[at + 4]; a5 += f * codes[at + 5]; a6 += f * codes[at + 6]; a7 += f * codes[at + 7];
      }
      const o = column + j;
      out[o] = base[o] + a0; out[o + 1] = base[o + 1] + a1; out[o + 2] = base[o + 2] + a2; out[o + 3] = base[o + 3] + a3;
      out[o + 4] = base[o + 4] + a4; out[o + 5] = base[o + 5] + a5; out[o + 6] = base[o + 6] + a6; out[o + 7] = base[o + 7] + a7;
    }
  }
}

/** The unit quaternion [w, x, y, z] of a rotation, from the largest of its squares. */
function quaternionOf(r) {
  const trace = r[0] + r[4] + r[8], squares = [trace, r[0], r[4], r[8]];
  const best = squares.indexOf(Math.max(...squares));
  const wx = r[7] - r[5], wy = r[2] - r[6], wz = r[3] - r[1];
  const xy = r[1] + r[3], xz = r[2] + r[6], yz = r[5] + r[7];
  const q = [
    [1 + trace, wx, wy, wz], [wx, 1 + 2 * r[0] - trace, xy, xz],
    [wy, xy, 1 + 2 * r[4] - trace, yz], [wz, xz, yz, 1 + 2 * r[8] - trace],
  ][best];
  const norm = Math.hypot(...q);
  return q.map((value) => value / norm);
}

function quaternionProduct(a, b) {
  return [
    a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3], a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
    a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1], a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
  ];
}

function moved(matrix, point, shift) {
  return [0, 1, 2].map(
    (i) => matrix[3 * i] * point[0] + matrix[3 * i + 1] * point[1] + matrix[3 * i + 2] * point[2] + shift[i]);
}

/** Head and torso of a frame as affine maps with their quaternions, both seen from a view. */
function framesOf(drawing, motion, view) {
  const {rotation, translation, torso} = motion, rest = drawing.restRotation, center = drawing.restTranslation;
  const scale = Math.exp(torso[2]), roll = torso[3];
  const cosine = scale * Math.cos(roll), sine = scale * Math.sin(roll);
  const linear = [cosine, -sine, torso[0] / drawing.focal, sine, cosine, torso[1] / drawing.focal, 0, 0, 1];
  const headTurn = quaternionOf(rotation);
  const rolled = [Math.cos(roll / 2), 0, 0, Math.sin(roll / 2)];
  let bodyTurn = quaternionProduct(rolled, quaternionOf(rest));
  if (headTurn.reduce((sum, value, i) => sum + value * bodyTurn[i], 0) < 0) bodyTurn = bodyTurn.map((value) => -value);
  const seen = (matrix, shift, turn) => ({
    matrix: multiply(view.rotation, matrix),
    shift: moved(view.rotation, shift.map((value, i) => value - center[i]), center),
    turn: quaternionProduct(view.quaternion, turn),
  });
  const hung = moved(linear, center, [0, 0, 0]);
  return {head: seen(rotation, [...translation], headTurn), body: seen(multiply(linear, rest), hung, bodyTurn)};
}

/** The splats of a drawing, for one frame after the other. */
class Splats {
  constructor(drawing) {
    this.drawing = drawing;
    this.values = new Float32Array(drawing.base.length);
    this.records = new Float32Array(RECORD * drawing.splats);
    this.order = new Uint32Array(drawing.splats); // front to back, of those that can be seen
    this.scratch = new Uint32Array(3 * drawing.splats);
    this.lighting = new Lighting(drawing);
  }

  /** Bring the splats to a frame's motion; returns how many can be seen in a picture of `size` px. */
  prepare(values, size, view) {
    deform(this.drawing.shapes, this.drawing.base, coefficients(this.drawing, values), this.values);
    this.lighting.follow(values.subarray(this.drawing.modes + VALUES_BEYOND_MODES));
    const frames = framesOf(this.drawing, splitMotion(values, this.drawing.modes), view);
    let visible = 0;
    for (let i = 0; i < this.drawing.splats; ++i) if (this.project(i, frames, size)) this.order[visible++] = i;
    this.sort(visible);
    return visible;
  }

  /** Place and project splat i into its record; whether it can be seen. */
  project(i, {head, body}, size) {
    const {splats, quaternions, rigidity, focal: trained, size: trainedSize} = this.drawing;
    const v = this.values, w = rigidity[i], u = 1 - w, h = head.matrix, b = body.matrix, hs = head.shift, bs = body.shift;
    const px = v[3 * i], py = v[3 * i + 1], pz = v[3 * i + 2];
    const z = w * (h[6] * px + h[7] * py + h[8] * pz + hs[2]) + u * (b[6] * px + b[7] * py + b[8] * pz + bs[2]);
    if (!(z >= NEAREST)) return false;
    const opacity = 1 / (1 + Math.exp(-v[6 * splats + i]));
    if (opacity <= 1 / 255) return false;
    const x = w * (h[0] * px + h[1] * py + h[2] * pz + hs[0]) + u * (b[0] * px + b[1] * py + b[2] * pz + bs[0]);
    const y = w * (h[3] * px + h[4] * py + h[5] * pz + hs[1]) + u * (b[3] * px + b[4] * py + b[5] * pz + bs[1]);
    // the quaternion of the mixed turn times the splat's own
    const p = head.turn, t = body.turn, k = 4 * i, q0 = quaternions[k], q1 = quaternions[k + 1];
    const q2 = quaternions[k + 2], q3 = quaternions[k + 3];
    const m0 = w * p[0] + u * t[0], m1 = w * p[1] + u * t[1], m2 = w * p[2] + u * t[2], m3 = w * p[3] + u * t[3];
    const norm = 1 / Math.sqrt(
      (m0 * m0 + m1 * m1 + m2 * m2 + m3 * m3) * (q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3) + 1e-24);
    const qw = (m0 * q0 - m1 * q1 - m2 * q2 - m3 * q3) * norm, qx = (m0 * q1 + m1 * q0 + m2 * q3 - m3 * q2) * norm;
    const qy = (m0 * q2 - m1 * q3 + m2 * q0 + m3 * q1) * norm, qz = (m0 * q3 + m1 * q2 - m2 * q1 + m3 * q0) * norm;
    const s = 3 * (splats + i), sx = Math.exp(v[s]), sy = Math.exp(v[s + 1]), sz = Math.exp(v[s + 2]);
    const focal = trained * size / trainedSize, zoom = focal / z, held = HELD_SLOPE * size / focal;
    const slopeX = Math.max(-held, Math.min(held, x / z)), slopeY = Math.max(-held, Math.min(held, y / z));
    // rows of the factor T of the covariance T T'
    const d0 = 2 * (qx * qz - qw * qy) * sx, d1 = 2 * (qy * qz + qw * qx) * sy, d2 = (1 - 2 * (qx * qx + qy * qy)) * sz;
    const a0 = zoom * ((1 - 2 * (qy * qy + qz * qz)) * sx - slopeX * d0), a1 = zoom * (2 * (qx * qy - qw * qz) * sy - slopeX * d1);
    const a2 = zoom * (2 * (qx * qz + qw * qy) * sz - slopeX * d2), b0 = zoom * (2 * (qx * qy + qw * qz) * sx - slopeY * d0);
    const b1 = zoom * ((1 - 2 * (qx * qx + qz * qz)) * sy - slopeY * d1), b2 = zoom * (2 * (qy * qz - qw * qx) * sz - slopeY * d2);
    const xx = a0 * a0 + a1 * a1 + a2 * a2, yy = b0 * b0 + b1 * b1 + b2 * b2, xy = a0 * b0 + a1 * b1 + a2 * b2;
    const c0 = a1 * b2 - a2 * b1, c1 = a2 * b0 - a0 * b2, c2 = a0 * b1 - a1 * b0; // no cancellation for needles
    const inverse = 1 / (c0 * c0 + c1 * c1 + c2 * c2 + LOW_PASS * (xx + yy) + LOW_PASS * LOW_PASS);
    const fall = Math.log(opacity), reach = 2 * (fall - LOG_CUT), middle = 0.5 * size;
    const right = Math.sqrt((xx + LOW_PASS) * reach), below = Math.sqrt((yy + LOW_PASS) * reach);
    const atX = zoom * x + middle, atY = zoom * y + middle;
    if (!(atX + right > 0 && atX - right < size && atY + below > 0 && atY - below < size)) return false;
    const r = RECORD * i, n = this.records, color = 7 * splats + 3 * i, {tints} = this.lighting;
    n[r + X] = atX; n[r + Y] = atY; n[r + FALL] = fall; n[r + HEIGHT] = below;
    n[r + A] = 0.5 * (yy + LOW_PASS) * inverse; n[r + B] = -xy * inverse; n[r + C] = 0.5 * (xx + LOW_PASS) * inverse;
    n[r + DEPTH] = z;
    n[r + RED] = v[color] * tints[3 * i]; n[r + GREEN] = v[color + 1] * tints[3 * i + 1]; n[r + BLUE] = v[color + 2] * tints[3 * i + 2];
    return true;
  }

  /** Stable radix sort of the first `visible` of the order by depth: bits of positive floats sort as integers. */
  sort(visible) {
    const n = this.drawing.splats, keys = this.scratch.subarray(0, n), bits = new Uint32Array(this.records.buffer);
    let from = this.order, to = this.scratch.subarray(n, 2 * n);
    for (let i = 0; i < visible; ++i) keys[from[i]] = bits[RECORD * from[i] + DEPTH];
    for (let shift = 0; shift < 33; shift += 11) {
      const counts = new Uint32Array(2048);
      for (let i = 0; i < visible; ++i) ++counts[(keys[from[i]] >>> shift) & 2047];
      let sum = 0;
      for (let digit = 0; digit < 2048; ++digit) {
        const here = counts[digit];
        counts[digit] = sum;
        sum += here;
      }
      for (let i = 0; i < visible; ++i) to[counts[(keys[from[i]] >>> shift) & 2047]++] = from[i];
      [from, to] = [to, from];
    }
    this.order.set(from.subarray(0, visible)); // three passes end in the scratch
  }
}
