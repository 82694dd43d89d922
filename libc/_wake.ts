/**
 * How the program learns that the kernel has something for it while it waits: two ways behind one face.
 *
 * The first looks twice in turns of the event loop, and then leaves the wait to a thread of the runtime's
 * pool. It uses documented calls only. The second has the kernel write to an eventfd that the event loop
 * itself watches: no thread, and a shorter way, by a part of the runtime that is not documented.
 */

import { IO_EVENT, IOCB, layoutOf } from "./_layout.ts";
import { aio, calls, memory, wake } from "./_symbols.ts";
import { checked } from "./_errno.ts";

/** Whether anybody waits, and whether that keeps the program alive. */
export type Need = "nothing" | "events" | "life";

/** A way to be woken. */
export interface WakeSource {
  readonly kind: "thread" | "eventfd";
  /** What is needed from now on. */
  need(need: Need): void;
}

/** The set of descriptors that are waited for. */
export interface EventSet {
  /** The descriptor of the epoll set. */
  readonly descriptor: number;
  readonly eventSize: number;
  /** Takes what has happened, without a wait; how many events there were. */
  drain(): number;
  /** Hands on what has been taken elsewhere. */
  dispatch(events: DataView, count: number): void;
}

const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

/** EFD_NONBLOCK and EFD_CLOEXEC. */
const EFD_FLAGS = 0x80800;

/** How often events are looked for in turns of the event loop, before a thread waits for them. */
const LOOKS = 2;
/** How many events the thread brings at most. */
const BROUGHT = 64;
/** How often events are looked for where nothing keeps the program alive, in milliseconds. */
const FIRST_PAUSE = 1;
const LAST_PAUSE = 16;

const turn = (): Promise<void> =>
  new Promise((resolve) => setImmediate(resolve));

/** Looks, and lets a thread wait. */
export class ThreadWake implements WakeSource {
  readonly kind = "thread";
  readonly #set: EventSet;
  readonly #events: DataView<ArrayBuffer>;
  readonly #bell: number;
  readonly #one = new Uint8Array(new BigUint64Array([1n]).buffer);
  readonly #heard = new Uint8Array(8);
  #need: Need = "nothing";
  #isRunning = false;
  /** Whether a thread waits. */
  #isAside = false;
  /** Ends the pause between two looks. */
  #endPause: (() => void) | undefined;

  constructor(set: EventSet) {
    this.#set = set;
    this.#events = new DataView(new ArrayBuffer(BROUGHT * set.eventSize));
    // A bell that ends the thread's wait: nobody is registered under its number. It rings until it is
    // heard, so that nobody who looks meanwhile can take it away.
    this.#bell = checked(wake().eventfd(0, EFD_FLAGS), "eventfd");
    const event = new DataView(new ArrayBuffer(16));
    event.setUint32(0, EPOLLIN, true);
    const data = set.eventSize === 12 ? 4 : 8;
    event.setUint32(data, this.#bell, true);
    checked(
      calls().epoll_ctl(
        set.descriptor,
        EPOLL_CTL_ADD,
        this.#bell,
        new Uint8Array(event.buffer),
      ),
      "epoll_ctl",
    );
  }

  need(need: Need): void {
    if (need === this.#need) return;
    this.#need = need;
    this.#endPause?.();
    if (this.#isAside) {
      // What it waits for is not needed any more, or no reason to stay.
      if (need !== "life") this.#ring();
    } else if (!this.#isRunning && need !== "nothing") this.#run();
  }

  #ring(): void {
    wake().write(this.#bell, this.#one, 8);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    let pause = FIRST_PAUSE;
    while (this.#need !== "nothing") {
      if (await this.#look()) {
        pause = FIRST_PAUSE;
      } else if (this.#need === "life") {
        await this.#waitAside();
      } else if (this.#need === "events") {
        await this.#pause(pause);
        pause = Math.min(pause * 2, LAST_PAUSE);
      }
    }
    this.#isRunning = false;
  }

  /** Looks for events in the next turns; whether there were any. */
  async #look(): Promise<boolean> {
    for (let i = 0; i < LOOKS; i++) {
      await turn();
      if (this.#need === "nothing") return true;
      if (this.#set.drain() > 0) return true;
    }
    return false;
  }

  async #waitAside(): Promise<void> {
    this.#isAside = true;
    const { descriptor } = this.#set;
    const bytes = new Uint8Array(this.#events.buffer);
    const count = await wake().waitAside(descriptor, bytes, BROUGHT, -1);
    this.#isAside = false;
    wake().read(this.#bell, this.#heard, 8);
    // A signal can end it with nothing.
    if (count > 0) this.#set.dispatch(this.#events, count);
  }

  /** A pause in which nothing keeps the program alive. */
  async #pause(ms: number): Promise<void> {
    let id: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.#endPause = resolve;
      id = setTimeout(resolve, ms);
      Deno.unrefTimer(id as unknown as number);
    });
    clearTimeout(id);
    this.#endPause = undefined;
  }
}

/** What the runtime has for descriptors of pipes; it takes any that can be read. */
interface Pipe {
  open(descriptor: number): number;
  readStart(): number;
  useUserBuffer(buffer: Uint8Array): void;
  onread: (count: number) => void;
  ref(): void;
  unref(): void;
  close(): void;
}

/** IOCB_CMD_POLL, and the flag that says where its end is written. */
const POLL_COMMAND = 5;
const TELL_EVENTFD = 1;

/** How many answers of the kernel's are taken at a time: there is one request. */
const ANSWERS = 4;

/** Has the kernel write to an eventfd, which the event loop reads. */
export class EventfdWake implements WakeSource {
  readonly kind = "eventfd";
  readonly #set: EventSet;
  readonly #pipe: Pipe;
  readonly #context: bigint;
  /** What the kernel is told: it lives as long as this does. */
  readonly #request = new DataView(new ArrayBuffer(IOCB.size));
  readonly #requests = new BigUint64Array(1);
  readonly #answers = new Uint8Array(ANSWERS * IO_EVENT.size);
  /** Whether the kernel has been told and has not answered. */
  #isAsked = false;
  #need: Need = "nothing";

  /** @throws {Error} Where the runtime or the kernel lacks a part of it. */
  constructor(set: EventSet) {
    this.#set = set;
    const { process } = globalThis as unknown as {
      process: { binding(name: string): { Pipe: new (kind: number) => Pipe } };
    };
    const { Pipe } = process.binding("pipe_wrap");
    const bell = checked(wake().eventfd(0, EFD_FLAGS), "eventfd");
    const request = this.#request;
    request.setUint16(IOCB.opcode, POLL_COMMAND, true);
    request.setUint32(IOCB.descriptor, set.descriptor, true);
    request.setBigUint64(IOCB.buffer, BigInt(EPOLLIN), true);
    request.setUint32(IOCB.flags, TELL_EVENTFD, true);
    request.setUint32(IOCB.result, bell, true);
    const bytes = new Uint8Array(request.buffer);
    this.#requests[0] = memory().addressOf(bytes, null, 0);
    const context = new BigUint64Array(1);
    const { io_setup } = layoutOf(Deno.build.arch)!.calls;
    if (
      Number(
        aio().io_setup(
          BigInt(io_setup),
          BigInt(ANSWERS),
          new Uint8Array(context.buffer),
        ),
      ) !== 0
    ) {
      calls().close(bell);
      throw new Error("the kernel has no asynchronous calls");
    }
    this.#context = context[0]!;
    this.#pipe = new Pipe(0);
    this.#pipe.open(bell);
    this.#pipe.useUserBuffer(new Uint8Array(8));
    this.#pipe.onread = () => this.#onAnswer();
    this.#pipe.readStart();
    this.#pipe.unref();
  }

  need(need: Need): void {
    if (need === this.#need) return;
    this.#need = need;
    if (need === "life") this.#pipe.ref();
    else this.#pipe.unref();
    this.#ask();
  }

  #ask(): void {
    if (this.#isAsked || this.#need === "nothing") return;
    this.#isAsked = true;
    const { io_submit } = layoutOf(Deno.build.arch)!.calls;
    const submitted = aio().io_submit(
      BigInt(io_submit),
      this.#context,
      1n,
      new Uint8Array(this.#requests.buffer),
    );
    if (Number(submitted) !== 1) this.#isAsked = false;
  }

  #onAnswer(): void {
    this.#isAsked = false;
    // What is not taken away would fill the kernel's list.
    aio().io_getevents(
      BigInt(layoutOf(Deno.build.arch)!.calls.io_getevents),
      this.#context,
      0n,
      BigInt(ANSWERS),
      this.#answers,
      null,
    );
    this.#set.drain();
    this.#ask();
  }
}
