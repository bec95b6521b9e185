import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../broker/support-broker.js';

/** A hostile client in a process of its own. */
export class Child {
  /** What it has said so far. */
  said = '';
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #stderr = '';
  #code: number | null | undefined;

  /** @param script a module beside this one */
  constructor(t: TestContext, script: string, ...args: (string | number)[]) {
    const path = fileURLToPath(new URL(`./${script}.js`, import.meta.url));
    this.#child = spawn(process.execPath, [path, ...args.map(String)], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout!.on('data', (chunk) => {
      this.said += chunk;
    });
    this.#child.stderr!.on('data', (chunk) => {
      this.#stderr += chunk;
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        this.#code = code;
        resolve();
      });
    });
    t.after(() => this.kill());
  }

  /** Waits until it has said something. */
  async says(text: string): Promise<void> {
    await until(() => this.said.includes(text) || this.#code !== undefined, `a child says "${text}"`);
    assert.ok(this.said.includes(text), `the child ended (${this.#code}): ${this.#stderr}`);
  }

  /** Whether it has ended by itself, or was killed. */
  get isGone(): boolean {
    return this.#code !== undefined;
  }

  /** Waits until it ends, which it must do well; returns the report that it wrote last. */
  async report(): Promise<Record<string, number>> {
    await this.ended;
    assert.equal(this.#code, 0, this.#stderr);
    return JSON.parse(this.said.trimEnd().split('\n').at(-1)!) as Record<string, number>;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async kill(): Promise<void> {
    if (this.#code === undefined) this.signal('SIGKILL');
    await this.ended;
  }
}
