/** The DNS client against dnsmasq: over UDP, over TCP, and from the one to the other. */

import { assert, assertEquals } from "@std/assert";
import { decodeMessage, encodeQuery } from "../../examples/_dns.ts";
import { connectTcp } from "../../tcp.ts";
import { connectUdp } from "../../udp.ts";
import { canListen } from "../_pairs.ts";
import type { Ended } from "../_process.ts";
import { assertOneLine, linesOf, runProgram } from "../_programs.ts";
import { type Service, startService } from "./_peers.ts";

const hostname = "127.0.0.1";

/** More addresses than 512 bytes have room for. */
const MANY = Array.from({ length: 100 }, (_, i) => `192.0.2.${i + 1}`);

const RECORDS = [
  "--host-record=host.test,192.0.2.1,2001:db8::1,60",
  "--host-record=six.test,2001:db8:0:0:1::1,60",
  "--host-record=four.test,192.0.2.4,60",
  "--cname=www.test,host.test,300",
  "--cname=a.test,b.test,300",
  "--cname=b.test,www.test,300",
  "--txt-record=text.test,hello world,v=1",
  "--mx-host=test,mail.test,10",
  "--srv-host=_http._tcp.test,host.test,8080,1,2",
  "--ptr-record=9.2.0.192.in-addr.arpa,nine.test",
  ...MANY.map((address) => `--host-record=many.test,${address},60`),
  `--txt-record=long.test,${
    Array.from({ length: 8 }, (_, i) => String(i).repeat(200)).join()
  }`,
];

const startDnsmasq = (at = hostname): Promise<Service> =>
  startService(
    "dnsmasq",
    (port, folder) => [
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      `--pid-file=${folder}/pid`,
      "--no-resolv",
      "--no-hosts",
      `--port=${port}`,
      `--listen-address=${at}`,
      "--bind-interfaces",
      "--user=root",
      "--local=/test/",
      ...RECORDS,
    ],
    async (port) => (await connectTcp({ hostname: at, port })).close(),
  );

/** A question may take as long as a busy machine needs. */
const ask = (
  { port }: Service,
  ...args: string[]
): Promise<Ended> =>
  runProgram(
    "dns_query",
    "--server",
    `${hostname}:${port}`,
    "--timeout",
    "30000",
    ...args,
  );

for (const flags of [[], ["--tcp"]]) {
  Deno.test(`dnsmasq tells every type of record, ${flags[0] ?? "over UDP"}`, async () => {
    await using service = await startDnsmasq();
    for (
      const [args, lines] of [
        [["host.test"], [
          "host.test. 60 IN A 192.0.2.1",
          "host.test. 60 IN AAAA 2001:db8::1",
        ]],
        [["HOST.TEST.", "aaaa"], ["HOST.TEST. 60 IN AAAA 2001:db8::1"]],
        [["four.test"], [
          "four.test. 60 IN A 192.0.2.4",
          "four.test has no AAAA record",
        ]],
        [["six.test"], [
          "six.test has no A record",
          "six.test. 60 IN AAAA 2001:db8::1:0:0:1",
        ]],
        [["www.test", "CNAME"], ["www.test. 300 IN CNAME host.test."]],
        [["a.test"], [
          "a.test. 300 IN CNAME b.test.",
          "b.test. 300 IN CNAME www.test.",
          "www.test. 300 IN CNAME host.test.",
          "host.test. 60 IN A 192.0.2.1",
          "host.test. 60 IN AAAA 2001:db8::1",
        ]],
        [["text.test", "TXT"], ['text.test. 0 IN TXT "hello world" "v=1"']],
        [["test", "MX"], ["test. 0 IN MX 10 mail.test."]],
        [["_http._tcp.test", "SRV"], [
          "_http._tcp.test. 0 IN SRV 1 2 8080 host.test.",
        ]],
        [["192.0.2.9"], ["9.2.0.192.in-addr.arpa. 0 IN PTR nine.test."]],
        [["2001:db8::1"], [
          `1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR host.test.`,
        ]],
      ] as const
    ) assertEquals(linesOf(await ask(service, ...flags, ...args)), [...lines]);
  });

  Deno.test(`dnsmasq says what it does not have, ${flags[0] ?? "over UDP"}`, async () => {
    await using service = await startDnsmasq();
    const server = `127\\.0\\.0\\.1:${service.port}`;
    assertOneLine(
      await ask(service, ...flags, "no.test"),
      new RegExp(
        `^error: no\\.test A: ${server} says NXDOMAIN: there is no such name$`,
        "m",
      ),
    );
    // It knows nobody whom it could ask.
    assertOneLine(
      await ask(service, ...flags, "host.example", "MX"),
      new RegExp(`^error: host\\.example MX: ${server} says REFUSED: `, "m"),
    );
    const { code, stdout, stderr } = await ask(
      service,
      ...flags,
      "host.test",
      "MX",
      "SRV",
    );
    assertEquals({ code, stdout, stderr }, {
      code: 1,
      stdout: "host.test has no MX record\nhost.test has no SRV record\n",
      stderr: "",
    });
  });
}

Deno.test("what does not fit into a datagram of dnsmasq comes over TCP", async () => {
  await using service = await startDnsmasq();
  await using socket = await connectUdp({ hostname, port: service.port });
  for (const [name, type] of [["many.test", 1], ["long.test", 16]] as const) {
    await socket.send(encodeQuery(7, name, type));
    const { data } = await socket.receive();
    assert(decodeMessage(data).isTruncated);
  }
  // dnsmasq turns the order of addresses round from answer to answer.
  assertEquals(
    linesOf(await ask(service, "many.test", "A")).sort(),
    MANY.map((address) => `many.test. 60 IN A ${address}`).sort(),
  );
  assertEquals(linesOf(await ask(service, "long.test", "TXT")), [
    `long.test. 0 IN TXT ${
      Array.from({ length: 8 }, (_, i) => `"${String(i).repeat(200)}"`).join(
        " ",
      )
    }`,
  ]);
});

Deno.test({
  name: "dnsmasq is asked over IPv6",
  ignore: !canListen("::1"),
  async fn() {
    await using service = await startDnsmasq("::1");
    for (const flags of [[], ["--tcp"]]) {
      const server = ["--server", `[::1]:${service.port}`];
      assertEquals(
        linesOf(
          await runProgram(
            "dns_query",
            ...server,
            "--timeout",
            "30000",
            ...flags,
            "four.test",
            "A",
          ),
        ),
        ["four.test. 60 IN A 192.0.2.4"],
      );
    }
  },
});
