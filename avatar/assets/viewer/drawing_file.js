'use strict';
// Drawing files: what avatar/core/drawing_file.py writes, read into typed arrays. docs/formats.md has the layout.

const BLOCK = 64; // columns of codes that share a scale

/** Inflate a zlib stream: Uint8Array -> Promise of Uint8Array. */
async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A number from the 16 bits of a half. */
function halfToNumber(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 32768 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Whole numbers [n] whose lowest bytes lie before their next ones: `count` n bytes -> Uint32Array [n]. */
function joinBytes(bytes, count) {
  const n = bytes.length / count, words = new Uint32Array(n);
  for (let place = 0; place < count; ++place) {
    for (let i = 0; i < n; ++i) words[i] |= bytes[place * n + i] << (8 * place);
  }
  return words;
}

function joinHalves(bytes) {
  return Float32Array.from(joinBytes(bytes, 2), halfToNumber);
}

/** Fixed point -> values, `width` components of one splat after the other. */
function fromFixedPoint(bytes, count, {low, step}) {
  const width = low.length;
  return Float32Array.from(joinBytes(bytes, count), (level, i) => low[i % width] + step[i % width] * level);
}

/** All values one after the other, filled up to whole blocks. */
function concatenated(arrays) {
  const length = arrays.reduce((sum, array) => sum + array.length, 0);
  const out = new Float32Array(Math.ceil(length / BLOCK) * BLOCK);
  let at = 0;
  for (const array of arrays) {
    out.set(array, at);
    at += array.length;
  }
  return out;
}

/**
 * Codes [rows, columns], row by row -> block by block of 64 columns, without the rows that are zero in a block.
 *
 * A sum over the rows of a block then runs through memory in order and leaves out what does not move.
 */
function layBlocks(codes, scales, rows, columns) {
  const blocks = Math.ceil(columns / BLOCK), starts = new Uint32Array(blocks + 1);
  let used = 0;
  for (let block = 0; block < blocks; ++block) {
    for (let row = 0; row < rows; ++row) used += scales[row * blocks + block] !== 0;
    starts[block + 1] = used;
  }
  const laid = new Int8Array(used * BLOCK), rowOf = new Uint8Array(used), scaleOf = new Float32Array(used);
  let entry = 0;
  for (let block = 0; block < blocks; ++block) {
    const from = block * BLOCK, to = Math.min(columns, from + BLOCK);
    for (let row = 0; row < rows; ++row) {
      const scale = scales[row * blocks + block];
      if (scale === 0) continue;
      laid.set(codes.subarray(row * columns + from, row * columns + to), entry * BLOCK);
      rowOf[entry] = row;
      scaleOf[entry++] = scale;
    }
  }
  return {starts, rowOf, scaleOf, codes: laid};
}

/** The plate [S, S, 3] as RGBA bytes; deflated ones are stored as differences from the row above. */
function plateBytes(bytes, size, differences) {
  const width = 3 * size, rgba = new Uint8ClampedArray(4 * size * size);
  if (differences) for (let i = width; i < bytes.length; ++i) bytes[i] = bytes[i] + bytes[i - width];
  for (let i = 0, o = 0; i < bytes.length; i += 3, o += 4) {
    rgba[o] = bytes[i]; rgba[o + 1] = bytes[i + 1]; rgba[o + 2] = bytes[i + 2]; rgba[o + 3] = 255;
  }
  return rgba;
}

/**
 * A drawing file -> a plain object of numbers and typed arrays, which may be posted to workers.
 *
 * Throws an Error in words for a file of another kind or version.
 */
async function readDrawing(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  } catch {
    throw new Error('this is not a drawing file');
  }
  const meta = header.__metadata__ || {};
  if (meta.format !== 'drawing/1') throw new Error(`this viewer reads drawing/1, the file is ${meta.format}`);
  const note = JSON.parse(meta.drawing), deflated = note.deflated;
  const raw = (name) => {
    const [start, stop] = header[name].data_offsets;
    return new Uint8Array(buffer.slice(8 + length + start, 8 + length + stop));
  };
  const bytes = (name) => name in deflated ? inflate(raw(name)) : raw(name);
  const floats = (name) => new Float32Array(raw(name).buffer);
  const planar = ['means', 'log_scales', 'opacity_logits', 'colors'];
  const names = ['codes', 'delta_scales', 'quaternions', 'rigidity', 'plate', ...planar];
  const [codes, scales, quaternions, rigidity, plate, ...base] = await Promise.all(names.map(bytes));
  const normals = 'normals' in header ? await bytes('normals') : null; // of avatars that know the light they were filmed in
  const mean = floats('feature_mean'), rows = mean.length, columns = 10 * note.splats;
  return {
    size: note.size, focal: note.focal, fps: note.fps, turn: note.turn, splats: note.splats, modes: note.modes,
    provenance: note.provenance,
    base: concatenated(planar.map((name, i) => fromFixedPoint(base[i], name === 'means' ? 3 : 2, note.fixed[name]))),
    shapes: layBlocks(new Int8Array(codes.buffer), joinHalves(scales), rows, columns),
    quaternions: joinHalves(quaternions), rigidity: joinHalves(rigidity), normals: normals && new Int8Array(normals.buffer),
    restRotation: floats('rest_rotation'), restTranslation: floats('rest_translation'),
    mean, scale: floats('feature_scale'),
    plate: plateBytes(plate, note.size, 'plate' in deflated),
  };
}
