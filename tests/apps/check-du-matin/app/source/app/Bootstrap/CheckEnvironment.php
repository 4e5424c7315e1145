<?php

namespace App\Bootstrap;

use Illuminate\Contracts\Foundation\Application;
use RuntimeException;

/** Ends a start that lacks a variable, or has one that cannot be right, with exit code 78 and one line that names it. */
final class CheckEnvironment
{
    private const MISCONFIGURED = 78;

    // The variable, and where it is found once the configuration is loaded (cached or not).
    private const REQUIRED = [
        'APP_KEY' => 'app.key',
        'APP_URL' => 'app.url',
        'DB_HOST' => 'database.connections.mysql.host',
        'DB_DATABASE' => 'database.connections.mysql.database',
        'DB_USERNAME' => 'database.connections.mysql.username',
        'DB_PASSWORD' => 'database.connections.mysql.password',
        'MAIL_HOST' => 'mail.mailers.smtp.host',
    ];

    private const NUMBERS = [
        'DB_PORT' => ['database.connections.mysql.port', 1, 65535],
        'MAIL_PORT' => ['mail.mailers.smtp.port', 1, 65535],
        'PORT' => ['runtime.port', 1, 65535],
        'CHECK_MS' => ['checks.milliseconds', 0, 60000],
        'CHECKS_KEEP_DAYS' => ['checks.keep_days', 1, 3650],
        'DB_QUEUE_RETRY_AFTER' => ['queue.connections.database.retry_after', 5, 3600],
        'SHUTDOWN_GRACE_MS' => ['runtime.grace_milliseconds', 0, 600000],
    ];

    public function bootstrap(Application $app): void
    {
        $problem = self::problem();
        if ($problem === null) {
            return;
        }
        if ($app->runningInConsole()) {
            fwrite(STDERR, "fatal: {$problem}\n");
            exit(self::MISCONFIGURED);
        }
        throw new RuntimeException($problem);
    }

    private static function problem(): ?string
    {
        $missing = array_keys(array_filter(self::REQUIRED, fn (string $where) => blank(config($where))));
        if ($missing) {
            return 'missing environment variables: '.implode(', ', $missing);
        }
        foreach (self::NUMBERS as $name => [$where, $least, $most]) {
            $value = config($where);
            if (filter_var($value, FILTER_VALIDATE_INT, ['options' => ['min_range' => $least, 'max_range' => $most]]) === false) {
                return sprintf('%s=%s is not a whole number from %d to %d', $name, json_encode($value), $least, $most);
            }
        }
        if (! is_bool(config('app.debug'))) {
            return sprintf('APP_DEBUG=%s is neither true nor false', json_encode(config('app.debug')));
        }
        if (! preg_match('#^https?://[^\s/]+/?$#', config('app.url'))) {
            return sprintf('APP_URL=%s is not an address such as https://checking.c2s.fr', json_encode(config('app.url')));
        }
        if (filter_var(config('runtime.host'), FILTER_VALIDATE_IP) === false) {
            return sprintf('HOST=%s is not an address to listen on', json_encode(config('runtime.host')));
        }
        $key = config('app.key');
        $bytes = str_starts_with($key, 'base64:') ? base64_decode(substr($key, 7), true) : false;
        // The value is a secret, so it is not shown.
        return $bytes === false || strlen($bytes) !== 32 ? 'APP_KEY is not base64: and 32 bytes in base64' : null;
    }
}
