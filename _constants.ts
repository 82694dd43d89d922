/** The numbers of the socket API, as the running system has them. */

/** The running system's number; -1 where it has no such option. */
function pick(linux: number, darwin: number, windows: number): number {
  const { os } = Deno.build;
  return os === "darwin" ? darwin : os === "windows" ? windows : linux;
}

/** An address of `AF_INET`: a host and a port. */
export type InetAddress = readonly [host: string, port: number];

/**
 * An address of `AF_INET6`: a host, a port, the flow label (0 here) and the index of the interface for
 * link-local hosts (0 for none). The last two may be left out.
 */
export type Inet6Address = readonly [
  host: string,
  port: number,
  flowinfo?: number,
  scopeid?: number,
];

/** An address of `AF_UNIX`: a path, or an abstract name behind a NUL; `""` for a socket without a name. */
export type UnixAddress = string;

/** An address of any family. */
export type Address = InetAddress | Inet6Address | UnixAddress;

/** A family's number, with the shape of its addresses for the compiler. */
export type Family<A extends Address = Address> = number & {
  /** Nothing at run time. */
  readonly __address?: A;
};

// Families: the domain of an address, socket(2)

/** IPv4, ip(7). Addresses are {@linkcode InetAddress}. */
export const AF_INET: Family<InetAddress> = 2;
/** IPv6, ipv6(7). Addresses are {@linkcode Inet6Address}. */
export const AF_INET6: Family<Inet6Address> = pick(10, 30, 23);
/** Sockets of this machine, unix(7). Addresses are {@linkcode UnixAddress}. */
export const AF_UNIX: Family<UnixAddress> = 1;
/** Sockets of this machine, by POSIX.1g's name; as {@linkcode AF_UNIX}. */
export const AF_LOCAL: Family<UnixAddress> = AF_UNIX;
/** No family, or any: for `getaddrinfo`. */
export const AF_UNSPEC = 0;

// Types, socket(2)
/** A stream of bytes: TCP, or a Unix stream socket. */
export const SOCK_STREAM: number = 1;
/** Datagrams: UDP, or a Unix datagram socket. */
export const SOCK_DGRAM: number = 2;
/** Packets below TCP and UDP (raw(7)). */
export const SOCK_RAW: number = 3;
/** Reliable datagrams without an order; no common family has them. */
export const SOCK_RDM: number = 4;
/** Messages in order over a connection (unix(7)). */
export const SOCK_SEQPACKET: number = 5;
/** Added to a type: the socket is non-blocking from the start; 0 where the system has no such flag. */
export const SOCK_NONBLOCK: number = pick(2048, 0, 0);
/** Added to a type: programs that are executed do not inherit it, which is so in any case; 0 where the system has no such flag. */
export const SOCK_CLOEXEC: number = pick(524288, 0, 0);

// Levels of options, getsockopt(2)
/** Options of every socket, socket(7). */
export const SOL_SOCKET: number = pick(1, 65535, 65535);
/** Options of IPv4, ip(7); as {@linkcode IPPROTO_IP}. */
export const SOL_IP: number = 0;
/** Options of TCP, tcp(7); as {@linkcode IPPROTO_TCP}. */
export const SOL_TCP: number = 6;
/** Options of UDP, udp(7); as {@linkcode IPPROTO_UDP}. */
export const SOL_UDP: number = 17;
/** Options of IPv6, ipv6(7); as {@linkcode IPPROTO_IPV6}. */
export const SOL_IPV6: number = 41;

// Protocols, and levels of their options (IANA's protocol numbers)
/** IPv4; as a protocol, the type's usual one. */
export const IPPROTO_IP: number = 0;
/** ICMP (RFC 792). */
export const IPPROTO_ICMP: number = 1;
/** IGMP (RFC 3376). */
export const IPPROTO_IGMP: number = 2;
/** TCP (RFC 9293). */
export const IPPROTO_TCP: number = 6;
/** UDP (RFC 768). */
export const IPPROTO_UDP: number = 17;
/** IPv6 (RFC 8200). */
export const IPPROTO_IPV6: number = 41;
/** ICMPv6 (RFC 4443). */
export const IPPROTO_ICMPV6: number = 58;
/** Raw packets with their own header (raw(7)). */
export const IPPROTO_RAW: number = 255;

// Options of every socket, socket(7)
/** Debugging, for the privileged. */
export const SO_DEBUG: number = 1;
/** An address may be bound again while old connections are still ending. */
export const SO_REUSEADDR: number = pick(2, 4, 4);
/** The socket's type; read only. */
export const SO_TYPE: number = pick(3, 4104, 4104);
/** The error that is pending, which reading takes away; read only. */
export const SO_ERROR: number = pick(4, 4103, 4103);
/** No gateways: directly connected hosts only. */
export const SO_DONTROUTE: number = pick(5, 16, 16);
/** Datagrams may be sent to broadcast addresses. */
export const SO_BROADCAST: number = pick(6, 32, 32);
/** The size of the send buffer in bytes. */
export const SO_SNDBUF: number = pick(7, 4097, 4097);
/** The size of the receive buffer in bytes. */
export const SO_RCVBUF: number = pick(8, 4098, 4098);
/** Probes are sent over an idle connection. */
export const SO_KEEPALIVE: number = pick(9, 8, 8);
/** Urgent data stay in the stream. */
export const SO_OOBINLINE: number = pick(10, 256, 256);
/** The priority of what is sent. */
export const SO_PRIORITY: number = pick(12, -1, -1);
/** What a close does with bytes that are not sent yet. */
export const SO_LINGER: number = pick(13, 128, 128);
/** Several sockets may be bound to one address and share what comes. */
export const SO_REUSEPORT: number = pick(15, 512, -1);
/** Credentials come with each Unix message. */
export const SO_PASSCRED: number = pick(16, -1, -1);
/** The credentials of a Unix peer; read only. */
export const SO_PEERCRED: number = pick(17, -1, -1);
/** How many bytes make a socket readable. */
export const SO_RCVLOWAT: number = pick(18, 4100, 4100);
/** How much room makes a socket writable. */
export const SO_SNDLOWAT: number = pick(19, 4099, 4099);
/** How long a receive waits; `settimeout` is what is wanted here. */
export const SO_RCVTIMEO: number = pick(20, 4102, 4102);
/** How long a send waits; `settimeout` is what is wanted here. */
export const SO_SNDTIMEO: number = pick(21, 4101, 4101);
/** The only interface that is used. */
export const SO_BINDTODEVICE: number = pick(25, -1, -1);
/** The time comes with each datagram. */
export const SO_TIMESTAMP: number = pick(29, 1024, -1);
/** The time comes with each datagram, in nanoseconds. */
export const SO_TIMESTAMPNS: number = pick(35, -1, -1);
/** Whether the socket listens; read only. */
export const SO_ACCEPTCONN: number = pick(30, 2, 2);
/** The mark of what is sent, for routing and filters. */
export const SO_MARK: number = pick(36, -1, -1);
/** The socket's protocol; read only. */
export const SO_PROTOCOL: number = pick(38, -1, -1);
/** The socket's family; read only. */
export const SO_DOMAIN: number = pick(39, -1, -1);
/** How long a receive polls the device, in microseconds. */
export const SO_BUSY_POLL: number = pick(46, -1, -1);
/** The processor that packets come in on. */
export const SO_INCOMING_CPU: number = pick(49, -1, -1);
/** The longest queue of connections that wait for their accept. */
export const SOMAXCONN: number = pick(4096, 128, 2147483647);

// Options of TCP, tcp(7)
/** Small segments are sent at once (Nagle's algorithm is off). */
export const TCP_NODELAY: number = 1;
/** The largest segment. */
export const TCP_MAXSEG: number = pick(2, 2, 4);
/** Only full segments are sent (TCP_NOPUSH on macOS). */
export const TCP_CORK: number = pick(3, 4, -1);
/** How long a connection is idle before the first probe, in seconds. */
export const TCP_KEEPIDLE: number = pick(4, 16, 3);
/** The pause between probes, in seconds. */
export const TCP_KEEPINTVL: number = pick(5, 257, 17);
/** How many probes stay unanswered before the connection is given up. */
export const TCP_KEEPCNT: number = pick(6, 258, 16);
/** How often a connect is tried. */
export const TCP_SYNCNT: number = pick(7, -1, -1);
/** How long an orphan waits in FIN-WAIT-2, in seconds. */
export const TCP_LINGER2: number = pick(8, -1, -1);
/** A connection is accepted when its first bytes have come. */
export const TCP_DEFER_ACCEPT: number = pick(9, -1, -1);
/** A bound of the advertised window. */
export const TCP_WINDOW_CLAMP: number = pick(10, -1, -1);
/** What the kernel knows of the connection; read only. */
export const TCP_INFO: number = pick(11, -1, -1);
/** Acknowledgements are not delayed. */
export const TCP_QUICKACK: number = pick(12, -1, -1);
/** The algorithm of congestion control, by name. */
export const TCP_CONGESTION: number = pick(13, -1, -1);
/** How long sent bytes may stay unacknowledged, in milliseconds. */
export const TCP_USER_TIMEOUT: number = pick(18, -1, -1);
/** Data in the first segment (RFC 7413). */
export const TCP_FASTOPEN: number = pick(23, 261, 15);

// Options of UDP, udp(7)
/** The size of the datagrams that one large send is cut into. */
export const UDP_SEGMENT: number = pick(103, -1, -1);
/** Several datagrams may come as one large one. */
export const UDP_GRO: number = pick(104, -1, -1);

// Options of IPv4, ip(7)
/** The type of service of what is sent. */
export const IP_TOS: number = pick(1, 3, 3);
/** The time to live of what is sent, in hops. */
export const IP_TTL: number = pick(2, 4, 4);
/** The program makes the header of raw packets. */
export const IP_HDRINCL: number = pick(3, 2, 2);
/** Header options of what is sent. */
export const IP_OPTIONS: number = pick(4, 1, 1);
/** Destination and interface come with each datagram. */
export const IP_PKTINFO: number = pick(8, 26, 19);
/** Whether the path's largest packet is found out. */
export const IP_MTU_DISCOVER: number = pick(10, -1, 71);
/** Errors on the way come to a queue of their own. */
export const IP_RECVERR: number = pick(11, -1, 75);
/** The time to live comes with each datagram. */
export const IP_RECVTTL: number = pick(12, 24, 21);
/** The type of service comes with each datagram. */
export const IP_RECVTOS: number = pick(13, 27, 40);
/** The path's largest packet, for a connected socket; read only. */
export const IP_MTU: number = pick(14, -1, 73);
/** An address that is not there yet may be bound. */
export const IP_FREEBIND: number = pick(15, -1, -1);
/** Addresses of others may be bound, for proxies. */
export const IP_TRANSPARENT: number = pick(19, -1, -1);
/** The port is chosen at the connect, not at the bind. */
export const IP_BIND_ADDRESS_NO_PORT: number = pick(24, -1, -1);
/** The interface that multicast is sent on. */
export const IP_MULTICAST_IF: number = pick(32, 9, 9);
/** The time to live of multicast, in hops. */
export const IP_MULTICAST_TTL: number = pick(33, 10, 10);
/** Whether this machine gets the multicast that it sends. */
export const IP_MULTICAST_LOOP: number = pick(34, 11, 11);
/** Joins a group. */
export const IP_ADD_MEMBERSHIP: number = pick(35, 12, 12);
/** Leaves a group. */
export const IP_DROP_MEMBERSHIP: number = pick(36, 13, 13);
/** Hears a source of a group again (RFC 3678). */
export const IP_UNBLOCK_SOURCE: number = pick(37, 73, 18);
/** Hears a source of a group no more (RFC 3678). */
export const IP_BLOCK_SOURCE: number = pick(38, 72, 17);
/** Joins a group for one source (RFC 3678). */
export const IP_ADD_SOURCE_MEMBERSHIP: number = pick(39, 70, 15);
/** Leaves a group for one source (RFC 3678). */
export const IP_DROP_SOURCE_MEMBERSHIP: number = pick(40, 71, 16);

// Options of IPv6, ipv6(7)
/** The hop limit of what is sent. */
export const IPV6_UNICAST_HOPS: number = pick(16, 4, 4);
/** The index of the interface that multicast is sent on. */
export const IPV6_MULTICAST_IF: number = pick(17, 9, 9);
/** The hop limit of multicast. */
export const IPV6_MULTICAST_HOPS: number = pick(18, 10, 10);
/** Whether this machine gets the multicast that it sends. */
export const IPV6_MULTICAST_LOOP: number = pick(19, 11, 11);
/** Joins a group. */
export const IPV6_JOIN_GROUP: number = pick(20, 12, 12);
/** Leaves a group. */
export const IPV6_LEAVE_GROUP: number = pick(21, 13, 13);
/** Joins a group, by its older name; as {@linkcode IPV6_JOIN_GROUP}. */
export const IPV6_ADD_MEMBERSHIP: number = IPV6_JOIN_GROUP;
/** Leaves a group, by its older name; as {@linkcode IPV6_LEAVE_GROUP}. */
export const IPV6_DROP_MEMBERSHIP: number = IPV6_LEAVE_GROUP;
/** Errors on the way come to a queue of their own. */
export const IPV6_RECVERR: number = pick(25, -1, 75);
/** IPv6 only: no IPv4-mapped addresses. */
export const IPV6_V6ONLY: number = pick(26, 27, 27);
/** Destination and interface come with each datagram. */
export const IPV6_RECVPKTINFO: number = pick(49, 61, 19);
/** The destination and interface of a datagram. */
export const IPV6_PKTINFO: number = pick(50, 46, 19);
/** The hop limit comes with each datagram. */
export const IPV6_RECVHOPLIMIT: number = pick(51, 37, 21);
/** The hop limit of a datagram. */
export const IPV6_HOPLIMIT: number = pick(52, 47, 21);
/** The traffic class comes with each datagram. */
export const IPV6_RECVTCLASS: number = pick(66, 35, 40);
/** The traffic class of what is sent. */
export const IPV6_TCLASS: number = pick(67, 36, 39);

// What shutdown(2) shuts
/** The receiving half. */
export const SHUT_RD: number = 0;
/** The sending half: the peer sees the end of the stream. */
export const SHUT_WR: number = 1;
/** Both halves. */
export const SHUT_RDWR: number = 2;

// Flags of send(2) and recv(2); 0 where the system has no such flag
/** Urgent data. */
export const MSG_OOB: number = 1;
/** What is received stays for the next call. */
export const MSG_PEEK: number = 2;
/** No gateways. */
export const MSG_DONTROUTE: number = 4;
/** Control messages were cut off. */
export const MSG_CTRUNC: number = pick(8, 32, 512);
/** The datagram was cut off. */
export const MSG_TRUNC: number = pick(32, 16, 256);
/** This call does not wait. */
export const MSG_DONTWAIT: number = pick(64, 128, 64);
/** The end of a record. */
export const MSG_EOR: number = pick(128, 8, 0);
/** Waits until all that was asked for is there. */
export const MSG_WAITALL: number = pick(256, 64, 8);
/** From the queue of errors. */
export const MSG_ERRQUEUE: number = pick(8192, 0, 0);
/** No SIGPIPE, which is so in any case. */
export const MSG_NOSIGNAL: number = pick(16384, 524288, 0);
/** More follows. */
export const MSG_MORE: number = pick(32768, 0, 0);
/** Received descriptors are not inherited. */
export const MSG_CMSG_CLOEXEC: number = pick(1073741824, 0, 0);

// Types of control messages at SOL_SOCKET, unix(7)
/** Descriptors that are passed on. */
export const SCM_RIGHTS: number = pick(1, 1, -1);
/** The sender's process, user and group. */
export const SCM_CREDENTIALS: number = pick(2, -1, -1);

// Addresses of IPv4 as numbers, in the host's order (ip(7))
/** 0.0.0.0: any address of this machine. */
export const INADDR_ANY: number = 0;
/** 127.0.0.1. */
export const INADDR_LOOPBACK: number = 0x7f000001;
/** 255.255.255.255. */
export const INADDR_BROADCAST: number = 0xffffffff;
/** No address: what `inet_addr` gives for a text that is none. */
export const INADDR_NONE: number = 0xffffffff;
/** 224.0.0.0. */
export const INADDR_UNSPEC_GROUP: number = 0xe0000000;
/** 224.0.0.1: all hosts on the link. */
export const INADDR_ALLHOSTS_GROUP: number = 0xe0000001;
/** 224.0.0.255: the last group of the link. */
export const INADDR_MAX_LOCAL_GROUP: number = 0xe00000ff;

// Lengths of addresses as text with the NUL behind it, inet_ntop(3)
/** The longest address of IPv4. */
export const INET_ADDRSTRLEN: number = pick(16, 16, 22);
/** The longest address of IPv6. */
export const INET6_ADDRSTRLEN: number = pick(46, 46, 65);

// Bounds of ports
/** Ports below it are for the privileged. */
export const IPPORT_RESERVED: number = 1024;
/** Ports from here on were for servers of the users, once. */
export const IPPORT_USERRESERVED: number = 5000;

// Flags of getaddrinfo(3)
/** Addresses to bind: without a host, the wildcard. */
export const AI_PASSIVE: number = 1;
/** The canonical name is wanted. */
export const AI_CANONNAME: number = 2;
/** The host is a literal: nothing is looked up. */
export const AI_NUMERICHOST: number = 4;
/** IPv4 addresses as IPv6 ones, where there are no others. */
export const AI_V4MAPPED: number = pick(8, 2048, 2048);
/** With {@linkcode AI_V4MAPPED}: both. */
export const AI_ALL: number = pick(16, 256, 256);
/** Only families that this machine has an address of. */
export const AI_ADDRCONFIG: number = pick(32, 1024, 1024);
/** The service is a number. */
export const AI_NUMERICSERV: number = pick(1024, 4096, 8);

// Flags of getnameinfo(3)
/** The host is wanted as a literal: nothing is looked up. */
export const NI_NUMERICHOST: number = pick(1, 2, 2);
/** The service is wanted as a number. */
export const NI_NUMERICSERV: number = pick(2, 8, 8);
/** Hosts of the own domain without the domain. */
export const NI_NOFQDN: number = pick(4, 1, 1);
/** A host without a name is an error. */
export const NI_NAMEREQD: number = pick(8, 4, 4);
/** The service is one over UDP. */
export const NI_DGRAM: number = 16;
/** Room for the longest host with its NUL, in C. */
export const NI_MAXHOST: number = 1025;
/** Room for the longest service with its NUL, in C. */
export const NI_MAXSERV: number = 32;

// Errors of getaddrinfo(3) and getnameinfo(3); errors thrown here have the name as `code`
/** Flags that do not exist, or not together. */
export const EAI_BADFLAGS: number = pick(-1, 3, 10022);
/** No such host or service. */
export const EAI_NONAME: number = pick(-2, 8, 11001);
/** The resolver has no answer now. */
export const EAI_AGAIN: number = pick(-3, 2, 11002);
/** The resolver has failed for good. */
export const EAI_FAIL: number = pick(-4, 4, 11003);
/** The host has no address. */
export const EAI_NODATA: number = pick(-5, 7, 11001);
/** A family without hosts. */
export const EAI_FAMILY: number = pick(-6, 5, 10047);
/** A type of sockets without services, or one that does not go with the protocol. */
export const EAI_SOCKTYPE: number = pick(-7, 10, 10044);
/** No such service for the type. */
export const EAI_SERVICE: number = pick(-8, 9, 10109);
/** A literal of another family. */
export const EAI_ADDRFAMILY: number = pick(-9, 1, -1);
/** Out of memory. */
export const EAI_MEMORY: number = pick(-10, 6, 8);
/** `errno` says what has failed. */
export const EAI_SYSTEM: number = pick(-11, 11, -1);
/** Too little room for the answer. */
export const EAI_OVERFLOW: number = pick(-12, 14, -1);
