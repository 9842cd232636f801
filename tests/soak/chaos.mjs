// What goes wrong meanwhile, one thing after the other, each undone before the next.
const SCRIPTS = [
  { status: 500, count: 3 },
  { status: 503, retry_after: 1, count: 3 },
  { status: 429, count: 3 },
  { reset: true, count: 5 },
  { truncate_head: true, count: 3 },
  { truncate_after_events: 3, count: 20 },
  { stall_after_events: 2, count: 5 },
  { raw: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!', count: 2 },
];

// The pace of answers: some seconds for most, so that hundreds are under way.
const PACE = { token_interval_ms: 300 };

const WORST_MS = 1500;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class Chaos {
  constructor(mesh, random) {
    Object.assign(this, { mesh, random });
    this.standins = [...mesh.standins.values()];
    this.left = [];
  }

  // Everything once, in a random order, before anything comes again: no run lacks a kind.
  #all() {
    return [...SCRIPTS.map((script) => () => this.#fail(script)),
      ...this.standins.map((standin) => () => this.#die(standin)),
      ...[true, false].map((sign) => () => this.#reload(sign)),
      ...[true, false].map((freeze) => () => this.#redis(freeze))];
  }

  async begin() {
    await Promise.all(this.standins.map((one) => one.script(PACE)));
  }

  async step() {
    if (this.left.length === 0) {
      this.left = this.#all();
    }
    await this.random.draw(this.left)();
    await pause(this.random.whole(200, 1500));
  }

  async end() {
    await Promise.all(this.standins.map((one) => one.script({})));
  }

  // Each of them once, and to all model servers at the same time: more at once than steps do.
  async worst() {
    for (const { count, ...script } of SCRIPTS) {
      await Promise.all(this.standins.map((one) => one.script([{ ...script, count }, PACE])));
      await pause(WORST_MS);
    }
    await Promise.all(this.standins.map((one) => one.stop()));
    await pause(WORST_MS);
    await Promise.all(this.standins.map((one) => one.start()));
    await this.begin();
    await this.mesh.signCharter();
    await this.mesh.reload();
    this.mesh.redis.freeze();
    await pause(WORST_MS);
    this.mesh.redis.thaw();
    await pause(WORST_MS);
  }

  async #fail({ count, ...script }) {
    await this.random.pick(this.standins).script([{ ...script, count }, PACE]);
  }

  async #die(standin) {
    await standin.stop();
    await pause(this.random.whole(100, 1000));
    await standin.start();
    await standin.script(PACE);
  }

  async #reload(sign) {
    const node = this.random.pick([...this.mesh.nodes.values()]);
    if (sign) {
      await this.mesh.signCharter();
      await this.mesh.reload(); // both: different charters would be another test
    } else {
      await this.mesh.reload([node]);
    }
  }

  async #redis(freeze) {
    const { redis } = this.mesh;
    if (freeze) {
      redis.freeze();
      await pause(this.random.whole(100, 1500));
      redis.thaw();
    } else {
      await redis.kill();
      await pause(this.random.whole(100, 1000));
      await redis.start();
    }
  }
}
