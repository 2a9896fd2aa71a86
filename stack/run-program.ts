/**
 * Runs a program that starts others, and ends the process with the exit code that it answers; with 2, and one line, when it
 * throws a `Usage`. A signal, or the end of who started it, aborts `stop`; a second signal ends it at once, and what it started
 * ends with it.
 */
export async function runProgram(
  main: () => Promise<number>,
  stop: AbortController,
  Usage: new (...args: never[]) => Error,
): Promise<never> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort();
    });
  }
  process.on('disconnect', () => stop.abort());
  process.stdout.on('error', () => undefined);
  let code = 2;
  try {
    code = await main();
  } catch (error) {
    if (!(error instanceof Usage)) throw error;
    console.error(error.message);
  }
  // Left to itself Node may wait for ever for handles of its own to close, after twenty minutes of cut connections.
  process.exit(code);
}
