// The main loop of every load generator: tasks arrive over IPC, one at a time, and are answered
// with figures.

/** Answers each task with figures, or with its error. */
export function serveTasks(run: (task: Record<string, unknown>) => Promise<object>): void {
  process.on("disconnect", () => process.exit(0));
  process.on("message", (task: Record<string, unknown>) => {
    run(task).then(
      (answer) => process.send?.(answer),
      (error: unknown) =>
        process.send?.({
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        }),
    );
  });
}
