// Random choices that can be repeated: mulberry32, seeded and printed by the test.
export class Random {
  constructor(seed) {
    this.seed = seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(seed);
    this.state = this.seed >>> 0;
  }

  // 0 <= x < 1
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  // min <= n <= max
  whole(min, max) { return min + Math.floor(this.next() * (max - min + 1)); }

  chance(share) { return this.next() < share; }

  // Takes one out.
  draw(list) { return list.splice(this.whole(0, list.length - 1), 1)[0]; }

  pick(list) { return list[this.whole(0, list.length - 1)]; }
}
