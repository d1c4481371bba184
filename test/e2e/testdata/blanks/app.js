const fs = require('fs');
const list = (dir) => { try { return fs.readdirSync(dir).map((f) => dir + '/' + f); } catch (err) { return [dir + ' ' + err.code]; } };
const optional = (f) => { try { return f(); } catch (err) { return err.code || String(err); } };

exports.handler = async (event) => {
  const files = ['/var/task', '/opt', '/tmp'].flatMap(list);
  if (event.write) fs.writeFileSync('/tmp/' + event.write, event.write);
  return {
    Env: { ...process.env },
    Values: {
      cwd: process.cwd(), argv: process.argv, execArgv: process.execArgv, zone: new Date(0).toString(), locale: Intl.DateTimeFormat().resolvedOptions().locale,
      timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone, paths: module.paths, globalPaths: require('module').globalPaths, layered: optional(() => require('layered')),
      tool: optional(() => require('child_process').execFileSync('tool').toString()), child: optional(() => require('child_process').execFileSync('/bin/sh', ['-c', 'echo $OWN $TZ']).toString()),
      heap: require('v8').getHeapStatistics().heap_size_limit, listeners: process.eventNames().map(String), globals: Object.getOwnPropertyNames(globalThis).sort(),
      cache: Object.keys(require.cache), umask: process.umask(), title: process.title, encoding: Buffer.from('ü').length,
      own: fs.readFileSync('own.txt', 'utf8'), modules: process.moduleLoadList.length > 0, versions: process.version,
    },
    Files: files,
    Initial: fs.readFileSync('/proc/self/environ', 'utf8').split('\0').map((e) => e.split('=')[0]),
  };
};
