'use strict';
// Another light on a drawing's splats: the formulas of avatar/render/gaussian/shading.py, from 63 numbers a frame.

const LIGHT_NUMBERS = 63; // 20 products of the normal by 3 colours, log light; and 3 that are added to all
const DISPLAY = 2.2; // exponent from a picture's values to light
const LIGHT_LIMIT = 2, LIGHT_DARK = 0.12, LIGHT_WHITE = 1.15, LEAST_ROOM = 0.15;
const LIGHT_TURNS = 8; // frames in which all splats are lit anew: light changes slowly

class Lighting {
  constructor(drawing) {
    const {splats, base} = drawing;
    Object.assign(this, {drawing, turn: 0, before: false});
    this.tints = new Float32Array(3 * splats).fill(1); // what colours are multiplied with
    this.raised = new Float32Array(splats);
    this.room = new Float32Array(splats);
    for (let i = 0; i < splats; ++i) {
      const [red, green, blue] = base.subarray(7 * splats + 3 * i, 7 * splats + 3 * i + 3).map((value) => Math.max(0, value));
      this.raised[i] = Math.min(1, (0.2126 * red + 0.7152 * green + 0.0722 * blue) / LIGHT_DARK);
      const most = Math.min(LIGHT_WHITE, Math.max(LIGHT_DARK, red, green, blue));
      this.room[i] = Math.max(LEAST_ROOM, DISPLAY * Math.log(LIGHT_WHITE / most));
    }
  }

  /** Follow the light of a frame: its numbers, or none where it is as filmed. */
  follow(numbers) {
    if (!numbers.length) {
      if (this.before) this.tints.fill(1);
      this.before = false;
      return;
    }
    const step = this.before ? LIGHT_TURNS : 1;
    this.turn = (this.turn + 1) % step;
    for (let i = this.turn; i < this.drawing.splats; i += step) this.light(i, numbers);
    this.before = true;
  }

  light(i, numbers) {
    const {normals, rigidity} = this.drawing, w = rigidity[i], u = 1 - w;
    for (let channel = 0; channel < 3; ++channel) {
      let log = 0;
      if (normals) {
        const x = normals[3 * i] / 127, y = normals[3 * i + 1] / 127, z = normals[3 * i + 2] / 127;
        const at = (k) => w * numbers[3 * k + channel] + u * numbers[30 + 3 * k + channel];
        log = at(0) + x * at(1) + y * at(2) + z * at(3) + x * y * at(4) + y * z * at(5) + x * z * at(6)
          + x * x * at(7) + y * y * at(8) + z * z * at(9);
        log = LIGHT_LIMIT * Math.tanh(log / LIGHT_LIMIT);
        if (log > 0) log = this.room[i] * Math.tanh(log * this.raised[i] / this.room[i]);
      }
      this.tints[3 * i + channel] = Math.exp((log + numbers[60 + channel]) / DISPLAY);
    }
  }
}
