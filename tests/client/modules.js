// The client's modules for node's test runner: copied to where a package.json says that they are ES modules, which users need not have.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const CLIENT = fileURLToPath(new URL("../../torch2grid_builtin/src/torch2grid_builtin/_viewer/client", import.meta.url));
const copy = mkdtempSync(join(tmpdir(), "torch2grid-client-"));
cpSync(CLIENT, copy, { recursive: true });
writeFileSync(join(copy, "package.json"), '{"type": "module"}');
process.on("exit", () => rmSync(copy, { recursive: true }));

/** The exports of a module by its file name. */
export const client = (name) => import(pathToFileURL(join(copy, name)).href);
