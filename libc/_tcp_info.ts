/** What the kernel knows of a TCP connection: `struct tcp_info` of linux/tcp.h, the same on all architectures. Pure. */

/** States of a connection (RFC 9293, 3.3.2), by their numbers in the kernel. */
const STATES = [
  "",
  "ESTABLISHED",
  "SYN-SENT",
  "SYN-RECEIVED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "TIME-WAIT",
  "CLOSED",
  "CLOSE-WAIT",
  "LAST-ACK",
  "LISTEN",
  "CLOSING",
  "NEW-SYN-RECEIVED",
];

/** A connection as the kernel sees it, tcp(7). Times are in milliseconds, windows in segments. */
export interface TcpInfo {
  /** Its state, such as `"ESTABLISHED"`. */
  readonly state: string;
  /** Segments in a row that were sent again without an answer. */
  readonly retransmits: number;
  /** How long a segment waits for its acknowledgement. */
  readonly rto: number;
  /** The smoothed round trip time. */
  readonly rtt: number;
  /** How much that varies. */
  readonly rttVariance: number;
  /** The shortest round trip so far; `undefined` if the kernel does not tell. */
  readonly minRtt: number | undefined;
  /** The largest segment that is sent, in bytes. */
  readonly sendMss: number;
  /** The largest segment that is received, in bytes. */
  readonly receiveMss: number;
  /** The congestion window. */
  readonly congestionWindow: number;
  /** Where slow start ends. */
  readonly slowStartThreshold: number;
  /** Segments that are on their way. */
  readonly unacked: number;
  /** Segments that are taken for lost. */
  readonly lost: number;
  /** Segments that were sent again, over all. */
  readonly totalRetransmits: number;
  /** How long ago data were sent. */
  readonly lastDataSent: number;
  /** How long ago data were received. */
  readonly lastDataReceived: number;
  /** The path's largest packet in bytes. */
  readonly pathMtu: number;
  /** Bytes that were acknowledged; `undefined` if the kernel does not tell. */
  readonly bytesAcked: number | undefined;
  /** Bytes that were received; `undefined` if the kernel does not tell. */
  readonly bytesReceived: number | undefined;
  /** Bytes a second at which data arrive; `undefined` if the kernel does not tell. */
  readonly deliveryRate: number | undefined;
}

/** How many bytes are asked for: a kernel that knows fewer gives fewer. */
export const TCP_INFO_SIZE = 256;

/** Reads `struct tcp_info`. */
export function readTcpInfo(bytes: Uint8Array): TcpInfo {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const u32 = (at: number): number =>
    at + 4 <= bytes.length ? view.getUint32(at, true) : 0;
  const later = (at: number, size: 4 | 8): number | undefined =>
    at + size > bytes.length
      ? undefined
      : size === 4
      ? view.getUint32(at, true)
      : Number(view.getBigUint64(at, true));
  const minRtt = later(148, 4);
  return {
    state: STATES[bytes[0] ?? 0] ?? String(bytes[0]),
    retransmits: bytes[2] ?? 0,
    rto: u32(8) / 1000,
    sendMss: u32(16),
    receiveMss: u32(20),
    unacked: u32(24),
    lost: u32(32),
    lastDataSent: u32(44),
    lastDataReceived: u32(52),
    pathMtu: u32(60),
    rtt: u32(68) / 1000,
    rttVariance: u32(72) / 1000,
    slowStartThreshold: u32(76),
    congestionWindow: u32(80),
    totalRetransmits: u32(100),
    bytesAcked: later(120, 8),
    bytesReceived: later(128, 8),
    minRtt: minRtt === undefined ? undefined : minRtt / 1000,
    deliveryRate: later(160, 8),
  };
}
