/**
 * Keeps the order of rooms: each imports only from rooms to the left of it, and rooms in one brace
 * never import each other. `CONTRIBUTING.md` tells what lives where.
 */

/** The order, from left to right. Rooms of one inner list stand side by side. */
export const ORDER: readonly (readonly string[])[] = [
  ["_errno_table"],
  ["errors"],
  ["types"],
  ["_check"],
  ["_host", "_unix_path"],
  ["_addr_list"],
  ["addr"],
  ["_wait"],
  ["_buffers", "_readiness"],
  ["_abortable_reads"],
  ["_chunks"],
  ["io"],
  ["_read_side", "_write_side"],
  ["_stream"],
  ["_tcp_conn", "_unix_conn"],
  ["pair"],
  ["_frame_format", "_read_buffer"],
  ["_frame_cutter", "_line_cutter"],
  ["framing"],
  ["_open"],
  ["_socket_file"],
  ["_dual_stack", "_listener"],
  ["_operation"],
  ["_datagram"],
  ["_destinations", "_multicast", "_unix_datagram"],
  ["_node_udp"],
  ["_udp_options", "_unix_datagram_conn"],
  ["_udp_socket"],
  ["tcp", "udp", "unix", "tls"],
  ["_server"],
  ["serve"],
  ["_constants", "_socket_error"],
  ["_inet", "_services"],
  ["_driver", "_makefile", "_netdb", "_sockaddr"],
  ["_deno_options", "_waiting"],
  ["_deno_opening"],
  ["_deno_datagram", "_deno_stream"],
  ["_deno_driver"],
  ["_face"],
  ["_making"],
  ["socket"],
  ["select"],
  ["libc/"],
  ["mod"],
  ["cli"],
];

/** Folders whose files may import everything: they are not published. */
const OUTSIDE = /^(bench|examples|std|tests|tools)\//;

/** The place of a file in the order: a room at the root, or a folder's with its slash. */
function placeOf(path: string): number | undefined {
  const room = path.includes("/")
    ? path.slice(0, path.indexOf("/") + 1)
    : path.replace(/\.ts$/, "");
  const at = ORDER.findIndex((rooms) => rooms.includes(room));
  if (at >= 0) return at;
  // The rooms behind cli.ts are part of it.
  return room === "cli/" ? ORDER.length - 1 : undefined;
}

/** A path below `folder`, or `undefined` if it lies elsewhere. */
function below(folder: string, path: string): string | undefined {
  return path.startsWith(folder) ? path.slice(folder.length) : undefined;
}

/**
 * What is wrong with an import, or `undefined`.
 *
 * @param from The importing file, relative to the project's root.
 * @param specifier What it imports.
 */
export function complaint(from: string, specifier: string): string | undefined {
  if (OUTSIDE.test(from)) return undefined;
  const place = placeOf(from);
  if (place === undefined) {
    return `${from} has no place in the order of rooms; give it one in tools/rooms_plugin.ts`;
  }
  if (!specifier.startsWith(".")) {
    if (specifier.startsWith("node:")) return undefined;
    // The command line program is the one part that may use packages.
    return from.startsWith("cli")
      ? undefined
      : `${from} imports ${specifier}: the library's rooms import no package`;
  }
  const to = new URL(specifier, `file:///${from}`).pathname.slice(1);
  const folder = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);
  if (folder(from) === folder(to) && folder(to) !== "") return undefined;
  const other = placeOf(to);
  if (other === undefined) return `${from} imports ${to}, which is no room`;
  const name = to.slice(to.lastIndexOf("/") + 1);
  // The library's own folder is one room of the root.
  const home = (path: string) => folder(path).replace(/^libc\/$/, "");
  if (
    name.startsWith("_") && folder(from) !== folder(to) &&
    home(from) !== folder(to)
  ) {
    return `${from} imports ${to}, which is private to its folder`;
  }
  // cli.ts and its folder are one room.
  const isCli = from.startsWith("cli") && to.startsWith("cli/");
  return other < place || isCli
    ? undefined
    : `${from} imports ${to}, which does not stand to the left of it`;
}

/** The folder of the project: this file lies in `tools/`. */
const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);

const plugin: Deno.lint.Plugin = {
  name: "rooms",
  rules: {
    "order": {
      create(context) {
        const path = context.filename.replaceAll("\\", "/");
        const from = below(ROOT, path) ?? below(ROOT.slice(1), path);
        const check = (
          node: Deno.lint.Node,
          source: Deno.lint.Node | null | undefined,
        ) => {
          if (from === undefined || source?.type !== "Literal") return;
          const message = complaint(from, String(source.value));
          if (message !== undefined) context.report({ node, message });
        };
        return {
          ImportDeclaration: (node) => check(node, node.source),
          ExportAllDeclaration: (node) => check(node, node.source),
          ExportNamedDeclaration: (node) => check(node, node.source),
          ImportExpression: (node) => check(node, node.source),
          TSImportType: (node) => check(node, node.argument),
        };
      },
    },
  },
};

export default plugin;
