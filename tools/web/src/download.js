// Files of the site with one progress for all of them.

/** Counts bytes of several files against what the site says they have. */
export class Downloads {
  #done = new Map();
  #total = new Map();

  /** @param onProgress called with a fraction 0..1. */
  constructor(onProgress) {
    this.onProgress = onProgress;
  }

  /** Name files beforehand, so that the bar does not jump back. */
  expect(files) {
    for (const file of files) this.#total.set(file.url, file.bytes);
  }

  /** The bytes of a file as an ArrayBuffer; an Error that says which file failed and how. */
  async bytes(file) {
    this.expect([file]);
    const response = await fetch(file.url).catch(() => undefined);
    if (!response?.ok) throw new Error(`${file.url} cannot be loaded (${response?.status ?? "no connection"})`);
    const parts = [];
    let size = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      this.#report(file, size);
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#report(file, file.bytes);
    return whole.buffer;
  }

  #report(file, size) {
    this.#done.set(file.url, Math.min(size, file.bytes));
    const sum = (map) => [...map.values()].reduce((a, b) => a + b, 0);
    this.onProgress(sum(this.#done) / Math.max(1, sum(this.#total)));
  }
}
