<?php

namespace App\Support;

/** A child process. Of one of ours only the log is shown, which it writes to standard error; its words are kept or dropped. */
final class Process
{
    public const SHOWN = 0;

    public const KEPT = 1;

    public const LOGGED = 2;

    private const POLL_MICROSECONDS = 20_000;

    private ?int $exit = null;

    /** @param resource $handle  @param resource|null $output */
    private function __construct(private $handle, private $output)
    {
    }

    /** @param list<string> $command */
    public static function start(array $command, int $said = self::SHOWN): self
    {
        $output = null;
        $null = fn (string $mode) => ['file', '/dev/null', $mode];
        $streams = match ($said) {
            self::SHOWN => [$null('r'), STDOUT, STDERR],
            self::KEPT => [$null('r'), $output = tmpfile(), STDOUT],
            self::LOGGED => [$null('r'), $null('w'), STDOUT],
        };

        return new self(proc_open($command, $streams, $pipes, base_path()), $output);
    }

    public function running(): bool
    {
        if ($this->exit === null) {
            $status = proc_get_status($this->handle);
            if (! $status['running']) {
                $this->exit = $status['signaled'] ? 128 + $status['termsig'] : $status['exitcode'];
            }
        }

        return $this->exit === null;
    }

    public function exitCode(): ?int
    {
        return $this->exit;
    }

    public function signal(int $signal): void
    {
        if ($this->running()) {
            proc_terminate($this->handle, $signal);
        }
    }

    /** Wait until it ended; kill it at the deadline. Returns whether it ended by itself. */
    public function wait(float $deadline): bool
    {
        while ($this->running()) {
            if (microtime(true) >= $deadline) {
                $this->signal(SIGKILL);

                return false;
            }
            usleep(self::POLL_MICROSECONDS);
        }

        return true;
    }

    /** What it wrote, once. */
    public function said(): ?string
    {
        if ($this->output === null) {
            return null;
        }
        rewind($this->output);
        $text = stream_get_contents($this->output);
        fclose($this->output);
        $this->output = null;

        return $text;
    }
}
