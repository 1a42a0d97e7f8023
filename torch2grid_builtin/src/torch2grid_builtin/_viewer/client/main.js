// Starts the page of the explorer.

import { start } from "./explore.js";

start(document.body);
