<?php

namespace App\Console\Commands;

use App\Support\Faulty;
use App\Support\Process;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\Log;

/**
 * Runs what the container consists of: nginx, PHP, the queue's worker, and the scheduler once a minute.
 *
 * Asked to stop, it lets each of them end what it began, in the order in which nothing is cut off: nginx closes its
 * listener at once and waits for its answers, for which PHP must still be there; the worker finishes its job.
 */
final class Run extends Command
{
    private const DIRECTORY = '/run/app';

    private const POLL_MICROSECONDS = 50_000;

    private const WORKER_PAUSE_SECONDS = 3;

    private const CRASH_AFTER_SECONDS = 5;

    protected $signature = 'app:run';

    protected $description = 'Run the web server, the worker and the scheduler until told to stop';

    private bool $asked = false;

    public function handle(): int
    {
        $this->prepare();
        pcntl_async_signals(true);
        foreach ([SIGTERM, SIGINT, SIGQUIT] as $signal) {
            pcntl_signal($signal, function (): void {
                $this->asked = true;
            });
        }
        $php = Process::start(['php-fpm8.4', '--nodaemonize', '--fpm-config', '/etc/php/8.4/fpm/php-fpm.conf']);
        while (! file_exists(self::DIRECTORY.'/php-fpm.sock') && $php->running() && ! $this->asked) {
            usleep(self::POLL_MICROSECONDS);
        }
        $nginx = Process::start(['nginx', '-c', self::DIRECTORY.'/nginx.conf', '-e', '/dev/stderr']);
        Log::info('started', ['version' => config('app.version'), 'port' => (int) config('runtime.port')]);

        return $this->supervise($php, $nginx);
    }

    private function supervise(Process $php, Process $nginx): int
    {
        $started = microtime(true);
        $worker = null;
        $schedule = null;
        $restart = 0.0;
        $minute = '';
        while (! $this->asked) {
            $now = microtime(true);
            if (! $worker?->running() && $now >= $restart) {
                // It also ends by itself, when the database went away; then it is started again, not too often.
                $worker = Process::start($this->worker(), Process::LOGGED);
                $restart = $now + self::WORKER_PAUSE_SECONDS;
            }
            if (gmdate('Y-m-d H:i') !== $minute && ! $schedule?->running()) {
                $minute = gmdate('Y-m-d H:i');
                $schedule = Process::start(['php', 'artisan', 'schedule:run', '--no-ansi', '--no-interaction'], Process::KEPT);
            }
            $this->tell($schedule);
            foreach (['PHP' => $php, 'nginx' => $nginx] as $name => $process) {
                if (! $process->running()) {
                    Log::error("{$name} ended by itself", ['exit' => $process->exitCode()]);
                    $this->stop($php, $nginx, $worker, $schedule);

                    return self::FAILURE;
                }
            }
            if (Faulty::crashesLater() && $now > $started + self::CRASH_AFTER_SECONDS) {
                Log::error('crashed, as this release does');
                array_map(fn (?Process $process) => $process?->signal(SIGKILL), [$nginx, $php, $worker, $schedule]);

                return self::FAILURE;
            }
            usleep(self::POLL_MICROSECONDS);
        }

        return $this->stop($php, $nginx, $worker, $schedule) ? self::SUCCESS : self::FAILURE;
    }

    /** Returns whether everything ended by itself within the time it had. */
    private function stop(Process $php, Process $nginx, ?Process $worker, ?Process $schedule): bool
    {
        $deadline = microtime(true) + config('runtime.grace_milliseconds') / 1000;
        $nginx->signal(SIGQUIT);
        $worker?->signal(SIGTERM);
        $whole = true;
        foreach ([$nginx, $worker, $schedule] as $process) {
            $whole = ($process?->wait($deadline) ?? true) && $whole;
        }
        $this->tell($schedule);
        $php->signal(SIGQUIT);
        $whole = $php->wait(max($deadline, microtime(true) + 1)) && $whole;
        Log::info('stopped', ['whole' => $whole]);

        return $whole;
    }

    /** Say in the container's log what a run of the scheduler said: `schedule` is what it is looked for by. */
    private function tell(?Process $schedule): void
    {
        if ($schedule === null || $schedule->running() || ($said = $schedule->said()) === null) {
            return;
        }
        if ($schedule->exitCode() !== 0) {
            // Why stands in the line before it, which the framework wrote.
            Log::error('schedule failed', ['exit' => $schedule->exitCode()]);
        }
        foreach (preg_split('/\R/', $said, -1, PREG_SPLIT_NO_EMPTY) as $line) {
            if (preg_match('/Running \[(.+?)\].*? ([\d.,]+\w*) (DONE|FAIL)/', $line, $found)) {
                Log::info('schedule', ['task' => $found[1], 'took' => $found[2], 'result' => $found[3]]);
            }
        }
    }

    /** @return list<string> */
    private function worker(): array
    {
        return ['php', 'artisan', 'queue:work', 'database', '--quiet', '--sleep=1', '--timeout=60', '--no-interaction'];
    }

    private function prepare(): void
    {
        // The volume may be older than this release, or empty.
        foreach (['logs', 'app/public/logos', 'framework'] as $directory) {
            @mkdir(storage_path($directory), 0755, true);
        }
        @mkdir(base_path('bootstrap/cache/views'), 0755, true);
        $host = config('runtime.host');
        $listen = (str_contains($host, ':') ? "[{$host}]" : $host).':'.config('runtime.port');
        $configuration = str_replace('@LISTEN@', $listen, file_get_contents('/etc/nginx/nginx.conf'));
        file_put_contents(self::DIRECTORY.'/nginx.conf', $configuration);
        @unlink(self::DIRECTORY.'/php-fpm.sock');
        // The scheduler's commands write their log lines here, because it drops their output.
        putenv('APP_OUTPUT=/proc/'.getmypid().'/fd/1');
    }
}
