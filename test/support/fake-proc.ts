/** A procfs of a test's making, for what a real kernel does not do on demand: a pid that is given again. */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeTempDir } from './temp-dir.ts';

export interface FakeProcess {
  readonly startTimeTicks: string;
  readonly cgroup: string;
  readonly uidMap: string;
  readonly name: string;
  readonly state: string;
  /** Target of `exe`; left out where it may not be read. */
  readonly executable: string | undefined;
}

export interface FakeProc {
  readonly path: string;
  put(pid: number, process: Partial<FakeProcess>): Promise<void>;
  end(pid: number): Promise<void>;
  remove(): Promise<void>;
}

export const INITIAL_UID_MAP = '         0          0 4294967295\n';

export async function makeFakeProc(cgroupNamespace = 'cgroup:[4026531835]'): Promise<FakeProc> {
  const temp = await makeTempDir();
  const at = (...names: string[]): string => join(temp.path, ...names);
  await mkdir(at('self', 'ns'), { recursive: true });
  await symlink(cgroupNamespace, at('self', 'ns', 'cgroup'));
  await writeFile(at('self', 'uid_map'), INITIAL_UID_MAP);
  await mkdir(at('sys', 'kernel'), { recursive: true });
  await writeFile(at('sys', 'kernel', 'overflowuid'), '65534\n');
  return {
    path: temp.path,
    async put(pid, given) {
      const process: FakeProcess = {
        startTimeTicks: '1000',
        cgroup: '0::/system.slice/real.service\n',
        uidMap: INITIAL_UID_MAP,
        name: 'agent',
        state: 'S',
        executable: undefined,
        ...given,
      };
      const folder = at(String(pid));
      // In place: what has a file of it open sees the change, as in procfs.
      await mkdir(folder, { recursive: true });
      await rm(join(folder, 'exe'), { force: true });
      const fields = [process.state, ...Array.from({ length: 18 }, () => '0'), process.startTimeTicks, '0'];
      await writeFile(join(folder, 'stat'), `${pid} (${process.name}) ${fields.join(' ')}\n`);
      await writeFile(join(folder, 'cgroup'), process.cgroup);
      await writeFile(join(folder, 'uid_map'), process.uidMap);
      if (process.executable !== undefined) await symlink(process.executable, join(folder, 'exe'));
    },
    end: (pid) => rm(at(String(pid)), { recursive: true, force: true }),
    remove: () => temp.remove(),
  };
}
