/** Programs in a network of their own: two interfaces, joined by a cable. */

import { assert } from "@std/assert";
import { text } from "./_bytes.ts";
import { type Ended, runDenoUnder } from "./_process.ts";

/** Whether a program may have a network of its own, and see it in its files. */
export async function canUnshare(): Promise<boolean> {
  const { code, stderr } = await new Deno.Command("unshare", {
    args: ["--net", "--mount", "mount", "-t", "sysfs", "sysfs", "/sys"],
  }).output();
  if (code === 0) return true;
  assert(/not permitted|denied/.test(text(stderr)), text(stderr));
  return false;
}

/**
 * A cable between the interfaces v0 and v1: the loopback interface gives everything back whatever the
 * sender says, and over IPv6 it takes nothing for groups. Their addresses are ours at once, with no
 * check for others.
 */
const CABLE = `
mount -t sysfs sysfs /sys
ip link set lo up
ip link add v0 type veth peer name v1
for i in v0 v1; do
  echo 0 > /proc/sys/net/ipv6/conf/$i/accept_dad
  ip link set $i addrgenmode none
  ip link set $i up
done
ip addr add 10.9.0.1/24 dev v0
ip addr add fe80::a/64 dev v0 nodad
ip addr add fe80::b/64 dev v1 nodad
`;

/** Runs a Deno program to its end, with the cable; `sockets` is the package. */
export function runOnCable(body: string): Promise<Ended> {
  return runDenoUnder(
    // The program's command line goes into the new network, behind the cable.
    `set -- unshare --net --mount sh -ec '${CABLE} exec "$@"' sh "$@"`,
    ["-A"],
    body,
  );
}
