/** A process that runs the tasks that it is sent, one after the other. Ends when its parent lets go of it. */
import { type Outcome, SeedRunner, type Task } from './run-seeds.ts';

const runner = new SeedRunner();

process.on('message', async (task: Task) => {
  const outcome: Outcome = await runner.run(task);
  process.send?.(outcome);
});
process.on('disconnect', () => runner.stop());
