'use strict';
// Motion: what a frame's numbers are, and the features that splats follow (avatar/render/features.py).

const POSE_FEATURES = 6, EYES = 4;
const MOST_TORSO = 4; // deviations: as far as shoulders change what is drawn
const VALUES_BEYOND_MODES = 20; // eyes 4, rotation 9, translation 3, torso 4

/** Parts of a frame's values [modes + 20], as views of them. */
function splitMotion(values, modes) {
  const rotation = modes + EYES, translation = rotation + 9, torso = translation + 3;
  return {
    expression: values.subarray(0, modes), eyes: values.subarray(modes, rotation),
    rotation: values.subarray(rotation, translation), translation: values.subarray(translation, torso),
    torso: values.subarray(torso, torso + 4),
  };
}

/** Matrix products of 3 x 3 arrays, row by row: a b, and a b'. */
function multiply(a, b) {
  const out = new Float64Array(9);
  for (let i = 0; i < 3; ++i) {
    for (let j = 0; j < 3; ++j) for (let k = 0; k < 3; ++k) out[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  }
  return out;
}

function transpose(m) {
  return [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
}

/** A rotation matrix as a rotation vector, rad. */
function rotationVector(r) {
  const angle = Math.acos(Math.min(1, Math.max(-1, (r[0] + r[4] + r[8] - 1) / 2)));
  const factor = angle < 1e-4 ? 0.5 : angle / (2 * Math.max(1e-8, Math.sin(angle)));
  return [(r[7] - r[5]) * factor, (r[2] - r[6]) * factor, (r[3] - r[1]) * factor];
}

/** The coefficients of a drawing's blendshapes for a frame's values. */
function coefficients(drawing, values) {
  const {expression, eyes, rotation, translation, torso} = splitMotion(values, drawing.modes);
  const turn = rotationVector(multiply(rotation, transpose(drawing.restRotation)));
  const hung = [torso[0] / drawing.focal, torso[1] / drawing.focal, torso[2], torso[3]];
  const raw = [...expression, ...eyes, ...turn, ...translation, ...hung];
  const known = drawing.modes + EYES + POSE_FEATURES;
  return Float64Array.from(drawing.mean, (mean, i) => {
    const feature = (raw[i] - mean) / drawing.scale[i];
    return i < known ? feature : Math.min(MOST_TORSO, Math.max(-MOST_TORSO, feature));
  });
}

/** A message of the motion stream (avatar/core/motion_stream.py) -> its frame, values and samples. */
function readMessage(buffer) {
  const view = new DataView(buffer), version = view.getUint8(1), samples = view.getUint16(2, true);
  if (version !== 1) throw new Error(`this viewer reads version 1 of the motion stream, the message is of ${version}`);
  const stop = buffer.byteLength - 2 * samples;
  const sound = Float32Array.from(new Int16Array(buffer.slice(stop)), (sample) => sample / 32768);
  return {
    frame: view.getUint32(4, true), seconds: Number(view.getBigUint64(8, true)) / 1e6,
    values: new Float32Array(buffer.slice(16, stop)), sound,
  };
}

/** The view from `degrees` to the side, as a rotation matrix and its quaternion. */
function sideView(degrees) {
  const angle = degrees * Math.PI / 180, c = Math.cos(angle), s = Math.sin(angle);
  return {
    rotation: [c, 0, s, 0, 1, 0, -s, 0, c],
    quaternion: [Math.cos(angle / 2), 0, Math.sin(angle / 2), 0],
  };
}
