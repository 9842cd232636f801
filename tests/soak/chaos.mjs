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

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class Chaos {
  constructor(mesh, random) {
    Object.assign(this, { mesh, random });
    this.standins = [...mesh.standins.values()];
    this.kinds = [() => this.#fail(), () => this.#fail(), () => this.#fail(), () => this.#die(),
      () => this.#reload(), () => this.#redis()];
  }

  async begin() {
    await Promise.all(this.standins.map((one) => one.script(PACE)));
  }

  async step() {
    await this.random.pick(this.kinds)();
    await pause(this.random.whole(200, 1500));
  }

  async end() {
    await Promise.all(this.standins.map((one) => one.script({})));
  }

  async #fail() {
    const { count, ...script } = this.random.pick(SCRIPTS);
    await this.random.pick(this.standins).script([{ ...script, count }, PACE]);
  }

  async #die() {
    const standin = this.random.pick(this.standins);
    await standin.stop();
    await pause(this.random.whole(100, 1000));
    await standin.start();
    await standin.script(PACE);
  }

  async #reload() {
    const node = this.random.pick([...this.mesh.nodes.values()]);
    if (this.random.chance(0.5)) {
      await this.mesh.signCharter();
      await this.mesh.reload(); // both: different charters would be another test
    } else {
      await this.mesh.reload([node]);
    }
  }

  async #redis() {
    const { redis } = this.mesh;
    if (this.random.chance(0.5)) {
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
