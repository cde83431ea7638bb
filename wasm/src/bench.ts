/** The tests of `pyedge bench`, with its columns: `pp` evaluates a prompt of random tokens, `tg` generates greedily, one
 * token at a time. Generation is held against reading the weights alone, on the same threads. */
import { Cancelled } from "./core.js";
import { breathe } from "./engine.js";
import type { Engine } from "./engine.js";
import { Sha256 } from "./sha256.js";
import type { BenchOptions, BenchRow } from "./types.js";

const PROMPT = "The quick brown fox";
const READS = 3; // of all weights, before each sample of generation
const WARM_UP = 8; // tokens

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};
const deviation = (values: number[]): number =>
  values.length < 2 ? 0 : Math.sqrt(values.reduce((sum, x) => sum + (x - mean(values)) ** 2, 0) / (values.length - 1));

const hashOf = (output: number[]): string =>
  new Sha256().update(new TextEncoder().encode(`[${output.join(", ")}]`)).digest().slice(0, 16);

export class Bench {
  private readonly greedy;
  private readonly fixed;

  constructor(
    private readonly engine: Engine,
    private readonly loadMs: number,
    private readonly signal: AbortSignal,
  ) {
    const { core, model, fields } = engine;
    this.greedy = core.createSampler({
      temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1, seed: 0n, logitBias: [],
    }); // prettier-ignore
    const { bytes, types } = core.tensorTypes(model);
    const kind = types.sort((a, b) => b[1] - a[1])[0]?.[0] ?? "?";
    const navigator = globalThis.navigator as Navigator | undefined;
    this.fixed = {
      model_filename: engine.fileName,
      model_type: `${fields.arch} ${Math.round(fields.params / 1e6)}M ${kind}`,
      model_size: bytes,
      model_n_params: fields.params,
      cpu_info: `${navigator?.hardwareConcurrency ?? "?"} processors, ${navigator?.userAgent ?? "unknown"}`,
      isa: core.name.replace("-threads", ""),
      n_threads: engine.threads,
    };
  }

  async run(options: BenchOptions, give: (row: BenchRow) => void): Promise<BenchRow[]> {
    const rows: BenchRow[] = [];
    const { core, session } = this.engine;
    try {
      for (const depth of options.depth ?? [0]) {
        const tests = [
          ...(options.prompt ?? [512]).map((n): [number, number] => [n, 0]),
          ...(options.generate ?? [128]).map((n): [number, number] => [0, n]),
        ].filter(([prompt, generate]) => prompt || generate);
        for (const [prompt, generate] of tests) {
          const row = await this.test(prompt, generate, depth, options.repetitions ?? 5);
          rows.push(row);
          give(row);
        }
      }
      return rows;
    } finally {
      core.releaseSampler(this.greedy);
      core.rewind(session, 0);
    }
  }

  private async test(n_prompt: number, n_gen: number, n_depth: number, repeat: number): Promise<BenchRow> {
    const { engine } = this;
    const { core, session } = engine;
    let state = n_depth + 1; // of a small generator: the tokens only have to be various
    const random = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * engine.fields.vocabSize);
    };
    core.rewind(session, 0);
    if (n_depth) core.advance(session, Array.from({ length: n_depth }, random));
    const ids = n_prompt ? Array.from({ length: n_prompt }, random) : engine.tokenize(PROMPT, true, false);
    const samples: number[] = [];
    const reads: number[] = [];
    const firsts: number[] = [];
    let output: number[] = [];
    for (let run = 0; run <= repeat; run++) {
      await this.pause();
      if (n_gen)
        for (let i = 0; i < READS; i++) reads.push(this.timed(() => core.readWeights(session)));
      core.rewind(session, n_depth);
      const first = this.timed(() => {
        core.advance(session, ids);
        output = [core.sample(session, this.greedy).id];
      });
      firsts.push(first);
      if (n_prompt) {
        samples.push(first);
        continue;
      }
      const steps = run === 0 ? Math.min(n_gen, WARM_UP) : n_gen; // the first run warms up
      const before = performance.now();
      for (let i = 0; i < steps; i++) {
        core.advance(session, output.slice(-1));
        output.push(core.sample(session, this.greedy).id);
        if (i % 16 === 15) await this.pause();
      }
      samples.push(performance.now() - before);
    }
    const rates = samples.slice(1).map((ms) => ((n_prompt || n_gen) / ms) * 1e3);
    const rate = median(rates);
    const weights = n_gen ? core.tokenReadBytes(session, 0) : null;
    const bound = weights === null ? null : weights / Math.min(...reads) / 1e6;
    const middle = n_gen ? core.tokenReadBytes(session, n_depth + ids.length + (n_gen >> 1)) : 0;
    return {
      ...this.fixed,
      n_prompt,
      n_gen,
      n_depth,
      samples_ts: rates,
      avg_ts: mean(rates),
      stddev_ts: deviation(rates),
      median_ts: rate,
      load_ms: this.loadMs,
      ttft_ms: n_depth ? null : median(firsts.slice(1)),
      peak_rss_bytes: core.memory.buffer.byteLength,
      weights_gb_per_s: weights === null ? null : (weights * rate) / 1e9,
      output_hash: hashOf(output),
      bound_gb_per_s: bound,
      bound_percent: bound === null ? null : (100 * middle * rate) / 1e9 / bound,
      start_ms: null,
    };
  }

  private timed(run: () => void): number {
    const before = performance.now();
    run();
    return performance.now() - before;
  }

  private async pause(): Promise<void> {
    await breathe();
    if (this.signal.aborted) throw new Cancelled("the benchmark was cancelled");
  }
}
