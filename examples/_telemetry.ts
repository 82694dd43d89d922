/** What a telemetry sender and its monitor share: the datagram, the sender's pace, and the statistics. */

import {
  formatAddr,
  parseAddr,
  type SocketAddr,
  type UdpAddr,
} from "@berkeley/sockets";
import { fail } from "./_args.ts";

// The datagram: magic, stream, sequence number, size, timestamp (all of 4 bytes but the last, of 8), and
// zeros up to its size, in network byte order.

/** How long a datagram is at least. */
export const HEADER = 24;
/** How long it may be: what IPv4 has room for. */
export const MAX_SIZE = 65_507;

/** "BST1": what is no datagram of ours hardly starts with it. */
const MAGIC = 0x42535431;

/** What a datagram says. */
export interface Sample {
  /** Which stream it is of: a random number, 32 bits. */
  readonly stream: number;
  /** Which one of it: 32 bits, 0 comes behind the largest. */
  readonly sequence: number;
  /** When it was sent, in microseconds of the sender's own clock. */
  readonly sentAt: number;
  /** How long it is, in bytes. */
  readonly size: number;
}

/** Writes a datagram's header into its first bytes. */
export function writeSample(bytes: Uint8Array, sample: Sample): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER);
  view.setUint32(0, MAGIC);
  view.setUint32(4, sample.stream);
  view.setUint32(8, sample.sequence);
  view.setUint32(12, sample.size);
  view.setBigUint64(16, BigInt(Math.round(sample.sentAt)));
}

/** Reads a datagram; `undefined` for what is none of ours, whoever made it. */
export function readSample(bytes: Uint8Array): Sample | undefined {
  if (bytes.length < HEADER) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER);
  const sentAt = Number(view.getBigUint64(16));
  if (
    view.getUint32(0) !== MAGIC || view.getUint32(12) !== bytes.length ||
    !Number.isSafeInteger(sentAt)
  ) return undefined;
  return {
    stream: view.getUint32(4),
    sequence: view.getUint32(8),
    sentAt,
    size: bytes.length,
  };
}

/** Reads a command line's address, or ends the program. */
export function readUdpAddr(text: string): UdpAddr {
  try {
    const addr = parseAddr(text, { transport: "udp" });
    if (addr.transport === "udp") return addr;
  } catch (error) {
    fail((error as Error).message);
  }
  fail(`${text} is no address of UDP; expected HOST:PORT`);
}

/**
 * Says when datagrams are due: each at its own place in a grid of time, however late those before were, so
 * that no error adds up. Who is late by more than a second, as after a sleep of the machine, leaves out
 * what is older.
 */
export class Pace {
  readonly #rate: number;
  readonly #start: number;
  /** How many places of the grid are over. */
  #passed = 0;
  /** How many of them were left out. */
  skipped = 0;

  /**
   * @param rate How many a second.
   * @param start When the first one is due, in milliseconds.
   */
  constructor(rate: number, start: number) {
    this.#rate = rate;
    this.#start = start;
  }

  /** How many are to be sent now: those that are due and were not told before. */
  due(now: number): number {
    const places = Math.floor((now - this.#start) * this.#rate / 1000) + 1;
    const due = Math.max(places - this.#passed, 0);
    this.#passed += due;
    this.skipped += Math.max(due - this.#rate, 0);
    return Math.min(due, this.#rate);
  }

  /** How many milliseconds there are until the next one is due. */
  wait(now: number): number {
    const next = this.#start + this.#passed / this.#rate * 1000;
    return Math.max(next - now, 0);
  }
}

/** What is counted, of a stream or of all of them. */
export interface Counts {
  /** Datagrams that came, each sequence number once. */
  received: number;
  /** Sequence numbers that are missing between others. */
  lost: number;
  /** Of those received, how many came behind a later one. */
  reordered: number;
  /** Datagrams that had come already. */
  duplicates: number;
  /** Datagrams whose number fits nowhere: too old to tell, or far from all others. */
  odd: number;
  /** How often the sender's numbers or its clock started elsewhere. */
  jumps: number;
  /** All datagrams, and their bytes. */
  arrived: number;
  bytes: number;
}

/** Counts of nothing. */
export function noCounts(): Counts {
  return {
    received: 0,
    lost: 0,
    reordered: 0,
    duplicates: 0,
    odd: 0,
    jumps: 0,
    arrived: 0,
    bytes: 0,
  };
}

function add(sum: Counts, counts: Counts): void {
  for (const key of Object.keys(sum) as (keyof Counts)[]) {
    sum[key] += counts[key];
  }
}

/** How far back single sequence numbers are known; a power of two. */
export const WINDOW = 4096;
/** The largest gap of which it is believed that all in it was lost; beyond, the sender started anew. */
export const MAX_GAP = 2 ** 20;
/** No network delays a datagram by more than this from one to the next, in microseconds: a clock was set. */
export const MAX_SHIFT = 60e6;

/**
 * One stream's statistics.
 *
 * For each of the last `WINDOW` sequence numbers it is known whether it has come: a missing one counts as
 * lost at once, and no longer when it comes late. A number farther away is odd, and nothing else changes,
 * unless the next datagram goes on from there (as in RFC 3550, A.1): then all between was lost, or the sender
 * has started anew.
 */
export class StreamCounter {
  readonly counts: Counts = noCounts();
  /** The last datagram's sender. */
  from: SocketAddr;
  /** When the last one came, in microseconds. */
  lastAt = 0;
  /** The interarrival jitter of RFC 3550, 6.4.1, in microseconds. */
  jitter = 0;
  #highest: number | undefined;
  /** How far the lowest number that is counted is below the highest. */
  #span = 0;
  readonly #seen = new Uint8Array(WINDOW);
  /** The odd number that came last, if nothing else did meanwhile. */
  #odd: number | undefined;
  /** By how much the monitor's clock was ahead of the sender's: only differences of it mean anything. */
  #transit: number | undefined;

  constructor(from: SocketAddr) {
    this.from = from;
  }

  /** Takes a datagram that came at a time, in microseconds of the monitor's own clock. */
  take({ sequence, sentAt, size }: Sample, from: SocketAddr, at: number): void {
    this.from = from;
    this.lastAt = at;
    this.counts.arrived++;
    this.counts.bytes += size;
    // A copy says nothing of when its original would have come.
    if (this.#place(sequence)) this.#measure(at - sentAt);
  }

  /** Finds a number's place; tells whether it is a new one. */
  #place(sequence: number): boolean {
    const { counts } = this;
    if (this.#highest === undefined) this.#start(sequence);
    const step = (sequence - this.#highest!) | 0;
    if (step > WINDOW || step <= -WINDOW) return this.#placeOdd(sequence);
    this.#odd = undefined;
    if (step > 0) {
      for (let i = 1; i < step; i++) {
        this.#seen[(this.#highest! + i) % WINDOW] = 0;
      }
      this.#advance(sequence, step);
    } else if (this.#seen[sequence % WINDOW] === 1) {
      counts.duplicates++;
      return false;
    } else if (this.#highest !== sequence) {
      counts.reordered++;
      // It fills a gap, or comes from below all others.
      const below = -step - this.#span;
      counts.lost += below > 0 ? below - 1 : -1;
      this.#span = Math.max(this.#span, -step);
    }
    this.#seen[sequence % WINDOW] = 1;
    counts.received++;
    return true;
  }

  #placeOdd(sequence: number): boolean {
    const { counts } = this;
    const before = this.#odd;
    if (before === undefined || sequence !== (before + 1) >>> 0) {
      this.#odd = sequence;
      counts.odd++;
      return false;
    }
    // The one before was the first of these.
    const gap = (before - this.#highest!) | 0;
    if (gap > 0 && gap <= MAX_GAP) {
      this.#seen.fill(0);
      this.#advance(before, gap);
    } else {
      counts.jumps++;
      this.#transit = undefined;
      this.#start(before);
    }
    this.#seen[before % WINDOW] = 1;
    counts.odd--;
    counts.received++;
    return this.#place(sequence);
  }

  /** Begins at a number, which has not been counted yet. */
  #start(sequence: number): void {
    this.#seen.fill(0);
    this.#highest = sequence;
    this.#span = 0;
  }

  #advance(sequence: number, step: number): void {
    this.#highest = sequence;
    this.#span += step;
    this.counts.lost += step - 1;
  }

  #measure(transit: number): void {
    const shift = Math.abs(transit - (this.#transit ?? transit));
    this.#transit = transit;
    if (shift > MAX_SHIFT) this.counts.jumps++;
    else this.jitter += (shift - this.jitter) / 16;
  }
}

/** How many streams are told apart. */
export const MAX_STREAMS = 64;
/** After which silence a stream may be forgotten, in microseconds. */
export const FORGET_AFTER = 30e6;

/** The statistics of all streams. What anybody may send makes them no larger. */
export class Monitor {
  readonly streams = new Map<number, StreamCounter>();
  /** Datagrams that are none of ours. */
  foreign = 0;
  /** Datagrams of streams for which there was no room. */
  ignored = 0;
  /** How many streams were forgotten; their counts stay in the total. */
  forgotten = 0;
  readonly #past = noCounts();

  /** Takes a datagram that came at a time, in microseconds; tells whether it was one of ours. */
  take(bytes: Uint8Array, from: SocketAddr, at: number): boolean {
    const sample = readSample(bytes);
    if (sample === undefined) {
      this.foreign++;
      return false;
    }
    let counter = this.streams.get(sample.stream);
    if (counter === undefined) {
      if (this.streams.size >= MAX_STREAMS && !this.#makeRoom(at)) {
        this.ignored++;
        return true;
      }
      counter = new StreamCounter(from);
      this.streams.set(sample.stream, counter);
    }
    counter.take(sample, from, at);
    return true;
  }

  /** Forgets the oldest stream of those that are silent or were heard only once, which costs nothing to fake. */
  #makeRoom(now: number): boolean {
    for (const [id, { counts, lastAt }] of this.streams) {
      if (counts.arrived === 1 || now - lastAt >= FORGET_AFTER) {
        this.#forget(id);
        return true;
      }
    }
    return false;
  }

  /** Forgets the streams that have been silent for long. */
  forgetSilent(now: number): void {
    for (const [id, { lastAt }] of this.streams) {
      if (now - lastAt >= FORGET_AFTER) this.#forget(id);
    }
  }

  #forget(id: number): void {
    add(this.#past, this.streams.get(id)!.counts);
    this.streams.delete(id);
    this.forgotten++;
  }

  /** The counts of all streams, and the largest jitter. */
  total(): Counts & { readonly jitter: number } {
    const sum = noCounts();
    add(sum, this.#past);
    let jitter = 0;
    for (const counter of this.streams.values()) {
      add(sum, counter.counts);
      jitter = Math.max(jitter, counter.jitter);
    }
    return { ...sum, jitter };
  }

  /** A line for each stream, for all together if there were several, and for what was none. */
  summary(): string[] {
    const lines = [...this.streams].map(([id, { counts, from, jitter }]) =>
      `${streamName(id)} from ${formatAddr(from)}: ${
        describe({ ...counts, jitter })
      }, odd ${counts.odd}, jumps ${counts.jumps}`
    );
    if (this.streams.size + this.forgotten > 1) {
      const total = this.total();
      lines.push(
        `all: ${describe(total)}, odd ${total.odd}, jumps ${total.jumps}`,
      );
    }
    lines.push(
      `foreign ${this.foreign}, ignored ${this.ignored}, forgotten ${this.forgotten}`,
    );
    return lines;
  }
}

/** A stream's number as it is printed. */
export function streamName(id: number): string {
  return `stream ${id.toString(16).padStart(8, "0")}`;
}

/** What is always printed. */
export function describe(counts: Counts & { readonly jitter: number }): string {
  const { received, lost, reordered, duplicates, jitter } = counts;
  const share = received === 0 ? 0 : lost / (received + lost) * 100;
  return `received ${received}, lost ${lost} (${
    share.toFixed(2)
  }%), reordered ${reordered}, duplicates ${duplicates}, jitter ${
    (jitter / 1000).toFixed(3)
  } ms`;
}
