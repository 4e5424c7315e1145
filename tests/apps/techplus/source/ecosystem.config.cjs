// What pm2 starts. A second copy beside the first is started with another suffix and port: `SUFFIX=-next PORT=3001 pm2 start …`.
const { ENV_FILE = '/etc/techplus/backend.env', HOST = '127.0.0.1', LOGS = '/var/log/techplus', PORT = '3000', SUFFIX = '' } = process.env;

const app = (name, script, env) => ({
  name: `techplus-${name}${SUFFIX}`,
  script,
  cwd: __dirname,
  exec_mode: 'fork',
  // No secret here: pm2 keeps all of this in ~/.pm2/dump.pm2.
  env: { NODE_ENV: 'production', ENV_FILE, ...env },
  filter_env: [''], // nothing of the caller's environment; `true` lets all of it through before pm2 7.1.2
  wait_ready: true, // «online» only when the process says so
  listen_timeout: 15_000,
  kill_timeout: 12_000, // above SHUTDOWN_GRACE_MS; what is still there then is killed
  min_uptime: 10_000,
  max_restarts: 5,
  out_file: `${LOGS}/${name}.log`,
  error_file: `${LOGS}/${name}-error.log`,
  merge_logs: true,
});

module.exports = {
  apps: [app('backend', 'src/server.js', { HOST, PORT }), app('worker', 'src/worker.js', {})],
};
