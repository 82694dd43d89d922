/** The BSD face on Deno's driver. */

import * as bsd from "../socket.ts";
import { testBsdFace } from "./_bsd_cases.ts";
import { unstable } from "./_process.ts";

testBsdFace({ bsd, driver: "deno", hasUnixDatagrams: unstable });
